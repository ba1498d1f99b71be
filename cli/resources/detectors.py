"""`searchd detector`: export trained detectors for use without searchd."""

from pathlib import Path
from typing import Annotated

import typer

from api import schemas
from api.client import Client
from cli.lists import FilterOption, LimitOption, Selection, SortOption
from cli.output import (
    FORMAT_HELP,
    Format,
    FormatOption,
    accuracies,
    giga,
    percent,
    show_json,
    show_list,
    show_one,
)
from cli.resources.export_files import fetch
from cli.resources.pins import TrialArgument
from cli.service import URL, UrlOption, parse_spec
from cli.tools.benchmark import benchmark
from cli.tools.evaluate import evaluate
from cli.tools.predict import predict
from searchd.domain.errors import InvalidValueError
from searchd.domain.export_formats import ExportFormat, Precision
from searchd.messages.exports import ExportMeasurement
from searchd.spec import ExportSpec

app = typer.Typer(
    no_args_is_help=True,
    help="Trained detectors: exported for use without searchd, compared, and tried on images and "
    "data sets.",
)
DEFAULTS = ExportSpec()

ExportFormatOption = Annotated[
    ExportFormat,
    typer.Option(
        "--format",
        help="Format of the exported file. onnx runs in onnxruntime, openvino in OpenVINO, "
        "torchscript in torch alone, mmdet in mmdet, tensorrt on NVIDIA GPUs.",
    ),
]
PrecisionOption = Annotated[
    Precision,
    typer.Option(
        "--precision",
        help="Numbers that the exported detector computes with: fp32 finds exactly what the "
        "detector finds; fp16 and int8 may lose AP, see --max-ap-loss. Not every format has all.",
    ),
]
MaxApLossOption = Annotated[
    float,
    typer.Option(
        "--max-ap-loss",
        help="Points of AP (0 to 100) on validation images that fp16 or int8 may lose. int8 keeps "
        "parts in 32 bits to stay below; the export fails if it cannot.",
    ),
]
CalibrationImagesOption = Annotated[
    int,
    typer.Option(
        "--calibration-images",
        help="Number of training images on which int8 measures the ranges of its numbers.",
    ),
]
CalibrationSeedOption = Annotated[
    int, typer.Option("--calibration-seed", help="Seed that chooses the calibration images.")
]
OptionalTrial = Annotated[
    str | None, typer.Argument(metavar="TRIAL", help="Id of the trial, such as s-7f3k2m-12.")
]
DeleteOption = Annotated[
    list[str] | None,
    typer.Option(
        "--delete",
        metavar="EXPORT",
        help="Id or name of an export to delete with its files. Repeat it to delete several. "
        "Nothing is deleted by default.",
    ),
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
        help="Folder to write the exported files, README.md, card.json and, unless the format is "
        "mmdet or tensorrt, predict.py into.",
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
    max_ap_loss: MaxApLossOption = DEFAULTS.max_ap_loss,
    calibration_images: CalibrationImagesOption = DEFAULTS.calibration_images,
    calibration_seed: CalibrationSeedOption = DEFAULTS.calibration_seed,
    out: OutOption = Path("export"),
    cpus: CpusOption = 1,
    url: UrlOption = URL,
    output: OutputOption = Format.TABLE,
) -> None:
    """Export a detector, wait until it proved equal to the detector, and download it.

    The service compares the exported file with the detector on validation images, and offers it
    only if boxes, scores and AP agree, or AP falls by no more than allowed in fp16 and int8.
    Repeating the command downloads the same export.
    """
    fields = {
        "format": format_,
        "precision": precision,
        "input": input_,
        "max_ap_loss": max_ap_loss,
        "calibration_images": calibration_images,
        "calibration_seed": calibration_seed,
        "cpus": cpus,
    }
    spec = parse_spec(fields, ExportSpec, None)
    ended, files = fetch(url, trial, spec, out)
    _show(ended, files, output)


@app.command("exports")
def list_exports(
    trial: OptionalTrial = None,
    delete: DeleteOption = None,
    filters: FilterOption = None,
    sort: SortOption = None,
    limit: LimitOption = None,
    url: UrlOption = URL,
    output: FormatOption = Format.TABLE,
) -> None:
    """List the exports of a detector with AP, size and latency, oldest first, or delete some.

    Deleting removes the files too. The detector is not touched, and can be exported again.
    """
    if delete:
        _delete(url, trial, delete)
        return
    if trial is None:
        raise InvalidValueError("give the id of a trial, or --delete EXPORT")
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
        figures = [f"{name} {text}" for name, text in accuracies(each).items() if text]
        for kind, name in (("AP", "precision"), ("AR", "recall")):
            found_here = (figure for figure in figures if figure.startswith(kind))
            rows[f"{name} at {each.resolution}"] = ", ".join(found_here)
        if each.mask_ap is not None:
            of_masks = (figure for figure in figures if figure.startswith("mask"))
            rows[f"masks at {each.resolution}"] = ", ".join(of_masks)
    for part in found.breakdowns:
        aps = (f"{name} {percent(ap)}" for name, ap in part.class_aps.items())
        lost = (f"{kind} {percent(each.lost_ap)}" for kind, each in part.errors.items())
        rows[f"AP % by class at {part.resolution}"] = ", ".join(aps)
        rows[f"AP50 % lost to errors at {part.resolution}"] = ", ".join(lost)
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


def _delete(url: str, trial: str | None, exports: list[str]) -> None:
    """Delete exports; if a trial is given, only its own."""
    with Client(url) as client:
        for export in exports:
            found = (
                client.find_export(export) if trial is None else client.get_export(trial, export)
            )
            client.delete_export(found.id)
            typer.echo(f"deleted export {found.name}")


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
        **_mask_rows(found),
        **({"in 32 bits": ", ".join(found.kept)} if found.kept else {}),
        "compared": f"{found.num_detections} detections on {found.num_compared} images; "
        f"{found.num_at_threshold} are at a threshold, {found.num_unexplained} differ otherwise",
        "differences": f"raw outputs {found.raw_difference:.1g}, boxes "
        f"{found.box_difference:.1g} pixels, scores {found.score_difference:.1g} at most",
        "size": f"{found.size_bytes / 1e6:.2f} MB",
        "latency": f"{1000 * found.latency_s:.1f} ms (95 % below {1000 * found.latency_p95_s:.1f} "
        f"ms) at {found.resolution}",
        "on": f"{found.device}, {found.software}",
    }


def _mask_rows(found: ExportMeasurement) -> dict[str, str]:
    if found.mask_ap is None:
        return {}
    return {
        "mask AP": f"{percent(found.mask_ap)} %, {percent(found.torch_mask_ap)} % in torch; masks "
        f"differ by {found.mask_difference:.1g} of probability on the mean at most",
    }


app.command()(predict)
app.command()(evaluate)
app.command()(benchmark)
