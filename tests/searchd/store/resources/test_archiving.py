"""What has ended can be archived: lists leave it out, and nothing else changes."""

from datetime import datetime

import pytest

from searchd.domain.errors import ConflictError
from searchd.domain.lifecycle import SearchStatus
from searchd.store import Database, events, paging
from searchd.store.models import SearchRow
from searchd.store.paging import Listing
from searchd.store.resources import archiving, searches
from searchd.store.runs.extension import ask_to_extend
from searchd.store.work import queue
from tests.searchd.store.factories import add_search, base_proposal, run_trial, start_search


@pytest.fixture
def ended(database: Database) -> SearchRow:
    """A search that has succeeded, beside the queued search "second"."""
    row, lease = start_search(database)
    run_trial(database, lease, base_proposal())
    with database.write() as session:
        queue.finish(session, lease, SearchStatus.SUCCEEDED, "converged")
    add_search(database, "second")
    return row


def archive(database: Database, name: str = "first") -> None:
    with database.write() as session:
        archiving.archive(session, searches.get(session, name))


def listed(database: Database, *, archived: bool = False) -> list[str]:
    with database.read() as session:
        return [
            row.name for row in paging.page(session, SearchRow, Listing(archived=archived)).items
        ]


def archived_at(database: Database) -> datetime | None:
    with database.read() as session:
        return searches.get(session, "first").archived_at


@pytest.mark.usefixtures("ended")
def test_a_list_has_either_what_is_archived_or_the_rest(database: Database) -> None:
    archive(database)

    assert listed(database) == ["second"]
    assert listed(database, archived=True) == ["first"]


def test_archiving_twice_is_recorded_once(database: Database, ended: SearchRow) -> None:
    archive(database)
    before = archived_at(database)
    archive(database)

    assert archived_at(database) == before
    with database.read() as session:
        last = [each.message for each in events.after(session, ended.id)][-2:]
    assert last == ["converged", "archived by a user"]


@pytest.mark.usefixtures("ended")
def test_what_is_unarchived_is_listed_again(database: Database) -> None:
    archive(database)
    for _ in range(2):
        with database.write() as session:
            archiving.unarchive(session, searches.get(session, "first"))

    assert listed(database) == ["second", "first"]


@pytest.mark.usefixtures("ended")
def test_what_has_not_ended_is_not_archived(database: Database) -> None:
    with pytest.raises(ConflictError, match="second is queued; only what has ended"):
        archive(database, "second")


def test_a_search_that_is_extended_is_listed_again(database: Database, ended: SearchRow) -> None:
    archive(database)
    with database.write() as session:
        ask_to_extend(session, ended.id, {"max_trials": 200})

    assert archived_at(database) is None
    assert listed(database) == ["second", "first"]
