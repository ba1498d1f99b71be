"""`--wait`: the command ends when the run has ended or is paused, and its exit code says how."""

import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from api.client import Client
from searchd.domain.lifecycle import SearchStatus
from searchd.store import Database
from searchd.store.resources import searches
from searchd.store.work import queue
from tests.api.service import Service
from tests.cli.conftest import Run
from tests.searchd.store.factories import add_dataset, add_pool, leased, search_spec

pytestmark = pytest.mark.timeout(60)  # the command and who ends its search wait for each other
SUBMITTED_WITHIN_S = 30


def spec_file(folder: Path) -> Path:
    file = folder / "first.yaml"
    file.write_text("name: first\ndataset: shapes\npool: teachers\nbudget: {finish: null}\n")
    return file


def ended_as(status: SearchStatus, reason: str) -> Callable[[Service, str], None]:
    def end(service: Service, search: str) -> None:
        with leased(service.database, f"search-{search}") as (session, lease):
            queue.advance(session, lease, SearchStatus.PREPARING, "driver started")
            queue.advance(session, lease, SearchStatus.RUNNING, "base trained")
            queue.finish(session, lease, status, reason)

    return end


def cancelled(service: Service, search: str) -> None:
    with Client(service.url) as client:
        client.ask_of_search(search, "cancel")


def paused(service: Service, search: str) -> None:
    with Client(service.url) as client:
        client.ask_of_search(search, "pause")


def when_submitted(service: Service, then: Callable[[Service, str], None]) -> None:
    deadline = time.monotonic() + SUBMITTED_WITHIN_S
    with Client(service.url) as client:
        while not (found := list(client.list_searches())):
            assert time.monotonic() < deadline, "the command submitted nothing"
            time.sleep(0.02)
    then(service, found[0].id)


@pytest.mark.parametrize(
    ("then", "code", "status", "last_line"),
    [
        (ended_as(SearchStatus.SUCCEEDED, "converged"), 0, "succeeded", "succeeded: converged"),
        (ended_as(SearchStatus.FAILED, "no base"), 3, "failed", "first is failed: no base"),
        (cancelled, 4, "cancelled", "first is cancelled: "),
        (paused, 5, "paused", "first is paused: "),
    ],
    ids=["succeeded", "failed", "cancelled", "paused"],
)
def test_the_exit_code_says_how_a_search_ended(
    searchd: Run,
    service: Service,
    tmp_path: Path,
    then: Callable[[Service, str], None],
    code: int,
    status: str,
    last_line: str,
) -> None:
    add_dataset(service.database)
    add_pool(service.database)

    with ThreadPoolExecutor() as background:
        done = background.submit(when_submitted, service, then)
        result = searchd("search", "submit", spec_file(tmp_path), "--wait", "--format", "json")
        done.result()

    assert result.exit_code == code
    assert json.loads(result.stdout)["status"] == status
    first, *_, last = result.stderr.splitlines()
    assert first.endswith(" queued: waits for admission")
    assert last_line in last


def test_a_paused_search_is_told_how_to_continue(
    searchd: Run, database: Database, service: Service, tmp_path: Path
) -> None:
    add_dataset(database)
    add_pool(database)
    with database.write() as session:
        search = searches.create(session, search_spec(), idempotency_key="k")
    paused(service, search.id)

    result = searchd("search", "submit", spec_file(tmp_path), "--wait", "--key", "k")

    assert result.exit_code == 5
    assert result.stderr.endswith("; searchd search resume first continues it\n")


def test_a_search_that_was_paused_once_and_resumed_is_waited_for(
    searchd: Run, database: Database, service: Service, tmp_path: Path
) -> None:
    add_dataset(database)
    add_pool(database)
    with database.write() as session:
        search = searches.create(session, search_spec(), idempotency_key="k")
    paused(service, search.id)
    with Client(service.url) as client:
        client.ask_of_search(search.id, "resume")
    ended_as(SearchStatus.SUCCEEDED, "converged")(service, search.id)

    result = searchd("search", "submit", spec_file(tmp_path), "--wait", "--key", "k")

    assert result.exit_code == 0, result.stderr
    assert " paused: " in result.stderr
