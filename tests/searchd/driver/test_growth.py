"""What a driver does for one trial does not grow with the search."""

from dataclasses import replace

from sqlalchemy import event

from searchd.driver.ledger import Ledger
from searchd.driver.tune import TrialScheduler
from searchd.settings import Settings
from searchd.store import Database, Lease
from tests.searchd.driver.bookkeeping import submitted
from tests.searchd.store import factories

SPEC = factories.search_spec(control=False)


class Counter:
    """Counts the statements and the rows that a trial needs."""

    def __init__(self, database: Database) -> None:
        self.statements: list[str] = []
        event.listen(database.engine, "before_cursor_execute", self._count)

    def _count(self, _connection: object, _cursor: object, statement: str, *_: object) -> None:
        self.statements.append(statement.split(" WHERE ")[0])


def run(scheduler: TrialScheduler, number: int) -> None:
    task = scheduler.next(f"t{number}")
    assert task is not None
    scheduler.started(f"t{number}")
    name = task.proposal.name
    report = factories.succeeded(name, ap=0.5 - number / 100, macs=3e9 + number * 1e6)
    scheduler.reported(f"t{number}", replace(report, artifacts=report.artifacts[:1]))


def test_a_later_trial_needs_the_same_statements_as_an_early_one(
    sqlite: Database, lease: Lease, settings: Settings
) -> None:
    ledger = submitted(sqlite, lease, settings, SPEC)
    scheduler = TrialScheduler(ledger, again=(), is_stopping=lambda: False, may_search=lambda: True)
    counter, counts = Counter(sqlite), []
    for number in range(14):
        counter.statements.clear()
        run(scheduler, number)
        counts.append(list(counter.statements))

    assert counts[13] == counts[4]
    assert len(counts[13]) < 30


def test_next_driver_builds_the_same_history_from_the_database(
    sqlite: Database, lease: Lease, settings: Settings
) -> None:
    ledger = submitted(sqlite, lease, settings, SPEC)
    scheduler = TrialScheduler(ledger, again=(), is_stopping=lambda: False, may_search=lambda: True)
    for number in range(5):
        run(scheduler, number)

    stored = Ledger(sqlite, lease, settings).history

    assert list(stored.proposals) == list(ledger.history.proposals)
    assert list(stored.completions) == list(ledger.history.completions)
    assert list(stored.accepted.ranking) == list(ledger.history.accepted.ranking)
