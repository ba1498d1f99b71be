"""Counters: added up over transactions and processes, and only of what was stored."""

from concurrent.futures import ThreadPoolExecutor

from searchd.store import Database, counters
from searchd.store.counters import Metric


def _value(database: Database, name: str, **labels: str) -> float:
    with database.read() as session:
        found = [each for each in counters.every(session) if each.name == name]
    return next((each.value for each in found if each.labels == labels), 0.0)


def test_amounts_are_added_up_by_their_labels(database: Database) -> None:
    for kind, amount in (("pool", 1.0), ("search", 1.0), ("pool", 2.5)):
        with database.write() as session:
            counters.add(session, Metric.LEASES, amount, kind=kind)

    assert _value(database, "leases_granted", kind="pool") == 3.5
    assert _value(database, "leases_granted", kind="search") == 1.0


def test_nothing_is_counted_that_was_rolled_back(database: Database) -> None:
    with database.write() as session:
        counters.add(session, Metric.TRIAL_STARTS)
        session.rollback()

    assert _value(database, "trial_starts") == 0


def test_a_duration_is_in_the_first_bucket_that_holds_it(database: Database) -> None:
    with database.write() as session:
        for seconds in (1.0, 1.5, 100_000.0):
            counters.observe(session, Metric.TRIAL_SECONDS, seconds, outcome="failed")

    def bucket(bound: str) -> float:
        return _value(database, "trial_seconds_bucket", outcome="failed", le=bound)

    assert [bucket(bound) for bound in ("1.0", "5.0", "15.0", "+Inf")] == [1, 1, 0, 1]
    assert _value(database, "trial_seconds_sum", outcome="failed") == 100_002.5


def test_a_value_replaces_the_last_one(database: Database) -> None:
    for value in (1.0, 7.0):
        with database.write() as session:
            counters.put(session, Metric.LAST_ROUND, value)

    assert _value(database, "coordinator_last_round_timestamp_seconds") == 7.0


def test_processes_that_count_in_opposite_orders_neither_deadlock_nor_lose(
    shared: Database,
) -> None:
    def count(kinds: tuple[str, ...]) -> None:
        for _ in range(20):
            with shared.write() as session:
                for kind in kinds:
                    counters.add(session, Metric.LEASES, kind=kind)

    with ThreadPoolExecutor(2) as threads:
        list(threads.map(count, [("pool", "search"), ("search", "pool")]))

    assert _value(shared, "leases_granted", kind="pool") == 40
    assert _value(shared, "leases_granted", kind="search") == 40
