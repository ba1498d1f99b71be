"""The commands that pin and unpin the files of a trial."""

from typing import Annotated

import typer

from api import schemas
from api.client import Client
from cli.output import Format, FormatOption, show_json
from cli.service import URL, UrlOption

TrialArgument = Annotated[str, typer.Argument(help="Id of the trial, such as s-7f3k2m-12.")]


def pin(trial: TrialArgument, url: UrlOption = URL, output: FormatOption = Format.TABLE) -> None:
    """Pin a trial, so that garbage collection keeps its files."""
    with Client(url) as client:
        _show(client.pin(trial), output)


def unpin(trial: TrialArgument, url: UrlOption = URL, output: FormatOption = Format.TABLE) -> None:
    """Unpin a trial, so that garbage collection may delete its files."""
    with Client(url) as client:
        _show(client.unpin(trial), output)


def _show(trial: schemas.TrialDetails, output: Format) -> None:
    if output is Format.JSON:
        show_json(trial.model_dump(mode="json"))
    else:
        typer.echo(f"{trial.id} is {'pinned' if trial.pinned else 'not pinned'}")
