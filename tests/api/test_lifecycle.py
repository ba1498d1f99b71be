"""Pause, resume, cancel, kill and extend over HTTP."""

import httpx
import pytest

from searchd.domain.lifecycle import SearchStatus
from searchd.store import Database
from searchd.store.work import queue
from tests.searchd.store.factories import (
    add_dataset,
    add_pool,
    add_search,
    base_proposal,
    leased,
    run_trial,
    search_proposal,
    start_search,
)

CONFLICT = "urn:searchd:problem:conflict"


def refused(response: httpx.Response) -> str:
    """What a call says that was answered with 409."""
    assert response.status_code == 409, response.text
    assert response.json()["type"] == CONFLICT
    return str(response.json()["detail"])


@pytest.mark.parametrize("verb", ["pause", "cancel", "kill"])
def test_of_what_a_driver_carries_out_the_wish_is_written_down(
    http: httpx.Client, database: Database, verb: str
) -> None:
    start_search(database)
    for _ in range(2):
        response = http.post(f"/searches/first/{verb}")
        assert response.status_code == 202
        assert (response.json()["desired"], response.json()["status"]) == (verb, "running")


@pytest.mark.parametrize(
    ("verb", "status", "reason"),
    [
        ("pause", "paused", "paused by a user"),
        ("cancel", "cancelled", "cancelled by a user"),
        ("kill", "cancelled", "killed by a user"),
    ],
)
@pytest.mark.parametrize("path", ["/searches/first", "/pools/teachers"])
def test_what_waits_is_moved_at_once(
    http: httpx.Client, database: Database, path: str, verb: str, status: str, reason: str
) -> None:
    add_dataset(database)
    add_pool(database, ready=False)
    add_search(database)
    answers = [http.post(f"{path}/{verb}").json() for _ in range(2)]
    assert [answer["status"] for answer in answers] == [status, status]
    assert answers[1]["status_reason"] == reason


def test_what_is_paused_is_queued_when_it_is_resumed(
    http: httpx.Client, database: Database
) -> None:
    add_search(database)
    http.post("/searches/first/pause")
    answers = [http.post("/searches/first/resume").json() for _ in range(2)]
    assert [(a["status"], a["desired"]) for a in answers] == [("queued", "run")] * 2


@pytest.mark.parametrize("verb", ["pause", "resume", "cancel", "kill"])
def test_what_has_ended_says_so(http: httpx.Client, database: Database, verb: str) -> None:
    _, lease = start_search(database)
    with database.write() as session:
        queue.finish(session, lease, SearchStatus.SUCCEEDED, "converged")
    participle = {"pause": "paused", "resume": "resumed", "kill": "killed"}.get(verb, "cancelled")
    for path, status in (("/searches/first", "succeeded"), ("/pools/teachers", "ready")):
        detail = refused(http.post(f"{path}/{verb}"))
        assert detail.endswith(f"is {status} already and cannot be {participle}")


def test_what_is_being_cancelled_cannot_be_paused(http: httpx.Client, database: Database) -> None:
    start_search(database)
    http.post("/searches/first/cancel")
    assert refused(http.post("/searches/first/pause")) == (
        "first is running, is to be cancelled and cannot be paused"
    )
    assert http.post("/searches/first/kill").json()["desired"] == "kill"


def test_a_finished_search_is_given_more_budget(http: httpx.Client, database: Database) -> None:
    _, lease = start_search(database)
    run_trial(database, lease, base_proposal())
    for number in range(3):
        run_trial(database, lease, search_proposal(number))
    with database.write() as session:
        queue.finish(session, lease, SearchStatus.SUCCEEDED, "budget: 3 trials")
    assert refused(http.post("/searches/first/extend", json={})).startswith(
        "first is succeeded already and has nothing more to do: budget: 3 trials"
    )
    few = http.post("/searches/first/extend", json={"max_trials": 2})
    assert (few.status_code, few.json()["detail"]) == (
        422,
        "max_trials=2 is less than the 3 trials that first has",
    )

    answer = http.post("/searches/first/extend", json={"max_trials": 200, "patience": 30}).json()

    assert (answer["status"], answer["finished_at"]) == ("queued", None)
    assert (answer["budget"]["max_trials"], answer["budget"]["patience"]) == (200, 30)
    assert answer["spec"]["budget"]["max_trials"] == 100
    assert answer["trials"] == {"succeeded": 4}
    again = http.post("/searches/first/extend", json={"max_trials": 200}).json()
    assert again["status_reason"] == answer["status_reason"]


def test_a_budget_is_checked(http: httpx.Client, database: Database) -> None:
    add_search(database)
    assert http.post("/searches/first/extend", json={"max_trials": 0}).status_code == 422
    assert http.post("/searches/first/extend", json={"max_trial": 9}).status_code == 422
    assert http.post("/searches/first/extend").status_code == 422
    assert http.post("/pools/teachers/extend", json={"max_trials": 9}).status_code == 405


def test_what_does_not_exist_is_not_found(http: httpx.Client) -> None:
    for path in ("/searches/none/pause", "/pools/none/kill"):
        assert http.post(path).status_code == 404


def test_a_paused_search_says_why(http: httpx.Client, database: Database) -> None:
    search, lease = start_search(database)
    http.post("/searches/first/pause")
    with database.write() as session:
        queue.stopped(session, lease)
    answer = http.get("/searches/first").json()
    assert (answer["status"], answer["status_reason"]) == ("paused", "paused by a user")
    http.post("/searches/first/resume")
    with leased(database, f"search-{search.id}") as (_, again):
        assert again.number == 2
