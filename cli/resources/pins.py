"""Commands that keep the files of a trial, or let them go."""

from typing import Annotated

import typer

from api.client import Client
from api.schemas import resources as schemas
from cli.output import Format, FormatOption, show_json
from cli.service import URL, UrlOption

TrialArgument = Annotated[str, typer.Argument(help="Id of the trial, such as s-7f3k2m-12.")]


def pin(trial: TrialArgument, url: UrlOption = URL, output: FormatOption = Format.TABLE) -> None:
    """Keep a trial's files, whatever comes of it."""
    with Client(url) as client:
        _show(client.pin(trial), output)


def unpin(trial: TrialArgument, url: UrlOption = URL, output: FormatOption = Format.TABLE) -> None:
    """Let a trial's files be removed when nothing needs them any more."""
    with Client(url) as client:
        _show(client.unpin(trial), output)


def _show(trial: schemas.TrialDetails, output: Format) -> None:
    if output is Format.JSON:
        show_json(trial.model_dump(mode="json"))
    else:
        typer.echo(f"{trial.id} is {'pinned' if trial.pinned else 'not pinned'}")
