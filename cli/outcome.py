"""`--wait`: wait until what was submitted has ended, and exit by its outcome."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.errors import fail

if TYPE_CHECKING:
    from api.client import Client

FAILED_OUTCOME, CANCELLED_OUTCOME, PAUSED_OUTCOME = 3, 4, 5
_CODES = {"cancelled": CANCELLED_OUTCOME, "paused": PAUSED_OUTCOME}
WaitOption = Annotated[
    bool,
    typer.Option(
        "--wait",
        help="Wait for the end, with the events on stderr, and exit by the outcome: 0 it "
        "succeeded, 3 it failed, 4 it was cancelled, 5 it was paused. By default the command ends "
        "when the service has accepted the spec.",
    ),
]


def wait(client: "Client", submitted: Any) -> Any:
    """Wait until a resource has ended or is paused, show its events on stderr, and return it
    anew."""
    for event in client.watch(submitted):
        first_line = event.message.partition("\n")[0]
        typer.echo(f"{event.subject} {event.status}: {first_line}", err=True)
        if event.status == "paused":
            found = client.refresh(submitted)
            if found.status == "paused":  # else it was resumed since
                return found
    return client.wait(submitted)


def exit_by(noun: str, ended: Any) -> None:
    """End the command by the outcome of a resource.

    Args:
        noun: What users call the resource, for example "search".
        ended: The resource.

    Raises:
        typer.Exit: It did not succeed.
    """
    if ended.status in ("succeeded", "ready"):
        return
    hint = f"; searchd {noun} resume {ended.name} continues it" if ended.status == "paused" else ""
    code = _CODES.get(ended.status, FAILED_OUTCOME)
    raise fail(f"{noun} {ended.name} is {ended.status}: {ended.status_reason}{hint}", code)
