"""The stages that the demo and `searchd run` share, from the service to the end of the search."""

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from rich.console import Console

from api import schemas
from api.client import Client
from cli.guided.watch import watch
from cli.spec_places import SpecSource, placing
from searchd.domain.lifecycle import DatasetStatus, PoolStatus, SearchStatus
from searchd.domain.trial import CONTROL_ROLES, TrialRole
from searchd.spec import DatasetImport, DatasetSpec, PoolSpec, SearchSpec

LOG_WIDTH = 160
"""Width of the output in columns if it is not a terminal, so that a log is not wrapped."""


class StageError(Exception):
    """A stage failed; the message says which and why."""


class Running(Protocol):
    """A service that is running, here or elsewhere."""

    @property
    def url(self) -> str:
        """The URL of its API."""

    def check(self) -> object:
        """Restart what has ended, if it runs here. Called once per second."""


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """A service that somebody else keeps running."""

    url: str

    def check(self) -> None:
        """Do nothing."""


@dataclass
class Stages:
    """The stages of a run, and how long each took in seconds."""

    console: Console
    durations_s: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str, what: str) -> Iterator[None]:
        """Print the start of a stage and measure its duration."""
        number = len(self.durations_s) + 1
        self.console.print(f"[bold]{number}. {name}[/bold]  {what}")
        started = time.monotonic()
        yield
        self.durations_s[name] = time.monotonic() - started


def console() -> Console:
    """Return the console of the terminal, or a wide one for a log."""
    found = Console()
    return found if found.is_terminal else Console(width=LOG_WIDTH)


@contextmanager
def local_service(stages: Stages, folder: Path, *, port: int) -> Iterator[Running]:
    """Run the service on this machine inside the block, and describe it to the user."""
    # Imported here since it imports Ray, which no other command needs.
    from cli.local_service import Service

    # SIGTERM, for example from `timeout`, must stop the service too.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with stages.stage("Service", f"API, coordinator, Ray and SQLite, all in {folder}"):
        # Short time slices show steady progress; the default suits epochs of an hour.
        service = Service(folder, api_port=port, environment={"SEARCHD_SLICE_S": "2"})
        service.start()
    try:
        stages.console.print(service.describe())
        yield service
    finally:
        service.stop()


def add_dataset(client: Client, spec: DatasetSpec | DatasetImport, *, key: str) -> schemas.Dataset:
    """Add a data set and wait for its check.

    Raises:
        StageError: The data set was refused.
    """
    dataset = client.create_dataset(spec, key=key)
    if dataset.status is DatasetStatus.FAILED:  # in an earlier run; its files may be corrected now
        client.recheck_dataset(dataset.id)
    dataset = client.wait_for_dataset(spec.name, poll_s=0.5)
    if dataset.status is not DatasetStatus.READY:
        raise StageError(f"the data set was refused: {dataset.status_reason}")
    return dataset


def submit_and_watch(
    service: Running,
    client: Client,
    stages: Stages,
    pool_spec: PoolSpec,
    search_spec: SearchSpec,
    *,
    key: str,
    sources: tuple[SpecSource | None, SpecSource | None] = (None, None),
) -> schemas.SearchDetails:
    """Train or import the pool, train the base, search, finish the best detectors, train the
    controls, and show the progress.

    `sources` are the files that the two specs are from; None: a spec is from no file.

    Raises:
        StageError: The pool or the search failed, or nothing was measured.
    """
    console, trial = stages.console, search_spec.trial
    with stages.stage("Base and pool", _preparation(pool_spec)):
        with placing(sources[0]):
            client.create_pool(pool_spec, key=key)
        with placing(sources[1]):
            search = client.submit_search(search_spec, key=key)
        watch(client, console, search.id, tick=service.check, until=_is_running)
    console.print(_teachers(client.get_pool(pool_spec.name)))
    with stages.stage(
        "Search",
        f"{search_spec.budget.max_trials} trials: evolve, distil {trial.epochs} epochs, score",
    ):
        watch(client, console, search.id, tick=service.check, until=_has_searched)
    finish = search_spec.budget.finish
    if finish is not None:
        what = f"up to {finish.detectors} of the best are trained {finish.epochs} epochs further"
        with stages.stage("Finish", what):
            watch(client, console, search.id, tick=service.check, until=_has_only_controls_left)
    with stages.stage("Control", "the base is trained as long as the best, without teacher"):
        watch(client, console, search.id, tick=service.check, until=_has_ended)
    ended = client.get_search(search.id)
    if ended.status is not SearchStatus.SUCCEEDED:
        raise StageError(f"the search {ended.status}: {ended.status_reason}")
    pool = client.get_pool(pool_spec.name)
    if pool.status is not PoolStatus.READY:
        raise StageError(f"the pool {pool.status}: {pool.status_reason}")
    if not client.pareto(ended.name).front:
        raise StageError("no detector was measured: the Pareto front is empty")
    return ended


def _preparation(pool: PoolSpec) -> str:
    if pool.source is None:
        return "the base detector and the elastic teacher pool are trained"
    return "the base detector is trained; the teacher pool is imported and its subnets evaluated"


def _teachers(pool: schemas.PoolDetails) -> str:
    if not pool.subnets:
        return f"pool {pool.name}: {pool.status_reason}"
    largest = max(pool.subnets, key=lambda each: (each.macs, each.ap))
    aps = [100 * each.ap for each in pool.subnets]
    return (
        f"Teachers on this data set: AP {min(aps):.1f} to {max(aps):.1f} on validation, the "
        f"largest {100 * largest.ap:.1f} at {largest.resolution}"
    )


def _is_running(search: schemas.SearchDetails, _trials: list[schemas.Trial]) -> bool:
    return search.status not in (SearchStatus.QUEUED, SearchStatus.PREPARING)


def _has_searched(search: schemas.SearchDetails, trials: list[schemas.Trial]) -> bool:
    is_finishing = any(trial.role is TrialRole.FINISH for trial in trials)
    return is_finishing or _has_only_controls_left(search, trials)


def _has_only_controls_left(search: schemas.SearchDetails, trials: list[schemas.Trial]) -> bool:
    return _has_ended(search, trials) or any(trial.role in CONTROL_ROLES for trial in trials)


def _has_ended(search: schemas.SearchDetails, _trials: list[schemas.Trial]) -> bool:
    return search.finished_at is not None


def wait_for_interrupt(service: Running) -> None:
    """Keep the service running until Ctrl-C."""
    try:
        while True:
            service.check()
            time.sleep(1)
    except KeyboardInterrupt:
        return
