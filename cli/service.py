"""What commands share that read specs or call the service: options, spec files, events."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from pydantic import ValidationError

from api.client import DEFAULT_URL
from api.schemas import Event
from cli.errors import describe
from cli.output import Format, show_rows, text
from cli.spec_files import read_source
from cli.spec_places import SpecSource
from searchd.domain.errors import InvalidValueError
from searchd.spec import Spec

S = TypeVar("S", bound=Spec)

UrlOption = Annotated[
    str, typer.Option("--url", envvar="SEARCHD_URL", help="URL of the searchd service.")
]
SpecFile = Annotated[
    Path,
    typer.Argument(
        exists=True,
        dir_okay=False,
        metavar="FILE",
        help="YAML or JSON file with the spec; see examples/.",
    ),
]
KeyOption = Annotated[
    str | None,
    typer.Option(
        "--key",
        help="Idempotency key, any text. Repeating the command with the same key creates nothing "
        "new.",
    ),
]
NameOption = Annotated[
    str | None, typer.Option("--name", help="Name to use instead of the one in FILE.")
]
DatasetOption = Annotated[
    str | None, typer.Option("--dataset", help="Data set to use instead of the one in FILE.")
]
PoolOption = Annotated[
    str | None, typer.Option("--pool", help="Pool to use instead of the one in FILE.")
]
SeedOption = Annotated[
    int | None, typer.Option("--seed", help="Seed to use instead of the one in FILE.")
]
PriorityOption = Annotated[
    int | None,
    typer.Option(
        "--priority",
        help="Priority to use instead of the one in FILE, from -1000 to 1000. Of your queued "
        "searches and distillations, the highest starts first.",
    ),
]
ValidateOnlyOption = Annotated[
    bool,
    typer.Option(
        "--validate-only",
        help="Check the spec and the files that it names as submission would, and submit nothing.",
    ),
]
URL = DEFAULT_URL


def read_spec(file: Path, schema: type[S]) -> S:
    """Read a spec from a YAML or JSON file.

    Raises:
        InvalidValueError: The file has no fields, or invalid ones; the message names them.
    """
    return spec_of(read_source(file), schema)


def spec_of(source: SpecSource, schema: type[S], **changes: object) -> S:
    """Return the spec of a file with some of its fields replaced.

    Args:
        source: The file.
        schema: The kind of spec.
        changes: Values by name; None leaves the field as it is.

    Raises:
        InvalidValueError: Fields are invalid; the message names them, with lines and columns.
    """
    given = {name: value for name, value in changes.items() if value is not None}
    return parse_spec({**source.fields, **given}, schema, source)


def parse_spec(fields: Mapping[str, Any], schema: type[S], source: SpecSource | None) -> S:
    """Return the spec with these fields.

    Args:
        fields: Values by name.
        schema: The kind of spec.
        source: The file that they are from; None: they are from options.

    Raises:
        InvalidValueError: Fields are invalid; the message names them, with lines and columns.
    """
    try:
        return schema.model_validate(fields)
    except ValidationError as error:
        if source is None:
            raise InvalidValueError(describe(error, schema)) from error
        reasons = describe(error, schema, lambda location: source.place(location, fields))
        raise InvalidValueError(f"{source.file} is {reasons}") from error


def follow(events: Iterable[Event], output: Format) -> None:
    """Print events as they happen, one per line."""
    for event in events:
        if output is Format.JSON:
            typer.echo(event.model_dump_json())
        elif output is Format.CSV:
            show_rows(
                (event.at.isoformat(), event.subject, event.status, event.message), (), output
            )
        else:
            first_line = event.message.partition("\n")[0]
            typer.echo(f"{text(event.at)}  {event.subject:24} {event.status:10} {first_line}")
