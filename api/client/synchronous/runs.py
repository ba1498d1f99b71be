"""The calls about searches and distillations, and about their trials."""

from collections.abc import Iterator
from functools import partial
from http import HTTPStatus
from typing import Any

from api import schemas
from api.client.protocol import ApiError, LifecycleRequest
from api.client.synchronous.items import Items
from api.client.synchronous.transport import Transport, until_ended
from api.schemas.distillations import Distillation, DistillationDetails
from api.schemas.forecasts import Forecast
from api.schemas.reports import Report
from searchd.spec import DistillationSpec, FinishSpec, SearchSpec


class RunCalls(Transport):
    """Part of the client; see `Client`."""

    def submit_search(self, spec: SearchSpec, *, key: str | None = None) -> schemas.SearchDetails:
        """Submit a search, which is queued."""
        return self._create("/searches", spec, key, schemas.SearchDetails)

    def forecast_search(self, spec: SearchSpec) -> Forecast:
        """Forecast the cost of a search, without creating it."""
        return self._create("/searches/forecast", spec, None, Forecast)

    def get_search(self, search: str) -> schemas.SearchDetails:
        """Return a search by id or name."""
        return self._get(f"/searches/{search}", schemas.SearchDetails)

    def list_searches(self, **filters: Any) -> Items[schemas.Search]:
        """Iterate over all searches, newest first, or over those that
        parameters of the list select: `status`, `name`, `since`, `sort`."""
        return self._list("/searches", schemas.Search, filters)

    def ask_of_search(self, search: str, request: LifecycleRequest) -> schemas.SearchDetails:
        """Request that a search pauses, resumes or ends; finished results are kept."""
        return self._post(f"/searches/{search}/{request}", schemas.SearchDetails, repeatable=True)

    def extend_search(self, search: str, **budget: object) -> schemas.SearchDetails:
        """Give a search more budget, by the fields of `schemas.Extension`; it then continues."""
        body = schemas.Extension.model_validate(budget).model_dump(mode="json", exclude_unset=True)
        return self._post(f"/searches/{search}/extend", schemas.SearchDetails, json=body)

    def wait_for_search(self, search: str, *, poll_s: float = 1.0) -> schemas.SearchDetails:
        """Wait until a search has ended."""
        return until_ended(partial(self.get_search, search), poll_s)

    def search_events(self, search: str, *, after: int = 0) -> Iterator[schemas.Event]:
        """Iterate over the events of a search and its trials after event number `after` until it
        has ended."""
        return self._events(f"/searches/{search}/events", after)

    def trials(self, search: str, **filters: Any) -> Items[schemas.Trial]:
        """Iterate over the trials of a search in the order they were proposed, or over those with a
        `status`."""
        return self._list(f"/searches/{search}/trials", schemas.Trial, filters)

    def lineage(self, search: str) -> schemas.Lineage:
        """Return the lineage tree of a search: the parent and the edit of each trial."""
        return self._get(f"/searches/{search}/lineage", schemas.Lineage)

    def pareto(
        self, search: str, *, x: schemas.XAxis | None = None, y: schemas.YAxis | None = None
    ) -> schemas.Pareto:
        """Return the Pareto front of a search so far; by default against what it counts as cost."""
        axes = {name: axis for name, axis in (("x", x), ("y", y)) if axis is not None}
        return self._get(f"/searches/{search}/pareto", schemas.Pareto, axes)

    def dominated(self, search: str, **filters: Any) -> Items[schemas.Point]:
        """Iterate over the detectors that the Pareto front of a search dominates, in the order in
        which their trials ended; over those of every nth trial with `every`."""
        return self._list(f"/searches/{search}/pareto/dominated", schemas.Point, filters)

    def report(self, search: str) -> Report:
        """Return what a search gained against its base and controls, with intervals."""
        return self._get(f"/searches/{search}/report", Report)

    def finish(self, search: str, wanted: FinishSpec) -> list[DistillationDetails]:
        """Improve detectors of a finished search. Repeating the call creates nothing new."""
        body = wanted.model_dump(mode="json")
        found = (
            self._call("POST", f"/searches/{search}/finish", json=body, repeatable=True)
        ).json()
        return [DistillationDetails.model_validate(each) for each in found]

    def submit_distillation(
        self, spec: DistillationSpec, *, key: str | None = None
    ) -> DistillationDetails:
        """Submit a distillation, which is queued."""
        return self._create("/distillations", spec, key, DistillationDetails)

    def forecast_distillation(self, spec: DistillationSpec) -> Forecast:
        """Forecast the cost of a distillation, without creating it."""
        return self._create("/distillations/forecast", spec, None, Forecast)

    def get_distillation(self, distillation: str) -> DistillationDetails:
        """Return a distillation by id or name."""
        return self._get(f"/distillations/{distillation}", DistillationDetails)

    def list_distillations(self, **filters: Any) -> Items[Distillation]:
        """Iterate over all distillations, newest first, or over those that
        parameters of the list select: `status`, `name`, `since`, `sort`."""
        return self._list("/distillations", Distillation, filters)

    def ask_of_distillation(
        self, distillation: str, request: LifecycleRequest
    ) -> DistillationDetails:
        """Request that a distillation pauses, resumes or ends; finished stages are kept."""
        return self._post(
            f"/distillations/{distillation}/{request}", DistillationDetails, repeatable=True
        )

    def extend_distillation(self, distillation: str) -> DistillationDetails:
        """Continue a distillation that failed or was cancelled."""
        return self._post(f"/distillations/{distillation}/extend", DistillationDetails)

    def wait_for_distillation(
        self, distillation: str, *, poll_s: float = 1.0
    ) -> DistillationDetails:
        """Wait until a distillation has ended."""
        return until_ended(partial(self.get_distillation, distillation), poll_s)

    def distillation_events(self, distillation: str, *, after: int = 0) -> Iterator[schemas.Event]:
        """Iterate over the events of a distillation and its trials after event number `after` until
        it has ended."""
        return self._events(f"/distillations/{distillation}/events", after)

    def distillation_trials(self, distillation: str, **filters: Any) -> Items[schemas.Trial]:
        """Iterate over the given student and all stages, in the order they were proposed."""
        return self._list(f"/distillations/{distillation}/trials", schemas.Trial, filters)

    def distillation_lineage(self, distillation: str) -> schemas.Lineage:
        """Return the lineage tree of a distillation: the parent of each stage."""
        return self._get(f"/distillations/{distillation}/lineage", schemas.Lineage)

    def distillation_pareto(
        self, distillation: str, *, x: schemas.XAxis | None = None, y: schemas.YAxis | None = None
    ) -> schemas.Pareto:
        """Return the Pareto front of the student after every stage; by default against what the
        distillation counts as cost."""
        axes = {name: axis for name, axis in (("x", x), ("y", y)) if axis is not None}
        return self._get(f"/distillations/{distillation}/pareto", schemas.Pareto, axes)

    def get_run(self, run_id: str) -> schemas.SearchDetails | DistillationDetails:
        """Return the search or distillation that a trial has as its `search_id`."""
        try:
            return self.get_search(run_id)
        except ApiError as error:
            if error.problem.status != HTTPStatus.NOT_FOUND:
                raise
            return self.get_distillation(run_id)
