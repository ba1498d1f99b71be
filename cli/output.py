"""Tables for people, JSON and CSV for programs. With these, stdout has nothing but the document."""

import contextlib
import csv
import io
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

if TYPE_CHECKING:  # they take longer to import than many commands take
    from pydantic import BaseModel
    from rich.console import Console

    from api.schemas.base import Measurement

S = TypeVar("S", bound="BaseModel")
_PIPE_WIDTH = 200
"""Characters per line when the output is not a terminal, so that nothing is cut."""


class Format(StrEnum):
    """The output format of a command."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"


FORMAT_HELP = "Output format: table for people, json (all fields) or csv (the table) for programs."
FormatOption = Annotated[Format, typer.Option("--format", help=FORMAT_HELP)]


@contextlib.contextmanager
def quiet_imports() -> Iterator[None]:
    """Drop what is printed: imported for the first time, mmdet prints which optional data sets it
    lacks."""
    with contextlib.redirect_stdout(io.StringIO()):
        yield


def show_json(value: object) -> None:
    """Print a JSON document."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))


def show_list(
    items: Iterable[S], columns: Mapping[str, Callable[[S], object]], output: Format
) -> None:
    """Print a table with a row for each item, or a JSON array of the items."""
    if output is Format.JSON:
        show_json([item.model_dump(mode="json") for item in items])
        return
    show_rows([*columns], ([cell(item) for cell in columns.values()] for item in items), output)


def show_rows(
    header: Sequence[str], rows: Iterable[Sequence[object]], output: Format = Format.TABLE
) -> None:
    """Print a table of plain values, as CSV if that is the format."""
    if output is Format.CSV:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(header)
        writer.writerows([_plain(value) for value in row] for row in rows)
        return
    from rich.table import Table

    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in header:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*map(text, row))
    console().print(table)


def show_one(item: "BaseModel", rows: Mapping[str, object], output: Format) -> None:
    """Print some facts about an item, one per line, or the item as JSON."""
    if output is Format.JSON:
        show_json(item.model_dump(mode="json"))
    else:
        show_facts(rows, output)


def show_facts(rows: Mapping[str, object], output: Format) -> None:
    """Print facts by their names, one per line."""
    if output is Format.JSON:
        show_json({name: None if value is None else str(value) for name, value in rows.items()})
        return
    if output is Format.CSV:
        show_rows(("FIELD", "VALUE"), list(rows.items()), output)
        return
    from rich.table import Table

    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, value in rows.items():
        table.add_row(name, text(value))
    console().print(table)


def text(value: object) -> str:
    """Format a value for the cell of a table."""
    if value is None:
        return "-"
    if isinstance(value, datetime):
        return value.astimezone().strftime("%Y-%m-%d %H:%M:%S")
    return str(value)


def _plain(value: object) -> str:
    """Format a value for the cell of a CSV file."""
    if value is None:
        return ""
    return value.isoformat() if isinstance(value, datetime) else str(value)


def percent(value: float | None, digits: int = 1) -> str | None:
    """Format an AP or score in [0, 1] as percent."""
    return None if value is None else f"{100 * value:.{digits}f}"


def giga(value: float | None) -> str | None:
    """Format multiply-accumulates in units of 1e9."""
    return None if value is None else f"{value / 1e9:.4g}"


def mega(value: float | None) -> str | None:
    """Format a number of parameters in units of 1e6."""
    return None if value is None else f"{value / 1e6:.4g}"


def console() -> "Console":
    """Return a console that writes to stdout."""
    from rich.console import Console

    return Console(
        file=sys.stdout,
        width=None if sys.stdout.isatty() else _PIPE_WIDTH,
        highlight=False,
        markup=False,
    )


def accuracies(found: "Measurement") -> dict[str, str | None]:
    """Return AP and average recall (AR) by their names, such as "AP50" and "AR small", and the AP
    of masks, as "41.2 %"; None where the split has no object of that size, the detector finds no
    masks, or an earlier version did not measure it."""
    names = [f"ap{at}" for at in ("", "50", "70", "75", "90", "_small", "_medium", "_large")]
    names += [f"ar{at}" for at in ("1", "10", "100", "_small", "_medium", "_large")]
    values = {
        **{name[:2].upper() + name[2:].replace("_", " "): getattr(found, name) for name in names},
        "mask AP": found.mask_ap,
        "mask AP50": found.mask_ap50,
    }
    return {
        name: None if value is None or value < 0 else f"{percent(value)} %"
        for name, value in values.items()
    }
