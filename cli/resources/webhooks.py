"""`searchd webhook`: tell other services what happens."""

import time
from typing import Annotated

import typer

from api.client import Client
from api.schemas.webhooks import Delivery
from cli.errors import fail
from cli.lists import FilterOption, LimitOption, Selection, SortOption
from cli.output import Format, FormatOption, show_json, show_list, show_one
from cli.service import URL, UrlOption, parse_spec
from searchd.domain.webhooks import DeliveryStatus, WebhookEvent
from searchd.spec.webhooks import ALL_EVENTS, WebhookSpec

app = typer.Typer(
    no_args_is_help=True,
    help="Webhooks, which tell other services of ends, failures and new incumbents.",
)
POLL_S = 0.5
_WAIT_S = 30.0
"""Seconds for which `test` waits for the first answer of the receiver."""

WebhookArgument = Annotated[str, typer.Argument(help="Id of the webhook, such as w-7f3k2m9x.")]


@app.command()
def add(
    address: Annotated[
        str, typer.Argument(metavar="ADDRESS", help="Address that requests are sent to.")
    ],
    event: Annotated[
        list[WebhookEvent] | None,
        typer.Option(
            help="What to tell: ended, failed or incumbent. Repeat the option for several; all by "
            "default."
        ),
    ] = None,
    url: UrlOption = URL,
    output: FormatOption = Format.TABLE,
) -> None:
    """Create a webhook and print its secret, which is never shown again.

    Receivers verify requests with the secret as Standard Webhooks describes it.
    """
    spec = parse_spec({"url": address, "events": event or ALL_EVENTS}, WebhookSpec, None)
    with Client(url) as client:
        made = client.create_webhook(spec)
    rows = {"id": made.id, "address": made.url, "events": ", ".join(made.events)}
    show_one(made, {**rows, "secret": made.secret}, output)


@app.command("list")
def list_webhooks(
    filters: FilterOption = None,
    sort: SortOption = None,
    limit: LimitOption = None,
    url: UrlOption = URL,
    output: FormatOption = Format.TABLE,
) -> None:
    """List all webhooks without their secrets."""
    selection = Selection.of(filters, sort, limit, by_service=False)
    columns = {
        "ID": lambda w: w.id,
        "ADDRESS": lambda w: w.url,
        "EVENTS": lambda w: ", ".join(w.events),
        "OWNER": lambda w: w.owner,
        "CREATED": lambda w: w.created_at,
        "DISABLED": lambda w: w.disabled_at,
    }
    with Client(url) as client:
        show_list(selection.apply(client.list_webhooks()), columns, output)


@app.command()
def deliveries(
    webhook: WebhookArgument,
    filters: FilterOption = None,
    sort: SortOption = None,
    limit: Annotated[
        int, typer.Option(min=1, help="Largest number of deliveries to list, newest first.")
    ] = 20,
    url: UrlOption = URL,
    output: FormatOption = Format.TABLE,
) -> None:
    """List what was sent to a webhook and how it was answered, newest first."""
    selection = Selection.of(filters, sort, limit, by_service=False)
    columns = {
        "ID": lambda d: d.id,
        "TYPE": lambda d: d.type,
        "STATUS": lambda d: d.status,
        "ATTEMPTS": lambda d: d.attempts,
        "ANSWER": lambda d: d.response_status,
        "ERROR": lambda d: d.error,
        "QUEUED": lambda d: d.created_at,
        "NEXT ATTEMPT": lambda d: d.next_attempt_at,
    }
    with Client(url) as client:
        show_list(selection.apply(client.webhook_deliveries(webhook)), columns, output)


@app.command("test")
def send_test(
    webhook: WebhookArgument, url: UrlOption = URL, output: FormatOption = Format.TABLE
) -> None:
    """Send a test message and print how the receiver answers it.

    The exit code is 1 if the receiver does not accept it within half a minute.
    """
    with Client(url) as client:
        ended = _wait(client, client.test_webhook(webhook))
    if output is Format.JSON:
        show_json(ended.model_dump(mode="json"))
    if ended.status is not DeliveryStatus.DELIVERED:
        waits = "it was not sent yet; does the coordinator run?"
        raise fail(f"the test of {webhook} failed: {ended.error or waits}")
    if output is Format.TABLE:
        typer.echo(f"delivered: the receiver answered {ended.response_status}")


@app.command()
def delete(webhook: WebhookArgument, url: UrlOption = URL) -> None:
    """Delete a webhook with the list of its deliveries."""
    with Client(url) as client:
        client.delete_webhook(webhook)
    typer.echo(f"deleted webhook {webhook}")


def _wait(client: Client, queued: Delivery) -> Delivery:
    """Return the delivery after its first attempt."""
    deadline = time.monotonic() + _WAIT_S
    found = queued
    while found.status is DeliveryStatus.PENDING and not found.error:
        if time.monotonic() > deadline:
            return found
        time.sleep(POLL_S)
        listed = client.webhook_deliveries(queued.webhook_id)
        found = next(each for each in listed if each.id == queued.id)
    return found
