"""`searchd run`: from a data set on disk to better detectors, with one command."""

import json
import re
import unicodedata
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from api import schemas
from api.client import Client
from cli import recommendation
from cli.errors import FAILED
from cli.guided import report, stages
from cli.output import Format
from cli.recommendation import DEFAULT_BUDGET, BudgetOption, CpusOption, GpusOption, Options
from cli.resources import dataset_check
from cli.service import spec_of
from cli.spec_files import read_source
from cli.spec_places import SpecSource
from cli.starting_weights import ConfigOption, FromOption, LicenceOption, PretrainedOption
from cli.tools.exported_detectors import export
from searchd.domain.errors import ConflictError
from searchd.spec import (
    MAX_EMPTY_SHARE,
    MAX_FAULT_SHARE,
    VALIDATION_SHARE,
    DatasetImport,
    PoolSpec,
    SearchSpec,
)

SPLITS = ("train", "validation", "test")
INTERRUPTED = 130
"""Exit code of a program that Ctrl-C has ended."""


def run(
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="PATH...",
            exists=True,
            help="A folder with the data set in COCO, YOLO, Pascal VOC, CVAT or Label Studio "
            "format, or what else `searchd dataset check` takes.",
        ),
    ],
    source: FromOption = None,
    config: ConfigOption = None,
    pretrained: PretrainedOption = None,
    licence: LicenceOption = None,
    budget: BudgetOption = DEFAULT_BUDGET,
    name: Annotated[
        str | None,
        typer.Option(
            help="Name of the search and of its data set. The name of the folder by default."
        ),
    ] = None,
    data_folder: Annotated[
        Path,
        typer.Option(
            file_okay=False,
            help="Folder for the database, artifacts and results. The same folder and name resume "
            "an interrupted run.",
        ),
    ] = Path("searchd-data"),
    data_format: dataset_check.FormatOfData = None,
    validation_share: dataset_check.ValidationShare = VALIDATION_SHARE,
    test_share: dataset_check.TestShare = None,
    group_by: dataset_check.GroupBy = None,
    max_empty_share: dataset_check.EmptyShare = MAX_EMPTY_SHARE,
    max_fault_share: dataset_check.FaultShare = MAX_FAULT_SHARE,
    cpus: CpusOption = None,
    gpus: GpusOption = None,
    seed: Annotated[
        int, typer.Option(min=0, help="Seed of the splits, the teachers and the search.")
    ] = 0,
    port: Annotated[
        int,
        typer.Option(
            min=0,
            max=65535,
            help="Port of the API and the web page; 0 chooses a free one. Ignored with --url.",
        ),
    ] = 0,
    url: Annotated[
        str | None,
        typer.Option(
            "--url",
            envvar="SEARCHD_URL",
            help="URL of a running service to use. By default one is started on this machine and "
            "stopped at the end.",
        ),
    ] = None,
) -> None:
    """Improve a detector on your own data: check the data, choose all settings, train a base and
    teachers, search, finish the best, compare with the control, and export the best detector.

    Every setting that was chosen is in a YAML file that can be edited and submitted again.
    """
    console = stages.console()
    chosen = name or name_from(paths[0])
    dataset = DatasetImport(
        name=chosen,
        paths=tuple(path.absolute() for path in paths),
        format=data_format,
        validation_share=validation_share,
        test_share=test_share,
        seed=seed,
        group_by=group_by,
        max_empty_share=max_empty_share,
        max_fault_share=max_fault_share,
    )
    options = Options(
        budget=budget,
        cpus=cpus,
        gpus=gpus,
        seed=seed,
        source=source,
        config=config,
        pretrained=pretrained,
        licence=licence,
    )
    improve(console, dataset, options, data_folder, port=port, url=url, resume="the same command")


def improve(
    console: Console,
    dataset: DatasetImport,
    options: Options,
    data_folder: Path,
    *,
    port: int,
    url: str | None = None,
    keep: bool = False,
    resume: str,
) -> None:
    """Run everything for a data set, or resume it, and report failures to the user.

    Args:
        console: Console to print to.
        dataset: The data set; its name is that of the run.
        options: What the user chose of the recommendation.
        data_folder: Folder of the service, and of the results.
        port: Port of the API; 0 for a free one.
        url: URL of a running service; None: one is started here.
        keep: Whether to keep the service running at the end, until Ctrl-C.
        resume: What resumes the run after Ctrl-C, for the message.

    Raises:
        ConflictError: A run of this name has other options.
        InvalidValueError: An option is invalid.
        Exit: The run failed or was interrupted; the exit code of the program says which.
    """
    results = data_folder.absolute() / "runs" / dataset.name
    _begin_or_resume(results, dataset, options)
    try:
        _run(console, data_folder, results, dataset, options, port=port, url=url, keep=keep)
    except stages.StageError as error:
        console.print(f"[red]The run failed:[/red] {error}", highlight=False)
        console.print(f"Logs: {data_folder / 'logs'}")
        raise typer.Exit(FAILED) from error
    except KeyboardInterrupt:
        console.print(f"\nInterrupted. To resume: {resume}", soft_wrap=True)
        raise typer.Exit(INTERRUPTED) from None


def name_from(path: Path) -> str:
    """Return a name for a data set from the name of its folder, or of its file."""
    path = path.absolute()
    text = unicodedata.normalize("NFKD", path.stem if path.is_file() else path.name)
    plain = text.encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:40] or "mine"


def _begin_or_resume(results: Path, dataset: DatasetImport, options: Options) -> None:
    """Record the options of the run; check that a run that is resumed has the same.

    Raises:
        ConflictError: A run of this name has other options.
        InvalidValueError: An option is invalid.
    """
    options.check()
    record = results / "options.json"
    given = {"dataset": dataset.model_dump(mode="json"), "options": options.as_json()}
    if not record.exists():
        results.mkdir(parents=True, exist_ok=True)
        record.write_text(json.dumps(given, indent=2))
        return
    earlier = json.loads(record.read_text())
    differing = sorted(
        key
        for section in given
        for key, value in given[section].items()
        if earlier[section].get(key) != value
    )
    if differing:
        raise ConflictError(
            f"the run {dataset.name} was begun with other values of {', '.join(differing)} "
            f"(see {record}); give the same to resume it, or another --name"
        )


def _run(
    console: Console,
    data_folder: Path,
    results: Path,
    spec: DatasetImport,
    options: Options,
    *,
    port: int,
    url: str | None,
    keep: bool,
) -> None:
    key = f"searchd-run-{spec.name}"
    timed = stages.Stages(console)
    with (
        _service(timed, data_folder, port, url) as service,
        Client(service.url) as client,
    ):
        with timed.stage("Data", "format, images, boxes and splits are checked"):
            dataset = stages.add_dataset(client, spec, key=key)
            console.print(_of_data(dataset))
        with timed.stage("Settings", f"for {options.budget} on this machine"):
            sources = _specs(results, dataset, options, console)
            specs = spec_of(sources[0], PoolSpec), spec_of(sources[1], SearchSpec)
        ended = stages.submit_and_watch(service, client, timed, *specs, key=key, sources=sources)
        report.show(client, console, results, ended.name, timed.durations_s)
        assert ended.best_trial_id is not None  # something was measured
        console.print("Best detector, exported for mmdet:")
        export(client, ended, ended.best_trial_id, results / "best", Format.TABLE)
        report.write(client, results, ended.name, timed.durations_s)
        what_next = _what_next(data_folder, results, spec.name, ended.best_trial_id, url)
        console.print(what_next)
        if keep:
            console.print(f"The service is still running: {service.url}/  (Ctrl-C stops it)")
            stages.wait_for_interrupt(service)


def _what_next(data_folder: Path, results: Path, name: str, best: str, url: str | None) -> str:
    look = (
        f"To see it in web page and API:   searchd up --data-folder {data_folder}"
        if url is None
        else f"It is in the web page and API:   {url}"
    )
    return f"""
Everything of this run is in {results} (report.txt, pareto.png, best/, the specs).
{look}
To export another detector:      searchd search export {name} --trial TRIAL
To have the best one as ONNX:    searchd detector export {best} --out DIR
To search with settings of your own: edit a copy of {results}/{name}.yaml, then
  searchd search submit FILE --name ANOTHER-NAME"""


def _service(
    timed: stages.Stages, data_folder: Path, port: int, url: str | None
) -> AbstractContextManager[stages.Running]:
    if url is not None:
        return nullcontext(stages.Elsewhere(url))
    return stages.local_service(timed, data_folder, port=port)


def _specs(
    results: Path, dataset: schemas.Dataset, options: Options, console: Console
) -> tuple[SpecSource, SpecSource]:
    """Return the recommended specs of pool and search; those of the interrupted run if there
    are."""
    name = dataset.name
    files = recommendation.SpecFiles.below(results, name)
    if not files.exist():
        assert dataset.summary is not None  # it was checked
        statistics = dataset.summary.get("statistics")
        classes = dataset.summary["class_names"]
        found = recommendation.make(name, name, statistics, classes, options)
        files.write(found)
        console.print(recommendation.describe(found))
    console.print(f"Settings, each with its reason: {files.search} and {files.pool.name}")
    return read_source(files.pool), read_source(files.search)


def _of_data(dataset: schemas.Dataset) -> str:
    assert dataset.summary is not None  # it was checked
    splits = dataset.summary["statistics"]["splits"]
    counts = ", ".join(
        f"{name}: {split['images']} images with {split['objects']} objects"
        for name, split in sorted(splits.items(), key=lambda item: SPLITS.index(item[0]))
    )
    warnings = [f"  warning: {text}" for text in dataset.summary.get("warnings", ())]
    repairs = [f"  repaired: {text}" for text in dataset.summary.get("repairs", ())]
    return "\n".join([counts, *repairs, *warnings])
