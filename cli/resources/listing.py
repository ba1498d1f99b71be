"""The command `list` of the resources that have a status."""

from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from functools import partial
from typing import Annotated, TypeVar

import typer
from pydantic import BaseModel

from api.client import Client
from cli.lists import STATUS_HELP, FilterOption, LimitOption, Selection, SortOption, show_selected
from cli.output import Format, FormatOption
from cli.service import URL, UrlOption

S = TypeVar("S", bound=BaseModel)
ArchivedOption = Annotated[
    bool,
    typer.Option("--archived", help="List the archived items, instead of all others."),
]


def add_list(
    app: typer.Typer,
    fetch: Callable[..., Iterable[S]],
    columns: Mapping[str, Callable[[S], object]],
    statuses: type[StrEnum],
    text: str,
) -> None:
    """Add the command to those of a resource.

    Args:
        app: Commands of the resource.
        fetch: Method of the client that lists the resources.
        columns: Cell of a resource by the header of the column.
        statuses: The statuses of the resource.
        text: Help of the command.
    """

    def command(
        status: Annotated[list[statuses] | None, typer.Option(help=STATUS_HELP)] = None,  # type: ignore[valid-type]
        archived: ArchivedOption = False,
        filters: FilterOption = None,
        sort: SortOption = None,
        limit: LimitOption = None,
        url: UrlOption = URL,
        output: FormatOption = Format.TABLE,
    ) -> None:
        selection = Selection.of(filters, sort, limit)
        with Client(url) as client:
            parameters = {"status": status, "archived": archived}
            show_selected(partial(fetch, client), columns, selection, output, **parameters)

    app.command("list", help=text)(command)
