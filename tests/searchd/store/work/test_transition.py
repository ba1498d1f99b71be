"""The only writer of statuses refuses what the tables forbid and what somebody else changed."""

import pytest
from sqlalchemy import update

from searchd.domain.errors import ConflictError, IllegalTransitionError, StaleLeaseError
from searchd.domain.lifecycle import SearchStatus
from searchd.store import Database, Lease, events
from searchd.store.models import SearchRow
from searchd.store.resources import searches
from searchd.store.work.transition import transition
from tests.searchd.store.factories import add_search, refused


def test_transition_writes_status_reason_and_event(database: Database) -> None:
    search = add_search(database)
    with database.write() as session:
        row = searches.get(session, search.id)
        transition(session, row, SearchStatus.CANCELLED, "never mind")
        assert (row.status, row.status_reason) == (SearchStatus.CANCELLED, "never mind")
        assert row.finished_at is not None
        last = events.after(session, search.id)[-1]
        assert (last.subject, last.status, last.message) == (search.id, "cancelled", "never mind")


def test_transition_follows_the_table(database: Database) -> None:
    search = add_search(database)
    words = f"searches {search.id} cannot go from queued to running"
    with refused(database, IllegalTransitionError, words) as session:
        transition(session, searches.get(session, search.id), SearchStatus.RUNNING, "x")


def test_transition_changes_nothing_when_somebody_else_moved_the_row(database: Database) -> None:
    search = add_search(database)
    with database.write() as session:
        row = searches.get(session, search.id)
        session.execute(  # as another process would, behind this session's back
            update(SearchRow)
            .values(status=SearchStatus.CANCELLED)
            .execution_options(synchronize_session=False)
        )
        with pytest.raises(ConflictError, match="no longer queued"):
            transition(session, row, SearchStatus.PREPARING, "x")
        assert len(events.after(session, search.id)) == 1


def test_transition_needs_a_valid_lease_when_one_is_given(database: Database) -> None:
    search = add_search(database)
    lease = Lease(f"search-{search.id}", 0)
    with database.write() as session:
        row = searches.get(session, search.id)
        with pytest.raises(StaleLeaseError, match="the work is queued"):
            transition(session, row, SearchStatus.PREPARING, "x", lease=lease)
