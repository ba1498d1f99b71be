"""`searchd demo`: a complete search on synthetic data, up to a Pareto front.

Nothing is simulated: the demo starts the service, calls it over HTTP like any client, and shows its
responses.
"""

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
import yaml
from rich.console import Console

from api import schemas
from api.client import Client
from cli.demo import report
from cli.demo.watch import watch
from cli.errors import FAILED
from searchd.domain.lifecycle import DatasetStatus, PoolStatus, SearchStatus
from searchd.spec import DatasetSpec, PoolSpec, SearchSpec

if TYPE_CHECKING:
    from cli.local_service import Service

EXAMPLE = Path(__file__).parents[2] / "examples" / "demo"
KEY = "searchd-demo"
"""Idempotency key, by which a resumed demo finds what it had submitted."""


class DemoError(Exception):
    """A stage of the demo failed; the message says which and why."""


@dataclass
class Stages:
    """The stages of the demo, and how long each took in seconds."""

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


def demo(
    data_folder: Annotated[
        Path | None,
        typer.Option(
            help="Folder for all data of the demo; the folder of an interrupted demo resumes it. "
            "A new folder below searchd-data by default."
        ),
    ] = None,
    trials: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Number of search trials. The number in examples/demo/search.yaml by default.",
        ),
    ] = None,
    seed: Annotated[
        int, typer.Option(min=0, help="Seed of the data set, the pool and the search.")
    ] = 0,
    port: Annotated[
        int,
        typer.Option(
            min=0, max=65535, help="Port of the API and the web page; 0 chooses a free one."
        ),
    ] = 0,
    keep: Annotated[
        bool, typer.Option(help="Whether to keep the service running at the end, until Ctrl-C.")
    ] = False,
) -> None:
    """Run a search on synthetic data, in about 10 minutes on two cores without a GPU."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=160)  # a log is not wrapped
    folder = data_folder or Path("searchd-data") / f"demo-{datetime.now():%Y%m%d-%H%M%S}"
    try:
        _run(console, folder, trials=trials, seed=seed, port=port, keep=keep)
    except DemoError as error:
        console.print(f"[red]The demo failed:[/red] {error}")
        console.print(f"Logs: {folder / 'logs'}")
        raise typer.Exit(FAILED) from error
    except KeyboardInterrupt:
        console.print(f"\nInterrupted. To resume: searchd demo --data-folder {folder}")
        raise typer.Exit(130) from None


def _run(
    console: Console, folder: Path, *, trials: int | None, seed: int, port: int, keep: bool
) -> None:
    # Imported here since it imports Ray, which no other command needs.
    from cli.local_service import Service

    # SIGTERM, for example from `timeout`, must stop the service too.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    pool_spec, search_spec = _specs(trials, seed)
    stages = Stages(console)
    with stages.stage("Service", f"API, coordinator, Ray and SQLite, all in {folder}"):
        # Short time slices show steady progress; the default suits epochs of an hour.
        service = Service(folder, api_port=port, environment={"SEARCHD_SLICE_S": "2"})
        service.start()
    try:
        console.print(service.describe())
        with Client(service.url) as client:
            with stages.stage("Data", "the synthetic data set `shapes` is drawn and checked"):
                _dataset(client, _shapes(folder, seed))
            _submit_and_watch(service, client, console, stages, pool_spec, search_spec)
            if not client.pareto(search_spec.name).front:
                raise DemoError("no detector was measured: the Pareto front is empty")
            report.show(client, console, folder, search_spec.name, stages.durations_s)
        console.print(_what_next(service.url, folder, keep))
        if keep:
            _wait_for_interrupt(service)
    finally:
        service.stop()


def _submit_and_watch(
    service: "Service",
    client: Client,
    console: Console,
    stages: Stages,
    pool_spec: PoolSpec,
    search_spec: SearchSpec,
) -> None:
    with stages.stage(
        "Base and pool", "the base detector and the elastic teacher pool are trained"
    ):
        client.create_pool(pool_spec, key=KEY)
        search = client.submit_search(search_spec, key=KEY)
        watch(client, console, search.id, tick=service.check, until=_is_running)
    with stages.stage(
        "Search", f"{search_spec.budget.max_trials} trials: evolve, distil 3 epochs, score"
    ):
        watch(client, console, search.id, tick=service.check, until=_has_only_controls_left)
    with stages.stage("Control", "the base is trained as long as the best, without teacher"):
        watch(client, console, search.id, tick=service.check, until=_has_ended)
    ended = client.get_search(search.id)
    if ended.status is not SearchStatus.SUCCEEDED:
        raise DemoError(f"the search {ended.status}: {ended.status_reason}")
    pool = client.get_pool(pool_spec.name)
    if pool.status is not PoolStatus.READY:
        raise DemoError(f"the pool {pool.status}: {pool.status_reason}")


def _specs(trials: int | None, seed: int) -> tuple[PoolSpec, SearchSpec]:
    if not EXAMPLE.is_dir():
        raise DemoError(f"{EXAMPLE} is missing; run the demo from a clone of the repository")
    pool = PoolSpec.model_validate(_yaml("pool.yaml") | {"seed": seed})
    search = SearchSpec.model_validate(_yaml("search.yaml") | {"seed": seed})
    if trials is not None:
        budget = search.budget.model_copy(update={"max_trials": trials})
        search = search.model_copy(update={"budget": budget})
    return pool, search


def _yaml(name: str) -> dict[str, object]:
    loaded: dict[str, object] = yaml.safe_load((EXAMPLE / name).read_text())
    return loaded


def _shapes(folder: Path, seed: int) -> DatasetSpec:
    # Imported here since it imports torch, which other commands do not need.
    from detection.data.shapes import make_shapes

    return make_shapes(folder.absolute() / "shapes", seed=seed, difficulty=0.1)


def _dataset(client: Client, spec: DatasetSpec) -> None:
    client.create_dataset(spec, key=KEY)
    dataset = client.wait_for_dataset(spec.name, poll_s=0.5)
    if dataset.status is not DatasetStatus.READY:
        raise DemoError(f"the data set was refused: {dataset.status_reason}")


def _is_running(search: schemas.SearchDetails, _trials: list[schemas.Trial]) -> bool:
    return search.status not in (SearchStatus.QUEUED, SearchStatus.PREPARING)


def _has_only_controls_left(search: schemas.SearchDetails, trials: list[schemas.Trial]) -> bool:
    return _has_ended(search, trials) or any(trial.role == "control" for trial in trials)


def _has_ended(search: schemas.SearchDetails, _trials: list[schemas.Trial]) -> bool:
    return search.finished_at is not None


def _what_next(url: str, folder: Path, keep: bool) -> str:
    look = (
        f"The service is still running. Web page: {url}/   API: {url}/docs   (Ctrl-C stops it)"
        if keep
        else f"To see the results again in web page and API: searchd up --data-folder {folder}"
    )
    return f"""
{look}
To search on your own data set (COCO, YOLO, VOC, CVAT, Label Studio), while the service is running:
  searchd dataset add mine FOLDER
  searchd pool create examples/demo/pool.yaml --dataset mine --name my-pool
  searchd search submit examples/demo/search.yaml --dataset mine --pool my-pool --name my-search
  searchd search watch my-search"""


def _wait_for_interrupt(service: "Service") -> None:
    try:
        while True:
            service.check()
            time.sleep(1)
    except KeyboardInterrupt:
        return
