"""AP by class and by kind of error, stored with a trial and removed with it."""

from sqlalchemy import func, select

from searchd.domain.breakdown import ErrorFigures, ErrorKind
from searchd.store import Database
from searchd.store.models import BreakdownRow, SearchRow
from searchd.store.resources import removal
from searchd.store.runs import breakdowns
from tests.searchd.store.factories import (
    LARGE,
    base_proposal,
    run_trial,
    search_proposal,
    start_search,
    succeeded,
    with_breakdown,
)


def test_a_breakdown_is_stored_with_its_evaluation(database: Database) -> None:
    search, lease = start_search(database)
    run_trial(database, lease, base_proposal())
    trial = run_trial(database, lease, search_proposal(0), with_breakdown(succeeded("0")))

    with database.read() as session:
        _, (evaluation, found) = breakdowns.of_trial(session, trial.id)
        assert evaluation.resolution == LARGE
        assert found.class_aps == {"circle": 0.75, "square": 0.25}
        assert found.errors[ErrorKind.MISSED] == ErrorFigures(count=3, lost_ap=0.02)
        assert breakdowns.of_trial(session, f"{search.id}-base") == []
        assert breakdowns.class_names(session, search.id) == ["circle", "square"]


def test_breakdowns_are_deleted_with_their_search(database: Database) -> None:
    search, lease = start_search(database)
    run_trial(database, lease, base_proposal(), with_breakdown(succeeded("base")))

    with database.write() as session:
        removal.delete_rows(session, session.get_one(SearchRow, search.id))

    with database.read() as session:
        assert session.scalar(select(func.count()).select_from(BreakdownRow)) == 0
