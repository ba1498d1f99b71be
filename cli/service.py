"""What commands that call the service share: its address, spec files, events."""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
import yaml

from api.client import DEFAULT_URL
from api.schemas.resources import Event
from cli.output import Format, text
from searchd.domain.errors import InvalidValueError
from searchd.spec import Spec

S = TypeVar("S", bound=Spec)

UrlOption = Annotated[
    str, typer.Option("--url", envvar="SEARCHD_URL", help="Address of the service.")
]
SpecFile = Annotated[
    Path, typer.Argument(exists=True, dir_okay=False, help="YAML or JSON; see examples/.")
]
KeyOption = Annotated[
    str | None,
    typer.Option("--key", help="Any text; repeating the command with it creates nothing new."),
]
InsteadText = Annotated[str | None, typer.Option(help="Instead of the file's.")]
InsteadNumber = Annotated[int | None, typer.Option(help="Instead of the file's.")]
ValidateOnlyOption = Annotated[
    bool, typer.Option("--validate-only", help="Check everything, submit nothing.")
]
URL = DEFAULT_URL


def read_spec(file: Path, schema: type[S], **changes: object) -> S:
    """A spec from a YAML or JSON file, with some of its fields replaced.

    Raises:
        InvalidValueError: The file is no YAML mapping.
        pydantic.ValidationError: Its values break a rule.
    """
    given = {name: value for name, value in changes.items() if value is not None}
    return schema.model_validate(read_fields(file) | given)


def read_fields(file: Path) -> dict[str, Any]:
    """A YAML or JSON file's fields and values.

    Raises:
        InvalidValueError: The file is no YAML mapping.
    """
    try:
        values = yaml.safe_load(file.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InvalidValueError(f"{file} is neither YAML nor JSON: {error}") from error
    if not isinstance(values, dict):
        raise InvalidValueError(f"{file} must hold fields and values, such as name: first")
    return values


def follow(events: Iterable[Event], output: Format) -> None:
    """Print events as they happen, one on each line."""
    for event in events:
        if output is Format.JSON:
            typer.echo(event.model_dump_json())
        else:
            first_line = event.message.partition("\n")[0]
            typer.echo(f"{text(event.at)}  {event.subject:24} {event.status:10} {first_line}")
