"""`searchd webhook`: created, tested, listed and deleted from the command line."""

import json
import threading
from collections.abc import Iterator
from contextlib import closing

import pytest

from searchd.coordinator.webhooks import WebhookSender
from searchd.spec.webhooks import WebhookSpec
from searchd.store import Database, webhooks
from tests.cli.conftest import Run
from tests.webhook_receiver import Receiver, receiving


@pytest.fixture
def receiver(database: Database) -> Iterator[Receiver]:
    """A receiver, and a coordinator that sends."""
    ended = threading.Event()
    with receiving() as made, closing(WebhookSender(database, allow_private=True)) as sender:

        def rounds() -> None:
            while not ended.wait(0.05):
                sender.step()

        thread = threading.Thread(target=rounds)
        thread.start()
        yield made
        ended.set()
        thread.join()


def _add(database: Database, url: str) -> str:
    with database.write() as session:
        return webhooks.create(session, WebhookSpec(url=url)).id


def test_a_webhook_is_created_listed_and_deleted(searchd: Run) -> None:
    options = ("--event", "failed", "--format", "json")
    made = json.loads(searchd("webhook", "add", "https://93.184.216.34/hook", *options).stdout)
    assert (made["events"], made["secret"][:6]) == (["failed"], "whsec_")

    listed = searchd("webhook", "list").stdout
    assert made["id"] in listed
    assert made["secret"] not in listed

    assert searchd("webhook", "delete", made["id"]).stdout == f"deleted webhook {made['id']}\n"
    assert json.loads(searchd("webhook", "list", "--format", "json").stdout) == []


def test_a_test_prints_how_the_receiver_answered(
    searchd: Run, database: Database, receiver: Receiver
) -> None:
    webhook = _add(database, receiver.url)
    receiver.answers = [204, 503]

    accepted = searchd("webhook", "test", webhook)
    refused = searchd("webhook", "test", webhook)

    assert (accepted.exit_code, accepted.stdout) == (0, "delivered: the receiver answered 204\n")
    assert refused.exit_code == 1
    assert f"the test of {webhook} failed: the receiver answered 503" in refused.stderr
    listed = json.loads(searchd("webhook", "deliveries", webhook, "--format", "json").stdout)
    assert [each["status"] for each in listed] == ["pending", "delivered"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("add", "example.org/hook"), 2, "must begin with http:// or https:// and a host"),
        (("add", "http://10.0.0.1/"), 1, "10.0.0.1 is not a public address"),
        (("test", "w-22222222"), 1, "webhook 'w-22222222' does not exist"),
    ],
)
def test_what_cannot_be_done_says_why(
    searchd: Run, arguments: tuple[str, ...], code: int, message: str
) -> None:
    result = searchd("webhook", *arguments)
    assert result.exit_code == code
    assert message in result.stderr
