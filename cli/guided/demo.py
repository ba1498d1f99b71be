"""`searchd demo`: a complete search on synthetic data, up to a Pareto front.

Nothing is simulated: the demo starts the service, calls it over HTTP like any client, and shows its
responses.
"""

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer
import yaml
from rich.console import Console

from api.client import Client
from cli.errors import FAILED
from cli.guided import report, stages
from cli.guided.run import improve, name_from
from cli.recommendation import Options
from cli.resources.pool_exports import spec_of_import
from searchd.domain.errors import InvalidValueError
from searchd.messages.pool_export import read_description
from searchd.spec import DatasetImport, DatasetSpec, PoolSpec, SearchSpec

EXAMPLE = Path(__file__).parents[2] / "examples" / "demo"
SHIPPED_POOL = EXAMPLE / "pool"
"""Export of the teachers that the demo imports; `make demo-pool` writes it."""
KEY = "searchd-demo"
"""Idempotency key, by which a resumed demo finds what it had submitted."""
NUM_TEST = 512
"""Images of the test split. They cost seconds, and more of them narrow the intervals."""
BUDGET = "10m"
"""Time of the demo on a data set of the user's."""


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
    data: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            help="Data set of your own to run on instead of the synthetic one, as `searchd run` "
            "takes it; 10 minutes are spent on it.",
        ),
    ] = None,
    from_nothing: Annotated[
        bool,
        typer.Option(
            "--from-nothing",
            help="Train a small pool of teachers first, instead of importing the trained one that "
            "the repository has. It takes about 4 minutes and its teachers are weaker.",
        ),
    ] = False,
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
    console = stages.console()
    folder = data_folder or Path("searchd-data") / f"demo-{datetime.now():%Y%m%d-%H%M%S}"
    if data is not None:
        check_options(trials=trials, from_nothing=from_nothing)
        _on(data, console, folder, seed=seed, port=port, keep=keep)
        return
    try:
        specs = _specs(trials, seed, from_nothing=from_nothing)
        _run(console, folder, specs, seed=seed, port=port, keep=keep)
    except stages.StageError as error:
        console.print(f"[red]The demo failed:[/red] {error}")
        console.print(f"Logs: {folder / 'logs'}")
        raise typer.Exit(FAILED) from error
    except KeyboardInterrupt:
        console.print(f"\nInterrupted. To resume: {_resuming(folder, trials, seed, from_nothing)}")
        raise typer.Exit(130) from None


def _resuming(folder: Path, trials: int | None, seed: int, from_nothing: bool) -> str:
    """Return the command that resumes a demo: it must have the same options."""
    given = ["--from-nothing"] if from_nothing else []
    given += [] if trials is None else [f"--trials {trials}"]
    given += [f"--seed {seed}"] if seed else []
    return " ".join(["searchd demo", *given, f"--data-folder {folder}"])


def check_options(*, trials: int | None, from_nothing: bool) -> None:
    """Check the options of a demo with `--data`.

    Raises:
        InvalidValueError: An option has no meaning for it.
    """
    if trials is not None:
        raise InvalidValueError(
            f"--trials {trials} belongs to the demo on synthetic data; with --data, the number of "
            f"trials is chosen for {BUDGET}: leave it out, or use searchd run with --budget"
        )
    if from_nothing:
        raise InvalidValueError(
            "--from-nothing belongs to the demo on synthetic data; with --data, the teachers are "
            "always trained: leave it out"
        )


def _on(data: Path, console: Console, folder: Path, *, seed: int, port: int, keep: bool) -> None:
    """Run on a data set of the user's, as `searchd run` does."""
    dataset = DatasetImport(name=name_from(data), paths=(data.absolute(),), seed=seed)
    improve(
        console,
        dataset,
        Options(budget=BUDGET, seed=seed),
        folder,
        port=port,
        keep=keep,
        resume=f"searchd demo --data {data} --seed {seed} --data-folder {folder}",
    )


def _run(
    console: Console,
    folder: Path,
    specs: tuple[PoolSpec, SearchSpec],
    *,
    seed: int,
    port: int,
    keep: bool,
) -> None:
    pool_spec, search_spec = specs
    timed = stages.Stages(console)
    with stages.local_service(timed, folder, port=port) as service:
        with Client(service.url) as client:
            with timed.stage("Data", "the synthetic data set `shapes` is drawn and checked"):
                stages.add_dataset(client, _shapes(folder, seed), key=KEY)
            if pool_spec.source is not None:
                console.print(describe_teachers(pool_spec.source))
            ended = stages.submit_and_watch(service, client, timed, pool_spec, search_spec, key=KEY)
            report.show(client, console, folder, ended.name, timed.durations_s)
        console.print(_what_next(service.url, folder, keep))
        if keep:
            stages.wait_for_interrupt(service)


def describe_teachers(folder: Path) -> str:
    """Return what the imported teachers are, how good, and where they come from."""
    export = read_description(folder)
    aps = sorted(100 * each.ap for each in export.subnets)
    return (
        f"Teachers: subnets of the pool in {folder}, AP {aps[0]:.1f} to {aps[-1]:.1f} on images of "
        f"their own; {'; '.join(export.notes)}.\n"
        "They have seen more images than the student will: part of what it learns is from those. "
        "To train teachers on the student's images: --from-nothing"
    )


def _specs(
    trials: int | None, seed: int, *, from_nothing: bool = False
) -> tuple[PoolSpec, SearchSpec]:
    if not EXAMPLE.is_dir():
        raise stages.StageError(
            f"{EXAMPLE} is missing; run the demo from a clone of the repository"
        )
    search = SearchSpec.model_validate(_yaml("search.yaml") | {"seed": seed})
    if from_nothing:
        pool = PoolSpec.model_validate(_yaml("pool.yaml") | {"seed": seed})
    else:
        pool = spec_of_import(SHIPPED_POOL, search.dataset, search.pool)
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

    target = folder.absolute() / "shapes"
    return make_shapes(target, seed=seed, num_test=NUM_TEST, difficulty=0.1)


def _what_next(url: str, folder: Path, keep: bool) -> str:
    look = (
        f"The service is still running. Web page: {url}/   API: {url}/docs   (Ctrl-C stops it)"
        if keep
        else f"To see the results again in web page and API: searchd up --data-folder {folder}"
    )
    return f"""
{look}
To search on your own data set (COCO, YOLO, VOC, CVAT or Label Studio):
  searchd run FOLDER"""
