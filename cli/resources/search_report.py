"""The report of a search for people: verdict, detectors, paired differences, notes."""

import textwrap
from collections.abc import Iterable
from typing import TYPE_CHECKING

from api.schemas.reports import Report, ReportedDetector, ReportedDifference, ReportedLatencies
from api.schemas.trials import SplitAp
from cli.output import Format, console, mega, percent, show_json, show_rows, text

if TYPE_CHECKING:  # it takes long to import, and most commands print no report
    from rich.console import Console
    from rich.table import Table

_LABELS = {
    "base": "base",
    "best": "best",
    "finished": "finished",
    "control": "control",
    "equal_macs_control": "equal-MACs control",
    "front": "front",
}
_LINE = 100
"""Characters per line of the verdict and the notes."""


def show_report(report: Report, output: Format) -> None:
    """Print a report as text and tables, or as JSON."""
    if output is Format.JSON:
        show_json(report.model_dump(mode="json"))
        return
    if output is Format.CSV:
        columns = _columns(report)
        show_rows(columns, (_detector(each)[: len(columns)] for each in report.detectors), output)
        return
    print_report(console(), report)


def print_report(to: "Console", report: Report) -> None:
    """Print a report to a console."""
    to.print(paragraph(report.verdict), highlight=False, markup=False)
    columns = _columns(report)
    rows = (_detector(each)[: len(columns)] for each in report.detectors)
    to.print(_table("Base, best, other finished detectors and controls", columns, rows))
    points = f"POINTS OF {report.accuracy.words.upper()}"
    header = ("BEST AGAINST", "AT", points, "95 % INTERVAL", "MACS RATIO", "CONCLUSION")
    title = f"Paired differences on the {report.split} split"
    to.print(_table(title, header, (_difference(each) for each in report.differences)))
    if report.compared_teachers:
        to.print(
            f"Teachers were better than their students in {report.better_teachers} of "
            f"{report.compared_teachers} trials.",
            highlight=False,
        )
    if report.latencies is not None and report.latencies.tau is not None:
        to.print(paragraph(_order(report.latencies)), highlight=False, markup=False)
    for note in report.notes:
        to.print(paragraph(f"- {note}"), highlight=False, markup=False)


def with_interval(measured: SplitAp | None) -> str | None:
    """Format an AP with its interval, in percent; None if it was not measured."""
    if measured is None or measured.low is None or measured.high is None:
        return None if measured is None else percent(measured.ap)
    return f"{percent(measured.ap)} [{percent(measured.low)}, {percent(measured.high)}]"


def paragraph(content: str) -> str:
    """Break a text into lines."""
    return textwrap.fill(content, _LINE, subsequent_indent="  " if content[:2] == "- " else "")


def _columns(report: Report) -> tuple[str, ...]:
    name = report.accuracy.words.upper()
    measured = f"{name} % ON {report.split.upper()}"
    figures = [f"VALIDATION {name} %", "M MACS", "M PARAMS", "LATENCY MS"]
    if any(each.device_latency_s for each in report.detectors):
        figures.append("MS ON DEVICE")
    return ("DETECTOR", "TRIAL", "RESOLUTION", measured, *figures)


def _detector(each: ReportedDetector) -> list[object]:
    return [
        _LABELS[each.label],
        each.trial,
        f"{each.resolution}" + (" (its best)" if each.is_own_best else ""),
        with_interval(each.measured),
        percent(each.validation_ap),
        f"{each.macs / 1e6:.1f}",
        mega(each.params),
        f"{1000 * each.latency_s:.1f}",
        each.device_latency_s and f"{1000 * each.device_latency_s:.2f}",
    ]


def _order(found: ReportedLatencies) -> str:
    """Return how MACs and latency order the detectors, in words."""
    text = (
        f"MACs and latency ({found.source}) order {len(found.detectors)} detectors at "
        f"{found.resolution} with Kendall's tau {found.tau:.2f}."
    )
    if found.prediction_error is None:
        return text
    return f"{text} Predictions were {100 * found.prediction_error:.1f} % off (median)."


def _difference(each: ReportedDifference) -> list[object]:
    measured = each.low is not None and each.high is not None
    return [
        _LABELS[each.reference],
        f"{each.resolution} against {each.reference_resolution}",
        f"{100 * each.ap:+.1f}",
        f"{100 * (each.low or 0):+.1f} to {100 * (each.high or 0):+.1f}" if measured else None,
        f"{each.macs_ratio:.2f}",
        each.conclusion,
    ]


def _table(title: str, header: Iterable[str], rows: Iterable[list[object]]) -> "Table":
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, title_justify="left", box=None, header_style="bold", pad_edge=False)
    for column in header:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text(text(value)) for value in row))
    return table
