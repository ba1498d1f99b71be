"""A typed client of the API, for the command line, the demo and users' scripts.

with Client("http://127.0.0.1:8080") as client:
    search = client.submit_search(SearchSpec(name="first", dataset="shapes", pool="teachers"))
    for event in client.search_events(search.id):
        ...
    front = client.pareto(search.id).front

If the service requires a token, the client takes it from the environment variable SEARCHD_TOKEN.
"""

import time
from collections.abc import Callable, Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Literal, TypeVar

from api import schemas
from api.client.exports import ExportCalls
from api.client.transport import ApiError, request_body
from api.schemas.distillations import Distillation, DistillationDetails
from api.schemas.forecasts import Forecast, PoolForecast
from api.schemas.reports import Report
from searchd.domain.transitions import is_final
from searchd.spec import (
    DatasetImport,
    DatasetSpec,
    DistillationSpec,
    FinishSpec,
    PoolSpec,
    SearchSpec,
    Spec,
    TeacherSpec,
)

R = TypeVar(
    "R",
    schemas.Dataset,
    schemas.PoolDetails,
    schemas.TeacherDetails,
    schemas.SearchDetails,
    DistillationDetails,
)
FailedKind = Literal["pools", "teachers", "searches", "distillations"]
Submitted = DatasetSpec | DatasetImport | PoolSpec | TeacherSpec | SearchSpec | DistillationSpec
_PATHS: dict[type[Spec], str] = {
    DatasetSpec: "/datasets",
    DatasetImport: "/datasets",
    PoolSpec: "/pools",
    TeacherSpec: "/teachers",
    SearchSpec: "/searches",
    DistillationSpec: "/distillations",
}
"""Path that each kind of spec is submitted to."""
LifecycleRequest = Literal["pause", "resume", "cancel", "kill"]


class Client(ExportCalls):
    """The client of the API. Every method raises `ApiError` if the service refuses the call or is
    unreachable.

    Args:
        url: URL of the service.
        timeout_s: Timeout of a call in seconds.
        token: Access token. None uses SEARCHD_TOKEN of the environment, if it is set.

    Raises:
        InvalidValueError: The token has characters that no token can have.
    """

    def validate(self, spec: Submitted) -> schemas.Validation:
        """Check whether a spec would be accepted, without creating anything.

        Raises:
            ApiError: It would be refused; the message says why.
        """
        path = next(path for kind, path in _PATHS.items() if isinstance(spec, kind))
        body = request_body(spec)
        found = self._call("POST", path, json=body, params={"validate_only": True})
        return schemas.Validation.model_validate_json(found.content)

    # Data sets

    def create_dataset(
        self, spec: DatasetSpec | DatasetImport, *, key: str | None = None
    ) -> schemas.Dataset:
        """Register a data set. Repeating the call with the same `key` creates nothing new."""
        return self._create("/datasets", spec, key, schemas.Dataset)

    def get_dataset(self, dataset: str) -> schemas.Dataset:
        """Return a data set by id or name."""
        return self._get(f"/datasets/{dataset}", schemas.Dataset)

    def list_datasets(self, **filters: str) -> Iterator[schemas.Dataset]:
        """Iterate over all data sets, newest first, or over those with a `status`."""
        return self._list("/datasets", schemas.Dataset, filters)

    def wait_for_dataset(self, dataset: str, *, poll_s: float = 1.0) -> schemas.Dataset:
        """Wait until the check of a data set has ended."""
        return _wait(lambda: self.get_dataset(dataset), poll_s)

    def recheck_dataset(self, dataset: str) -> schemas.Dataset:
        """Check the files of a data set again."""
        return self._post(f"/datasets/{dataset}/recheck", schemas.Dataset)

    def rename_dataset(self, dataset: str, name: str) -> schemas.Dataset:
        """Give a data set another name, also in everything that uses it."""
        response = self._call("PATCH", f"/datasets/{dataset}", json={"name": name})
        return schemas.Dataset.model_validate_json(response.content)

    def delete_dataset(self, dataset: str) -> None:
        """Delete a data set that nothing uses. Images and files of users are not touched."""
        self._call("DELETE", f"/datasets/{dataset}")

    def dataset_statistics(self, dataset: str) -> schemas.DatasetStatistics:
        """Return the statistics of a checked data set."""
        return self._get(f"/datasets/{dataset}/statistics", schemas.DatasetStatistics)

    def dataset_samples(self, dataset: str) -> list[schemas.DatasetSample]:
        """Return sample images of a checked data set, with their objects."""
        return self._get(f"/datasets/{dataset}/samples", schemas.DatasetSamples).samples

    def draw_dataset_sample(self, dataset: str, number: int, *, max_side: int = 800) -> bytes:
        """Return a sample image with its boxes drawn, as JPEG."""
        path = f"/datasets/{dataset}/samples/{number}/image"
        return self._call("GET", path, params={"max_side": max_side}).content

    def delete_failed(self, kind: FailedKind, name: str) -> None:
        """Delete a pool, teacher, search or distillation that failed before its first result."""
        self._call("DELETE", f"/{kind}/{name}")

    # Pools

    def create_pool(self, spec: PoolSpec, *, key: str | None = None) -> schemas.PoolDetails:
        """Create a pool, which the service trains."""
        return self._create("/pools", spec, key, schemas.PoolDetails)

    def forecast_pool(self, spec: PoolSpec) -> PoolForecast:
        """Forecast the cost of training a pool, without creating it."""
        return self._create("/pools/forecast", spec, None, PoolForecast)

    def get_pool(self, pool: str) -> schemas.PoolDetails:
        """Return a pool by id or name."""
        return self._get(f"/pools/{pool}", schemas.PoolDetails)

    def list_pools(self, **filters: str) -> Iterator[schemas.Pool]:
        """Iterate over all pools, newest first, or over those with a `status`."""
        return self._list("/pools", schemas.Pool, filters)

    def ask_of_pool(self, pool: str, request: LifecycleRequest) -> schemas.PoolDetails:
        """Request that the training of a pool pauses, resumes or ends."""
        return self._post(f"/pools/{pool}/{request}", schemas.PoolDetails)

    def wait_for_pool(self, pool: str, *, poll_s: float = 1.0) -> schemas.PoolDetails:
        """Wait until the training of a pool has ended."""
        return _wait(lambda: self.get_pool(pool), poll_s)

    def pool_events(self, pool: str, *, after: int = 0) -> Iterator[schemas.Event]:
        """Iterate over the events of a pool after event number `after` until it has ended."""
        return self._events(f"/pools/{pool}/events", after)

    # Teachers

    def create_teacher(
        self, spec: TeacherSpec, *, key: str | None = None
    ) -> schemas.TeacherDetails:
        """Register a teacher, which the service evaluates, and trains first if it is to."""
        return self._create("/teachers", spec, key, schemas.TeacherDetails)

    def get_teacher(self, teacher: str) -> schemas.TeacherDetails:
        """Return a teacher by id or name."""
        return self._get(f"/teachers/{teacher}", schemas.TeacherDetails)

    def ask_of_teacher(self, teacher: str, request: LifecycleRequest) -> schemas.TeacherDetails:
        """Request that the training of a teacher pauses, resumes or ends."""
        return self._post(f"/teachers/{teacher}/{request}", schemas.TeacherDetails)

    def list_teachers(self, **filters: str) -> Iterator[schemas.Teacher]:
        """Iterate over all teachers, newest first, or over those with a `status`."""
        return self._list("/teachers", schemas.Teacher, filters)

    def wait_for_teacher(self, teacher: str, *, poll_s: float = 1.0) -> schemas.TeacherDetails:
        """Wait until the training and evaluation of a teacher have ended."""
        return _wait(lambda: self.get_teacher(teacher), poll_s)

    def teacher_events(self, teacher: str, *, after: int = 0) -> Iterator[schemas.Event]:
        """Iterate over the events of a teacher after event number `after` until it has ended."""
        return self._events(f"/teachers/{teacher}/events", after)

    # Searches

    def submit_search(self, spec: SearchSpec, *, key: str | None = None) -> schemas.SearchDetails:
        """Submit a search, which is queued."""
        return self._create("/searches", spec, key, schemas.SearchDetails)

    def forecast_search(self, spec: SearchSpec) -> Forecast:
        """Forecast the cost of a search, without creating it."""
        return self._create("/searches/forecast", spec, None, Forecast)

    def get_search(self, search: str) -> schemas.SearchDetails:
        """Return a search by id or name."""
        return self._get(f"/searches/{search}", schemas.SearchDetails)

    def list_searches(self, **filters: str) -> Iterator[schemas.Search]:
        """Iterate over all searches, newest first, or over those with a `status`."""
        return self._list("/searches", schemas.Search, filters)

    def ask_of_search(self, search: str, request: LifecycleRequest) -> schemas.SearchDetails:
        """Request that a search pauses, resumes or ends; finished results are kept."""
        return self._post(f"/searches/{search}/{request}", schemas.SearchDetails)

    def extend_search(self, search: str, **budget: object) -> schemas.SearchDetails:
        """Give a search more budget, by the fields of `schemas.Extension`; it then continues."""
        body = schemas.Extension.model_validate(budget).model_dump(mode="json", exclude_unset=True)
        return self._post(f"/searches/{search}/extend", schemas.SearchDetails, json=body)

    def wait_for_search(self, search: str, *, poll_s: float = 1.0) -> schemas.SearchDetails:
        """Wait until a search has ended."""
        return _wait(lambda: self.get_search(search), poll_s)

    def search_events(self, search: str, *, after: int = 0) -> Iterator[schemas.Event]:
        """Iterate over the events of a search and its trials after event number `after` until it
        has ended."""
        return self._events(f"/searches/{search}/events", after)

    def trials(self, search: str, **filters: str) -> Iterator[schemas.Trial]:
        """Iterate over the trials of a search in the order they were proposed, or over those with a
        `status`."""
        return self._list(f"/searches/{search}/trials", schemas.Trial, filters)

    def lineage(self, search: str) -> schemas.Lineage:
        """Return the lineage tree of a search: the parent and the edit of each trial."""
        return self._get(f"/searches/{search}/lineage", schemas.Lineage)

    def pareto(
        self, search: str, *, x: schemas.XAxis = "macs", y: schemas.YAxis = "ap"
    ) -> schemas.Pareto:
        """Return the Pareto front of a search so far."""
        return self._get(f"/searches/{search}/pareto", schemas.Pareto, {"x": x, "y": y})

    def dominated(self, search: str, **filters: str) -> Iterator[schemas.Point]:
        """Iterate over the detectors that the Pareto front of a search dominates, in the order in
        which their trials ended; over those of every nth trial with `every`."""
        return self._list(f"/searches/{search}/pareto/dominated", schemas.Point, filters)

    def report(self, search: str) -> Report:
        """Return what a search gained against its base and controls, with intervals."""
        return self._get(f"/searches/{search}/report", Report)

    def finish(self, search: str, wanted: FinishSpec) -> list[DistillationDetails]:
        """Improve detectors of a finished search. Repeating the call creates nothing new."""
        body = wanted.model_dump(mode="json")
        found = self._call("POST", f"/searches/{search}/finish", json=body).json()
        return [DistillationDetails.model_validate(each) for each in found]

    # Distillations

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

    def list_distillations(self, **filters: str) -> Iterator[Distillation]:
        """Iterate over all distillations, newest first, or over those with a `status`."""
        return self._list("/distillations", Distillation, filters)

    def ask_of_distillation(
        self, distillation: str, request: LifecycleRequest
    ) -> DistillationDetails:
        """Request that a distillation pauses, resumes or ends; finished stages are kept."""
        return self._post(f"/distillations/{distillation}/{request}", DistillationDetails)

    def extend_distillation(self, distillation: str) -> DistillationDetails:
        """Continue a distillation that failed or was cancelled."""
        return self._post(f"/distillations/{distillation}/extend", DistillationDetails)

    def wait_for_distillation(
        self, distillation: str, *, poll_s: float = 1.0
    ) -> DistillationDetails:
        """Wait until a distillation has ended."""
        return _wait(lambda: self.get_distillation(distillation), poll_s)

    def distillation_events(self, distillation: str, *, after: int = 0) -> Iterator[schemas.Event]:
        """Iterate over the events of a distillation and its trials after event number `after` until
        it has ended."""
        return self._events(f"/distillations/{distillation}/events", after)

    def distillation_trials(self, distillation: str, **filters: str) -> Iterator[schemas.Trial]:
        """Iterate over the given student and all stages, in the order they were proposed."""
        return self._list(f"/distillations/{distillation}/trials", schemas.Trial, filters)

    def distillation_lineage(self, distillation: str) -> schemas.Lineage:
        """Return the lineage tree of a distillation: the parent of each stage."""
        return self._get(f"/distillations/{distillation}/lineage", schemas.Lineage)

    def distillation_pareto(
        self, distillation: str, *, x: schemas.XAxis = "macs", y: schemas.YAxis = "ap"
    ) -> schemas.Pareto:
        """Return the Pareto front of the student after every stage."""
        return self._get(f"/distillations/{distillation}/pareto", schemas.Pareto, {"x": x, "y": y})

    # Trials and detectors

    def get_run(self, run_id: str) -> schemas.SearchDetails | DistillationDetails:
        """Return the search or distillation that a trial has as its `search_id`."""
        try:
            return self.get_search(run_id)
        except ApiError as error:
            if error.problem.status != HTTPStatus.NOT_FOUND:
                raise
            return self.get_distillation(run_id)

    def get_trial(self, trial_id: str) -> schemas.TrialDetails:
        """Return a trial with its epochs and artifacts."""
        return self._get(f"/trials/{trial_id}", schemas.TrialDetails)

    def get_detector(self, trial_id: str) -> schemas.Detector:
        """Return the detector that a trial trained."""
        return self._get(f"/detectors/{trial_id}", schemas.Detector)

    def pin(self, trial_id: str) -> schemas.TrialDetails:
        """Pin a trial, so that garbage collection keeps its files."""
        return self._post(f"/detectors/{trial_id}/pin", schemas.TrialDetails)

    def unpin(self, trial_id: str) -> schemas.TrialDetails:
        """Unpin a trial, so that garbage collection may delete its files."""
        return self._post(f"/detectors/{trial_id}/unpin", schemas.TrialDetails)

    def download(self, trial_id: str, artifact: str, target: Path) -> Path:
        """Download a file of a detector and check its SHA-256.

        Args:
            trial_id: Id of the trial that trained the detector.
            artifact: Name of the file, such as "student".
            target: Path to write to. The file appears there complete or not at all.

        Raises:
            ApiError: There is no such file, or what arrived does not match its SHA-256.
        """
        expected = {file.name: file.sha256 for file in self.get_detector(trial_id).artifacts}
        path = f"/detectors/{trial_id}/artifacts/{artifact}"
        return self._download(path, target, expected.get(artifact))

    def download_supernet(self, pool: str, target: Path) -> Path:
        """Download the weights of a trained pool's supernet and check their SHA-256.

        Args:
            pool: Name or id of the pool.
            target: Path to write to. The file appears there complete or not at all.

        Raises:
            ApiError: The pool is not trained, or what arrived does not match its SHA-256.
        """
        stored = self.get_pool(pool).supernet
        return self._download(
            f"/pools/{pool}/supernet", target, None if stored is None else stored.sha256
        )


def _wait(look: Callable[[], R], poll_s: float) -> R:
    while not is_final((found := look()).status):
        time.sleep(poll_s)
    return found
