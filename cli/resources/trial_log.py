"""The command that prints the log of a trial."""

import time
from collections.abc import Callable
from typing import Annotated

import typer

from api.client import Client
from api.client.protocol import RunKind
from api.schemas.trial_logs import LogLine
from cli.output import Format, FormatOption, show_json, text
from cli.service import URL, UrlOption

POLL_S = 2.0
"""Seconds between two looks for new lines."""

TrialOption = Annotated[
    str, typer.Option("--trial", help="Name of the trial, for example base, 12 or control-1.")
]
AttemptOption = Annotated[
    int | None,
    typer.Option("--attempt", min=1, help="Number of the attempt. The latest one by default."),
]
TailOption = Annotated[
    int | None,
    typer.Option("--tail", min=1, help="Print only this number of lines from the end."),
]
FollowOption = Annotated[
    bool, typer.Option("--follow", help="Print new lines as they come, until Ctrl-C.")
]


def add_log(app: typer.Typer, noun: str, kind: RunKind) -> None:
    """Add the command to those of a search or a distillation.

    Args:
        app: Commands of the resource.
        noun: Name of the resource in singular.
        kind: Name of the resource in plural, as in the paths of the API.
    """
    help_text = (
        f"Print what the worker of a trial of the {noun} has logged.\n\nThe log of a running trial "
        "grows after every time slice."
    )
    app.command("log", help=help_text)(_command(noun, kind))


def _command(noun: str, kind: RunKind) -> Callable[..., None]:
    argument = typer.Argument(help=f"Name or id of the {noun}.")

    def command(
        name: Annotated[str, argument],
        trial: TrialOption,
        attempt: AttemptOption = None,
        tail: TailOption = None,
        follow: FollowOption = False,
        url: UrlOption = URL,
        output: FormatOption = Format.TABLE,
    ) -> None:
        with Client(url) as client:
            lines = list(client.trial_log(name, trial, kind=kind, attempt=attempt, tail=tail))
            if output is Format.JSON:
                show_json([line.model_dump(mode="json") for line in lines])
                return
            last = 0
            while True:
                for line in lines:
                    _show(line)
                    last = line.line
                if not follow:
                    return
                time.sleep(POLL_S)
                lines = list(client.trial_log(name, trial, kind=kind, attempt=attempt, after=last))

    return command


def _show(line: LogLine) -> None:
    typer.echo(f"{text(line.at)} {line.level:7} {line.message}")
    if line.traceback is not None:
        typer.echo(line.traceback)
