"""A new incumbent is told to webhooks once, when its trial ends."""

import json

from searchd.driver.ledger import Ledger
from searchd.spec.webhooks import WebhookSpec
from searchd.store import Database, webhooks
from tests.searchd.driver.bookkeeping import BASE, started
from tests.searchd.store import factories


def test_only_a_better_trial_is_a_new_incumbent(sqlite: Database, ledger: Ledger) -> None:
    with sqlite.write() as session:
        webhook = webhooks.create(session, WebhookSpec(url="https://192.0.2.1"))
    started(ledger, BASE)
    ledger.record(factories.succeeded("base", ap=0.9))
    for number, ap in enumerate((0.3, 0.2, 0.5)):
        started(ledger, factories.search_proposal(number))
        ledger.record(factories.succeeded(str(number), ap=ap))
        ledger.record(factories.succeeded(str(number), ap=ap))  # has no effect

    with sqlite.read() as session:
        told = webhooks.deliveries(session, webhook.id).items[::-1]
    messages = [json.loads(each.body) for each in told]
    assert [message["type"] for message in messages] == ["search.incumbent"] * 2
    assert [message["data"]["trial"] for message in messages] == ["0", "2"]
    assert messages[1]["data"]["trial_id"] == f"{ledger.run_id}-2"
    assert messages[1]["data"]["points"] != []
