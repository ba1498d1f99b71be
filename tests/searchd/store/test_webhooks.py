"""Deliveries of webhooks in the database: claimed by one process, recorded, and paged."""

from datetime import timedelta

from searchd.domain.webhooks import DeliveryStatus
from searchd.spec.webhooks import WebhookSpec
from searchd.store import Database, webhooks
from searchd.store.base import now
from searchd.store.models import WebhookRow


def _webhook(database: Database) -> WebhookRow:
    with database.write() as session:
        return webhooks.create(session, WebhookSpec(url="https://192.0.2.1"), owner="sam")


def test_a_delivery_is_claimed_once_and_again_when_its_claim_has_passed(database: Database) -> None:
    webhook, at = _webhook(database), now() + timedelta(seconds=1)
    with database.write() as session:
        first = webhooks.queue(session, webhook, "webhook.test", {}).id

    claims = []
    for later_s in (0, 59, 61):
        with database.write() as session:
            moment = at + timedelta(seconds=later_s)
            found = webhooks.claim(session, [webhook.id], now=moment, hold_s=60)
            claims.append([(delivery.id, delivery.attempts) for delivery, _ in found])

    assert claims == [[(first, 1)], [], [(first, 2)]]


def test_what_is_due_is_listed_by_webhook_until_it_was_delivered(database: Database) -> None:
    webhook, at = _webhook(database), now() + timedelta(seconds=1)
    with database.write() as session:
        ids = [webhooks.queue(session, webhook, "webhook.test", {}).id for _ in range(2)]
    for delivery_id in ids:
        with database.read() as session:
            assert webhooks.due(session, now=at) == [webhook.id]
        with database.write() as session:
            webhooks.record(
                session, delivery_id, delivered=True, response_status=204, error="", retry_at=None
            )

    with database.read() as session:
        assert webhooks.due(session, now=at) == []
        listed = webhooks.deliveries(session, webhook.id).items
    assert {each.status for each in listed} == {DeliveryStatus.DELIVERED}
    assert {each.id for each in listed} == set(ids)
