"""`searchd detector benchmark`: a detector in every format and precision, compared."""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from api.client import Client
from cli.errors import fail
from cli.output import percent, quiet_imports, show_json, show_rows
from cli.resources.pins import TrialArgument
from cli.service import URL, UrlOption
from cli.tools.benchmark_plan import Row, chosen_kinds, planned
from cli.tools.plots import plot_benchmark
from searchd.spec.exports import DYNAMIC

RESULTS = "benchmark"
"""Name of the files with the results, without their endings."""


class BenchmarkOutput(StrEnum):
    """The output format of the command."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"


FormatsOption = Annotated[
    str,
    typer.Option(
        "--formats",
        metavar="all|FORMAT[:PRECISION],...",
        help="Formats and precisions to compare, such as onnx:fp32,onnx:int8; a format without a "
        "precision stands for all that it has. all compares all there are.",
    ),
]
InputOption = Annotated[
    str,
    typer.Option(
        "--input",
        metavar="WxH|dynamic",
        help="Size in pixels of the images that the files take, or dynamic for any. A format "
        "without dynamic input has the resolution of the detector's best score.",
    ),
]
CpusOption = Annotated[
    int,
    typer.Option(
        "--cpus", min=1, help="Number of CPUs that each export reserves, and threads of the timing."
    ),
]
OutOption = Annotated[
    Path,
    typer.Option(
        "--out",
        file_okay=False,
        help="Folder for the exported files and for the results: benchmark.csv, .json and .png.",
    ),
]
OutputOption = Annotated[
    BenchmarkOutput,
    typer.Option("--format", help="Output format: table for people, json and csv for programs."),
]


def benchmark(
    trial: TrialArgument,
    formats: FormatsOption = "all",
    input_: InputOption = DYNAMIC,
    cpus: CpusOption = 1,
    out: OutOption = Path(RESULTS),
    url: UrlOption = URL,
    output: OutputOption = BenchmarkOutput.TABLE,
) -> None:
    """Compare a detector and its base in every format and precision: AP, latency, size.

    What was not exported yet is exported first. AP is that of the exported file, on the validation
    and the test split. All files are then timed on this machine in turns, on the first validation
    image, beside the detector in torch. What cannot run here is listed with the reason.
    """
    kinds = chosen_kinds(formats)
    with Client(url) as client:
        plan = planned(client, trial, kinds, input_, cpus)
        with quiet_imports():
            # Imported here because it imports torch, which other commands do not need.
            from cli.tools.benchmarked import measured
        found = measured(client, plan, out, num_threads=cpus)
    document = {
        "trial": trial,
        "device": found.device,
        "image": found.image,
        "rows": [asdict(row) for row in found.rows],
    }
    _write(out, document, found.rows)
    _show(document, found.rows, output)
    if output is BenchmarkOutput.TABLE:
        typer.echo(f"Timed on {found.device}, with {found.image}")
        typer.echo(f"Results and exported files: {out} ({RESULTS}.png, {RESULTS}.csv, ...)")
    if not any(row.latency_s for row in found.rows):
        raise fail("nothing of this runs here")


def _write(out: Path, document: dict[str, Any], rows: Sequence[Row]) -> None:
    out.mkdir(parents=True, exist_ok=True)
    (out / f"{RESULTS}.json").write_text(json.dumps(document, indent=2))
    (out / f"{RESULTS}.csv").write_text(_csv(rows))
    plot_benchmark([row for row in rows if row.latency_s], out / f"{RESULTS}.png")


def _csv(rows: Sequence[Row]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(asdict(rows[0])), lineterminator="\n")
    writer.writeheader()
    writer.writerows(map(asdict, rows))
    return text.getvalue()


def _show(document: dict[str, Any], rows: Sequence[Row], output: BenchmarkOutput) -> None:
    if output is BenchmarkOutput.JSON:
        show_json(document)
    elif output is BenchmarkOutput.CSV:
        typer.echo(_csv(rows), nl=False)
    else:
        show_rows(
            ("DETECTOR", "FORMAT", "PRECISION", "AP %", "AP % ON TEST", "MS", "MS, 95 %")
            + ("IMAGES/S", "MB"),
            [_cells(row) for row in rows if row.latency_s],
        )
        for text in _not_run(rows):
            typer.echo(text)


def _cells(row: Row) -> Sequence[object]:
    assert row.latency_s is not None  # it was timed
    assert row.latency_p95_s is not None
    return (
        row.shown_name,
        row.format,
        row.precision,
        percent(row.ap),
        percent(row.test_ap),
        f"{1000 * row.latency_s:.1f}",
        f"{1000 * row.latency_p95_s:.1f}",
        f"{row.images_per_s:.1f}",
        f"{(row.size_bytes or 0) / 1e6:.2f}",
    )


def _not_run(rows: Sequence[Row]) -> list[str]:
    """Return what was not timed with its reason, each reason once."""
    reasons: dict[str, list[str]] = {}
    for row in rows:
        if row.reason:
            reasons.setdefault(row.reason, []).append(f"{row.format} {row.precision}")
    return [
        f"not run: {', '.join(dict.fromkeys(kinds))}: {reason}" for reason, kinds in reasons.items()
    ]
