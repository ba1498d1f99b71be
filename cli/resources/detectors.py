"""`searchd detector`: export trained detectors for use without searchd."""

import time
from pathlib import Path
from typing import Annotated

import typer

from api import schemas
from api.client import Client
from cli.errors import fail
from cli.lists import FilterOption, LimitOption, Selection, SortOption
from cli.output import (
    FORMAT_HELP,
    Format,
    FormatOption,
    giga,
    percent,
    show_json,
    show_list,
    show_one,
)
from cli.resources.pins import TrialArgument
from cli.service import URL, UrlOption, parse_spec
from cli.tools.predict import MODEL, add_predict
from searchd.domain.export_formats import ExportFormat, Precision
from searchd.domain.lifecycle import ExportStatus
from searchd.domain.transitions import is_final
from searchd.messages.exports import ExportMeasurement
from searchd.spec import ExportSpec

app = typer.Typer(
    no_args_is_help=True,
    help="Trained detectors: exported for use without searchd, listed, and tried on images.",
)
POLL_S = 1.0

ExportFormatOption = Annotated[
    ExportFormat,
    typer.Option("--format", help="Format of the exported file. onnx runs in onnxruntime."),
]
PrecisionOption = Annotated[
    Precision,
    typer.Option("--precision", help="Numbers that the exported detector computes with."),
]
InputOption = Annotated[
    str,
    typer.Option(
        "--input",
        metavar="WxH|dynamic",
        help="Size in pixels of the images that the file takes, for example 640x480: images are "
        "resized into it with their aspect ratio kept, and padded. dynamic takes any size.",
    ),
]
OutOption = Annotated[
    Path,
    typer.Option(
        "--out",
        file_okay=False,
        help="Folder to write the exported file, predict.py, README.md and card.json into.",
    ),
]
CpusOption = Annotated[
    float,
    typer.Option(
        "--cpus", help="Number of CPUs that the export reserves, and threads of the latency."
    ),
]
OutputOption = Annotated[Format, typer.Option("--output", help=FORMAT_HELP)]


@app.command()
def export(
    trial: TrialArgument,
    format_: ExportFormatOption = ExportFormat.ONNX,
    precision: PrecisionOption = Precision.FP32,
    input_: InputOption = "dynamic",
    out: OutOption = Path("export"),
    cpus: CpusOption = 1,
    url: UrlOption = URL,
    output: OutputOption = Format.TABLE,
) -> None:
    """Export a detector, wait until it proved equal to the detector, and download it.

    The service compares the exported file with the detector on validation images, and offers it
    only if boxes, scores and AP agree. Repeating the command downloads the same export.
    """
    fields = {"format": format_, "precision": precision, "input": input_, "cpus": cpus}
    spec = parse_spec(fields, ExportSpec, "the export")
    ended, files = fetch(url, trial, spec, out)
    _show(ended, files, output)


@app.command("exports")
def list_exports(
    trial: TrialArgument,
    filters: FilterOption = None,
    sort: SortOption = None,
    limit: LimitOption = None,
    url: UrlOption = URL,
    output: FormatOption = Format.TABLE,
) -> None:
    """List the exports of a detector with AP, size and latency, oldest first."""
    columns = {
        "NAME": lambda e: e.name,
        "ID": lambda e: e.id,
        "STATUS": lambda e: e.status,
        "AP %": lambda e: e.measurement and percent(e.measurement.ap),
        "AP % IN TORCH": lambda e: e.measurement and percent(e.measurement.torch_ap),
        "MB": lambda e: e.measurement and f"{e.measurement.size_bytes / 1e6:.2f}",
        "MS": lambda e: e.measurement and f"{1000 * e.measurement.latency_s:.1f}",
        "REASON": lambda e: e.status_reason,
    }
    with Client(url) as client:
        found = client.list_exports(trial)
    show_list(Selection.of(filters, sort, limit, by_service=False).apply(found), columns, output)


@app.command()
def show(trial: TrialArgument, url: UrlOption = URL, output: FormatOption = Format.TABLE) -> None:
    """Show a trained detector: where it comes from, its measurements and its files."""
    with Client(url) as client:
        found = client.get_detector(trial)
    rows: dict[str, object] = {
        "trial": found.trial_id,
        "search": found.search_id,
        "lineage": " > ".join(found.lineage),
    }
    for each in found.evaluations:
        rows[f"AP at {each.resolution}"] = f"{percent(each.ap)} %, {giga(each.macs)} G MACs"
    for file in found.artifacts:
        rows[f"file {file.name}"] = f"{file.size_bytes / 1e6:.2f} MB, SHA-256 {file.sha256}"
    show_one(found, rows, output)


@app.command()
def download(
    trial: TrialArgument,
    artifact: Annotated[
        str, typer.Argument(help="Name of the file, which `searchd detector show` lists.")
    ] = "student",
    out: Annotated[
        Path | None,
        typer.Option("--out", dir_okay=False, help="File to write. TRIAL-ARTIFACT by default."),
    ] = None,
    url: UrlOption = URL,
) -> None:
    """Download a file of a detector, and compare it with its SHA-256."""
    with Client(url) as client:
        typer.echo(client.download(trial, artifact, out or Path(f"{trial}-{artifact}")))


@app.command("show-export")
def show_export(
    trial: TrialArgument,
    export: Annotated[str, typer.Argument(metavar="EXPORT", help="Name or id of the export.")],
    url: UrlOption = URL,
    output: FormatOption = Format.TABLE,
) -> None:
    """Show an export of a detector: its status, and what was measured of it."""
    with Client(url) as client:
        found = client.get_export(trial, export)
    rows = {
        "export": found.name,
        "id": found.id,
        "status": f"{found.status}: {found.status_reason}",
    }
    measured = {} if found.measurement is None else _measured(found.measurement)
    show_one(found, rows | measured, output)


def fetch(
    url: str, trial: str, spec: ExportSpec, folder: Path
) -> tuple[schemas.Export, list[Path]]:
    """Export a detector, wait, and download the files into a folder.

    Raises:
        ApiError: There is no such trial, or it has no detector.
        typer.Exit: The export failed.
    """
    with Client(url) as client:
        ended = wait(client, client.create_export(trial, spec))
        if ended.status is not ExportStatus.READY:
            raise fail(f"export {ended.name} is {ended.status}: {ended.status_reason}")
        folder.mkdir(parents=True, exist_ok=True)
        return ended, client.download_export(ended, folder)


def wait(client: Client, export: schemas.Export, *, poll_s: float = POLL_S) -> schemas.Export:
    """Wait until an export has ended, and show on stderr what it does."""
    started = time.monotonic()
    from rich.console import Console

    with Console(stderr=True).status("") as shown:
        while not is_final(export.status):
            seconds = time.monotonic() - started
            shown.update(f"{export.name}: {export.status_reason} ({seconds:.0f} s)")
            time.sleep(poll_s)
            export = client.get_export(export.trial_id, export.id)
    return export


def _show(export: schemas.Export, files: list[Path], output: Format) -> None:
    if output is Format.JSON:
        paths = {"paths": [str(path) for path in files]}
        show_json(export.model_dump(mode="json") | paths)
        return
    assert export.measurement is not None  # it is ready
    rows = {"export": export.name, "id": export.id, "status": export.status_reason}
    show_one(export, rows | _measured(export.measurement), output)
    for path in files:
        typer.echo(path)


def _measured(found: ExportMeasurement) -> dict[str, str]:
    return {
        "AP": f"{percent(found.ap)} %, {percent(found.torch_ap)} % in torch",
        "compared": f"{found.num_detections} detections on {found.num_compared} images; "
        f"{found.num_at_threshold} are at a threshold, {found.num_unexplained} differ otherwise",
        "differences": f"raw outputs {found.raw_difference:.1g}, boxes "
        f"{found.box_difference:.1g} pixels, scores {found.score_difference:.1g} at most",
        "size": f"{found.size_bytes / 1e6:.2f} MB",
        "latency": f"{1000 * found.latency_s:.1f} ms (95 % below {1000 * found.latency_p95_s:.1f} "
        f"ms) at {found.resolution}",
        "on": f"{found.device}, {found.software}",
    }


def _download(url: str, trial: str, folder: Path) -> Path:
    _, files = fetch(url, trial, ExportSpec(), folder)
    return next(file for file in files if file.name == MODEL)


add_predict(app, _download)
