"""Webhooks as the coordinator sends them: over real HTTP to a receiver on loopback."""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest

from searchd.coordinator.webhook_request import Message, send
from searchd.coordinator.webhooks import WebhookSender
from searchd.domain.lifecycle import PoolStatus, SearchStatus
from searchd.domain.webhooks import DeliveryStatus, WebhookEvent
from searchd.spec.webhooks import WebhookSpec
from searchd.store import Database, counters, webhooks
from searchd.store.models import DeliveryRow, WebhookRow
from searchd.store.work import queue
from tests.searchd.conftest import FakeClock
from tests.searchd.store import factories
from tests.webhook_receiver import Receiver, receiving

Send = Callable[[], None]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as made:
        yield made


@pytest.fixture
def webhook(sqlite: Database, receiver: Receiver) -> WebhookRow:
    return add(sqlite, receiver.url)


@pytest.fixture
def sender(sqlite: Database, clock: FakeClock) -> Iterator[WebhookSender]:
    with closing(make_sender(sqlite, clock)) as made:
        yield made


def make_sender(
    database: Database, clock: FakeClock, *, allow_private: bool = True
) -> WebhookSender:
    return WebhookSender(
        database, allow_private=allow_private, timeout_s=2, clock=clock, monotonic=clock.watch
    )


def add(database: Database, url: str, *events: WebhookEvent) -> WebhookRow:
    spec = WebhookSpec(url=url, events=events) if events else WebhookSpec(url=url)
    with database.write() as session:
        return webhooks.create(session, spec, owner="sam")


def say(database: Database, webhook: WebhookRow, type_: str = "webhook.test") -> str:
    """Queue a message; its id."""
    with database.write() as session:
        return webhooks.queue(session, webhook, type_, {"n": 1}).id


def deliveries(database: Database, webhook: WebhookRow) -> list[DeliveryRow]:
    """Oldest first."""
    with database.read() as session:
        return webhooks.deliveries(session, webhook.id).items[::-1]


def run(sender: WebhookSender, done: Callable[[], bool]) -> None:
    """Rounds until something is so."""
    for _ in range(400):
        sender.step()
        if done():
            return
        time.sleep(0.01)
    raise AssertionError("it never was so")


def statuses(database: Database, webhook: WebhookRow) -> list[DeliveryStatus]:
    return [each.status for each in deliveries(database, webhook)]


def test_the_end_of_a_search_is_told_signed_to_whoever_wants_it(
    sqlite: Database, receiver: Receiver, webhook: WebhookRow, sender: WebhookSender
) -> None:
    search, lease = factories.start_search(sqlite)
    with sqlite.write() as session:
        queue.finish(session, lease, SearchStatus.SUCCEEDED, "budget: 3 trials")

    run(sender, lambda: DeliveryStatus.PENDING not in statuses(sqlite, webhook))

    *earlier, message = receiver.verified(webhook.secret)
    assert [each["type"] for each in earlier] == ["dataset.ended", "pool.ended"]
    assert message["type"] == "search.ended"
    assert message["data"] == {
        "id": search.id,
        "name": "first",
        "status": "succeeded",
        "reason": "budget: 3 trials",
        "owner": None,
    }
    last = deliveries(sqlite, webhook)[-1]
    assert (last.attempts, last.response_status, last.error) == (1, 204, "")


def test_a_webhook_is_told_only_what_it_asked_for(
    sqlite: Database, receiver: Receiver, sender: WebhookSender
) -> None:
    webhook = add(sqlite, receiver.url, WebhookEvent.FAILED)
    factories.add_dataset(sqlite)
    pool = factories.add_pool(sqlite, ready=False)
    with factories.leased(sqlite, f"pool-{pool}") as (session, lease):
        queue.advance(session, lease, PoolStatus.TRAINING, "started")
        queue.finish(session, lease, PoolStatus.FAILED, "non_finite_loss")

    run(sender, lambda: statuses(sqlite, webhook) == [DeliveryStatus.DELIVERED])

    assert [each["type"] for each in receiver.verified(webhook.secret)] == ["pool.failed"]


def test_nothing_is_told_that_was_rolled_back(sqlite: Database, webhook: WebhookRow) -> None:
    _, lease = factories.start_search(sqlite)
    before = len(deliveries(sqlite, webhook))
    with sqlite.write() as session:
        queue.finish(session, lease, SearchStatus.SUCCEEDED, "converged")
        session.rollback()

    assert len(deliveries(sqlite, webhook)) == before


def test_a_failed_attempt_is_repeated_later_with_the_same_id(
    sqlite: Database,
    receiver: Receiver,
    webhook: WebhookRow,
    sender: WebhookSender,
    clock: FakeClock,
) -> None:
    receiver.answers = [500, 302]
    receiver.headers = {"Location": f"{receiver.url}/elsewhere"}
    message_id = say(sqlite, webhook)
    run(sender, lambda: deliveries(sqlite, webhook)[0].error == "the receiver answered 500")
    clock.pass_s(4)
    sender.step()
    assert len(receiver.requests) == 1

    clock.pass_s(4)
    told = "the receiver answered 302, and redirects are not followed"
    run(sender, lambda: deliveries(sqlite, webhook)[0].error == told)
    clock.pass_s(40)
    run(sender, lambda: statuses(sqlite, webhook) == [DeliveryStatus.DELIVERED])

    assert receiver.ids == [message_id] * 3
    with sqlite.read() as session:
        counted = {str(each.labels): each.value for each in counters.every(session)}
    assert counted["{'result': 'retried'}"] == 2
    assert counted["{'result': 'delivered'}"] == 1


def test_a_delivery_fails_after_its_last_attempt(
    sqlite: Database, sender: WebhookSender, clock: FakeClock
) -> None:
    webhook = add(sqlite, "http://127.0.0.1:9/nobody-listens")
    say(sqlite, webhook)
    for attempts in range(1, 10):
        run(sender, lambda: deliveries(sqlite, webhook)[0].error != "")
        assert deliveries(sqlite, webhook)[0].attempts == attempts
        with sqlite.write() as session:
            session.get_one(DeliveryRow, deliveries(sqlite, webhook)[0].id).error = ""
        clock.pass_s(30 * 3600)

    assert statuses(sqlite, webhook) == [DeliveryStatus.FAILED]


def test_a_receiver_that_is_gone_is_told_nothing_more(
    sqlite: Database, receiver: Receiver, webhook: WebhookRow, sender: WebhookSender
) -> None:
    receiver.answers = [410]
    say(sqlite, webhook)
    say(sqlite, webhook)

    run(sender, lambda: DeliveryStatus.PENDING not in statuses(sqlite, webhook))
    factories.add_dataset(sqlite)

    assert statuses(sqlite, webhook) == [DeliveryStatus.FAILED] * 2
    assert len(receiver.requests) == 1


def test_a_slow_receiver_delays_nobody(
    sqlite: Database, receiver: Receiver, webhook: WebhookRow, sender: WebhookSender
) -> None:
    receiver.released.clear()
    with receiving() as quick:
        other = add(sqlite, quick.url)
        for _ in range(3):
            say(sqlite, webhook)
        say(sqlite, other)

        run(sender, lambda: statuses(sqlite, other) == [DeliveryStatus.DELIVERED])

    assert len(receiver.requests) == 1
    receiver.released.set()
    run(sender, lambda: statuses(sqlite, webhook) == [DeliveryStatus.DELIVERED] * 3)


def test_what_a_killed_process_was_sending_is_sent_again(
    sqlite: Database,
    receiver: Receiver,
    webhook: WebhookRow,
    sender: WebhookSender,
    clock: FakeClock,
) -> None:
    message_id = say(sqlite, webhook)
    receiver.released.clear()
    with closing(make_sender(sqlite, clock)) as killed:
        run(killed, lambda: receiver.ids == [message_id])
    receiver.released.set()
    sender.step()
    assert receiver.ids == [message_id]

    clock.pass_s(61)
    run(sender, lambda: statuses(sqlite, webhook) == [DeliveryStatus.DELIVERED])

    assert receiver.ids == [message_id] * 2


def test_no_private_address_is_called_unless_that_is_allowed(
    sqlite: Database, receiver: Receiver, webhook: WebhookRow, clock: FakeClock
) -> None:
    say(sqlite, webhook)
    with closing(make_sender(sqlite, clock, allow_private=False)) as careful:
        run(careful, lambda: deliveries(sqlite, webhook)[0].error != "")

    assert deliveries(sqlite, webhook)[0].error == (
        "127.0.0.1 is not a public address; the operator can allow these: "
        "SEARCHD_WEBHOOK_PRIVATE_NETWORKS=on"
    )
    assert receiver.requests == []


def test_a_receiver_that_does_not_listen_is_named() -> None:
    message = Message(id="msg-1", url="http://127.0.0.1:1/hook", body="{}", secret="whsec_c2VjcmV0")

    answer = asyncio.run(send(message, allow_private=True))

    assert answer.status is None
    assert answer.error == (
        "no connection to http://127.0.0.1:1/hook: All connection attempts failed"
    )


def test_ended_deliveries_are_listed_for_a_month(
    sqlite: Database, webhook: WebhookRow, sender: WebhookSender, clock: FakeClock
) -> None:
    say(sqlite, webhook)
    run(sender, lambda: statuses(sqlite, webhook) == [DeliveryStatus.DELIVERED])

    clock.pass_s(29 * 24 * 3600)
    sender.step()
    assert len(deliveries(sqlite, webhook)) == 1
    clock.pass_s(2 * 24 * 3600)
    sender.step()
    assert deliveries(sqlite, webhook) == []
