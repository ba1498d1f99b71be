"""The commands pause, resume, cancel and kill, of every resource that runs in the cluster, the
deletion of what failed without a result, and archiving."""

from collections.abc import Callable
from typing import Annotated, TypeVar

import typer
from pydantic import BaseModel

from api.client import Client, FailedKind, LifecycleRequest, ListedKind
from cli.output import Format, FormatOption
from cli.service import URL, UrlOption

S = TypeVar("S", bound=BaseModel)

_COMMANDS: dict[LifecycleRequest, str] = {
    "pause": "Pause a {noun} within one time slice. No training is lost.",
    "resume": "Resume a paused {noun} from its last checkpoint.",
    "cancel": "Cancel a {noun} within one time slice. Finished results are kept.",
    "kill": "Kill a {noun} at once, without waiting for its workers. Finished results are kept.",
}


def add_calls(
    app: typer.Typer,
    noun: str,
    ask: Callable[[Client, str, LifecycleRequest], S],
    show: Callable[[S, Format], None],
) -> None:
    """Add the four commands to those of a resource.

    Args:
        app: Commands of the resource.
        noun: Name of the resource in singular, for example "search".
        ask: Method of the client that sends the request.
        show: Prints the response.
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


def add_deletion(app: typer.Typer, noun: str, kind: FailedKind) -> None:
    """Add the command that deletes a resource which failed without a result.

    Args:
        app: Commands of the resource.
        noun: Name of the resource in singular, for example "search".
        kind: Name of the resource in plural, as in the paths of the API.
    """
    argument = typer.Argument(help=f"Name or id of the {noun}.")

    def delete(name: Annotated[str, argument], url: UrlOption = URL) -> None:
        with Client(url) as client:
            client.delete_failed(kind, name)
        typer.echo(f"deleted {noun} {name}")

    text = (
        f"Delete a {noun} that failed before its first result, so that the data set it names can "
        "be deleted. A new one of the same name replaces it without this command."
    )
    app.command("delete", help=text)(delete)


def add_archiving(app: typer.Typer, noun: str, kind: ListedKind) -> None:
    """Add the commands that leave a resource out of lists, and list it again.

    Args:
        app: Commands of the resource.
        noun: Name of the resource in singular, for example "search".
        kind: Name of the resource in plural, as in the paths of the API.
    """
    argument = typer.Argument(help=f"Name or id of the {noun}.")

    def archive(name: Annotated[str, argument], url: UrlOption = URL) -> None:
        with Client(url) as client:
            client.archive(kind, name)
        typer.echo(f"archived {noun} {name}; list --archived lists it")

    def unarchive(name: Annotated[str, argument], url: UrlOption = URL) -> None:
        with Client(url) as client:
            client.unarchive(kind, name)
        typer.echo(f"{noun} {name} is listed again")

    text = (
        f"Archive a {noun} that has ended: lists leave it out. Nothing is deleted, and its name "
        "stays taken."
    )
    app.command("archive", help=text)(archive)
    app.command("unarchive", help=f"List an archived {noun} again.")(unarchive)
