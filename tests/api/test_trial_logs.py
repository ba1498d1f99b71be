"""The log of a trial over HTTP: read page by page, or from its end."""

import json

import httpx
import pytest

from api.client import Client
from searchd.store import Database
from searchd.store.runs import trials
from tests.api.service import Service
from tests.searchd.store.factories import base_proposal, start_search


@pytest.fixture
def search_id(database: Database) -> str:
    """A search whose base was started twice."""
    search, lease = start_search(database)
    with database.write() as session:
        trials.add(session, lease, base_proposal())
        trials.start(session, lease, "base")
        trials.requeue_trial(session, lease, "base", "its worker was lost")
        trials.start(session, lease, "base")
    return search.id


def store(service: Service, search_id: str, attempt: int, messages: list[str]) -> None:
    """What a worker has stored so far."""
    file = service.folder / f"artifacts/searches/{search_id}/base/attempt-{attempt}/log.jsonl"
    file.parent.mkdir(parents=True, exist_ok=True)
    lines = [
        {
            "line": number,
            "at": "2026-01-02T03:04:05.000+00:00",
            "level": "INFO",
            "logger": "workers.trial.run",
            "message": message,
            "search": search_id,
        }
        for number, message in enumerate(messages, 1)
    ]
    file.write_text("\n".join(map(json.dumps, lines)))


def test_the_latest_attempt_is_read_page_by_page(
    service: Service, http: httpx.Client, search_id: str
) -> None:
    store(service, search_id, 1, ["lost"])
    store(service, search_id, 2, ["one", "two", "three"])

    first = http.get("/searches/first/trials/base/log", params={"page_size": 2}).json()
    last = http.get("/searches/first/trials/base/log", params={"page_token": "2"}).json()

    assert (first["trial_id"], first["attempt"]) == (f"{search_id}-base", 2)
    assert [line["message"] for line in first["items"]] == ["one", "two"]
    assert first["next_page_token"] == "2"
    assert [(line["line"], line["message"]) for line in last["items"]] == [(3, "three")]
    assert last["next_page_token"] is None


def test_the_client_reads_all_pages_an_attempt_or_the_end(
    service: Service, client: Client, search_id: str
) -> None:
    store(service, search_id, 1, ["lost"])
    store(service, search_id, 2, [f"line {number}" for number in range(1, 450)])

    assert [line.line for line in client.trial_log("first", "base")] == [*range(1, 450)]
    assert [line.message for line in client.trial_log("first", "base", attempt=1)] == ["lost"]
    assert [line.line for line in client.trial_log("first", "base", tail=3)] == [447, 448, 449]
    assert [line.line for line in client.trial_log("first", "base", after=448)] == [449]


def test_a_trial_that_has_logged_nothing_has_an_empty_log(
    http: httpx.Client, search_id: str
) -> None:
    found = http.get(f"/searches/{search_id}/trials/base/log").json()
    assert (found["items"], found["next_page_token"]) == ([], None)


@pytest.mark.parametrize(
    ("path", "status", "message"),
    [
        ("/searches/first/trials/9/log", 404, "-9' does not exist"),
        ("/searches/first/trials/base/log?attempt=3", 404, "it was started 2 times"),
        ("/searches/other/trials/base/log", 404, "search 'other' does not exist"),
        ("/distillations/first/trials/base/log", 404, "distillation 'first' does not exist"),
        ("/searches/first/trials/base/log?tail=1&page_token=2", 422, "leave one out"),
    ],
)
def test_what_is_not_there_is_named(
    http: httpx.Client, search_id: str, path: str, status: int, message: str
) -> None:
    response = http.get(path)
    assert search_id
    assert response.status_code == status
    assert message in response.json()["detail"]
