"""The lineage of a trial is read by one statement, however long it is."""

from sqlalchemy import event

from searchd.domain.trial import Proposal
from searchd.store import Database
from searchd.store.runs import lineage
from tests.searchd.store.factories import base_proposal, run_trial, search_proposal, start_search


def proposed_line(database: Database, depth: int) -> tuple[list[Proposal], list[str]]:
    """Run trials that each inherit from the one before; return the proposals of the last one's
    lineage, and the statements that read them."""
    search, lease = start_search(database)
    run_trial(database, lease, base_proposal())
    for number in range(depth):
        parent = str(number - 1) if number else "base"
        run_trial(database, lease, search_proposal(number, parent=parent))
    statements: list[str] = []
    with database.read() as session:
        session.connection()
        event.listen(
            database.engine, "before_cursor_execute", lambda *given: statements.append(given[2])
        )
        found = lineage.proposals(session, f"{search.id}-{depth - 1}")
    return found, statements


def test_a_lineage_has_the_proposals_from_the_base_to_the_trial(database: Database) -> None:
    found, _ = proposed_line(database, 3)
    assert [proposal.name for proposal in found] == ["base", "0", "1", "2"]
    assert found[1] == search_proposal(0)


def test_a_long_lineage_is_one_statement(database: Database) -> None:
    _, statements = proposed_line(database, 8)
    assert len(statements) == 1
