"""Commands of everything that is carried out in the cluster: pause, resume, cancel, kill."""

from collections.abc import Callable
from typing import Annotated, TypeVar

import typer
from pydantic import BaseModel

from api.client import Client, LifecycleRequest
from cli.output import Format, FormatOption
from cli.service import URL, UrlOption

S = TypeVar("S", bound=BaseModel)

_COMMANDS: dict[LifecycleRequest, str] = {
    "pause": "Stop a {noun} within a time slice; resume goes on from there, and nothing is lost.",
    "resume": "Let a paused {noun} go on.",
    "cancel": "Stop a {noun} for good within a time slice; everything finished is kept.",
    "kill": "Stop a {noun} for good without waiting for its workers; everything finished is kept.",
}


def add_calls(
    app: typer.Typer,
    noun: str,
    ask: Callable[[Client, str, LifecycleRequest], S],
    show: Callable[[S, Format], None],
) -> None:
    """Add them to the commands of a noun.

    Args:
        app: Of the noun.
        noun: In singular.
        ask: Method of the client.
        show: Prints the answer.
    """
    for request, text in _COMMANDS.items():
        app.command(request, help=text.format(noun=noun))(_command(request, noun, ask, show))


def _command(
    request: LifecycleRequest,
    noun: str,
    ask: Callable[[Client, str, LifecycleRequest], S],
    show: Callable[[S, Format], None],
) -> Callable[..., None]:
    argument = typer.Argument(help=f"Name or id of the {noun}.")

    def command(
        name: Annotated[str, argument], url: UrlOption = URL, output: FormatOption = Format.TABLE
    ) -> None:
        with Client(url) as client:
            show(ask(client, name, request), output)

    return command
