"""Webhooks over HTTP: created with a secret, listed without it, tested and deleted."""

from typing import Any

import httpx
import pytest

from searchd.spec.webhooks import WebhookSpec
from searchd.store import Database, Role, webhooks
from searchd.store.resources import tokens
from tests.api.test_auth import App

PUBLIC = "https://93.184.216.34/hook"


def create(http: httpx.Client, **fields: Any) -> httpx.Response:
    return http.post("/webhooks", json={"url": PUBLIC, **fields})


def test_the_secret_is_shown_once(http: httpx.Client) -> None:
    made = create(http)
    assert made.status_code == 201
    assert made.json()["secret"].startswith("whsec_")
    assert made.json()["events"] == ["ended", "failed", "incumbent"]

    (listed,) = http.get("/webhooks").json()

    assert listed == {name: value for name, value in made.json().items() if name != "secret"}


def test_a_test_is_queued_and_listed_with_the_message(http: httpx.Client) -> None:
    webhook = create(http).json()["id"]

    queued = http.post(f"/webhooks/{webhook}/test")

    assert queued.status_code == 202
    (listed,) = http.get(f"/webhooks/{webhook}/deliveries").json()["items"]
    assert listed == queued.json()
    assert (listed["type"], listed["status"], listed["attempts"]) == ("webhook.test", "pending", 0)
    assert f'"data": {{"webhook": "{webhook}"}}' in listed["body"]


def test_deliveries_are_listed_newest_first_page_by_page(http: httpx.Client) -> None:
    webhook = create(http).json()["id"]
    ids = [http.post(f"/webhooks/{webhook}/test").json()["id"] for _ in range(3)]

    first = http.get(f"/webhooks/{webhook}/deliveries?page_size=2").json()
    token = first["next_page_token"]
    second = http.get(f"/webhooks/{webhook}/deliveries?page_token={token}").json()

    assert [each["id"] for each in first["items"] + second["items"]] == ids[::-1]
    assert second["next_page_token"] is None


def test_a_deleted_webhook_is_gone_with_its_deliveries(http: httpx.Client) -> None:
    webhook = create(http).json()["id"]
    http.post(f"/webhooks/{webhook}/test")

    assert http.delete(f"/webhooks/{webhook}").status_code == 204

    assert http.get("/webhooks").json() == []
    gone = http.get(f"/webhooks/{webhook}/deliveries")
    assert (gone.status_code, gone.json()["detail"]) == (404, f"webhook '{webhook}' does not exist")


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("http://127.0.0.1:8080/", "127.0.0.1 is not a public address"),
        ("http://localhost/hook", "which is not a public address; the operator can allow these"),
        ("http://[::ffff:10.0.0.1]/", "::ffff:10.0.0.1 is not a public address"),
        ("http://169.254.169.254/latest", "SEARCHD_WEBHOOK_PRIVATE_NETWORKS=on"),
        ("ftp://93.184.216.34/", "must begin with http:// or https:// and a host"),
        ("https://", "must begin with http:// or https:// and a host"),
        ("https://me:secret@93.184.216.34/", "url holds a user name or password"),
        ("https://93.184.216.34/a b", "must be ASCII without blanks; percent-encode it"),
        ("https://[93/", "is not a URL"),
    ],
)
def test_an_address_that_must_not_be_called_is_refused(
    http: httpx.Client, url: str, message: str
) -> None:
    response = create(http, url=url)
    assert response.status_code == 422
    assert message in response.json()["detail"]
    assert "me:secret" not in response.text


def test_private_addresses_are_accepted_where_the_operator_allows_them(database: Database) -> None:
    app = App.on(database, private_webhooks=True)
    made = app.post("/api/v1/webhooks", json={"url": "http://127.0.0.1:9/"})
    assert made.status_code == 201


@pytest.mark.parametrize(
    ("events", "message"),
    [([], "at least 1"), (["test"], 'must be ended, failed or incumbent, not "test"')],
)
def test_events_that_nobody_can_ask_for_are_refused(
    http: httpx.Client, events: list[str], message: str
) -> None:
    response = create(http, events=events)
    assert response.status_code == 422
    assert message in response.json()["detail"]


def test_a_disabled_webhook_says_so_when_it_is_tested(
    http: httpx.Client, database: Database
) -> None:
    webhook = create(http).json()["id"]
    with database.write() as session:
        webhooks.disable(session, webhook)
    response = http.post(f"/webhooks/{webhook}/test")
    assert response.status_code == 409
    assert "its receiver answered that it is gone" in response.json()["detail"]


def test_only_its_owner_or_an_admin_may_test_or_delete_a_webhook(database: Database) -> None:
    roles = {"sam": Role.SUBMIT, "sue": Role.SUBMIT, "rea": Role.READ, "ada": Role.ADMIN}
    with database.write() as session:
        secrets = {name: tokens.create(session, name, role) for name, role in roles.items()}
        webhook = webhooks.create(session, WebhookSpec(url=PUBLIC), owner="sam").id
    app = App.on(database, tokens_needed=True)
    path = f"/api/v1/webhooks/{webhook}"

    def status(method: str, path: str, who: str) -> int:
        return app.call(method, path, secrets[who]).status_code

    assert status("GET", "/api/v1/webhooks", "rea") == 200
    assert status("POST", f"{path}/test", "rea") == 403
    assert status("DELETE", path, "sue") == 403
    assert status("POST", f"{path}/test", "sam") == 202
    assert status("DELETE", path, "ada") == 204
