"""What a sink has of a run: the first completions, in order."""

from searchd.domain.lifecycle import FailureCause, SearchStatus
from searchd.domain.sinks import SinkKind
from searchd.store import Database, events
from searchd.store.models import SearchRow
from searchd.store.resources import removal
from searchd.store.runs import sinks
from searchd.store.work import queue
from tests.searchd.driver.bookkeeping import failed
from tests.searchd.store.factories import (
    base_proposal,
    run_trial,
    search_proposal,
    start_search,
    succeeded,
)


def test_each_sink_gets_every_ended_trial_in_order_also_after_the_run(database: Database) -> None:
    search, lease = start_search(database)
    run_trial(database, lease, base_proposal(), succeeded("base"))
    run_trial(database, lease, search_proposal(0), failed("0", FailureCause.BUG))
    with database.write() as session:
        queue.finish(session, lease, SearchStatus.SUCCEEDED, "converged")

    got = []
    for _ in range(3):
        with database.read() as session:
            trial = sinks.next_to_send(session, search.id, SinkKind.MLFLOW)
        got.append(trial and trial.name)
        if trial is not None:
            with database.write() as session:
                sinks.record_sent(session, lease, SinkKind.MLFLOW)

    assert got == ["base", "0", None]
    with database.read() as session:
        other = sinks.next_to_send(session, search.id, SinkKind.WANDB)
    assert other is not None
    assert (other.name, len(other.evaluations)) == ("base", 2)


def test_the_first_failure_is_an_event_and_a_failed_run_can_still_be_deleted(
    database: Database,
) -> None:
    search, lease = start_search(database)
    for reason in ("ConnectionError: gone", "ConnectionError: still gone"):
        with database.write() as session:
            sinks.record_failure(session, lease, SinkKind.MLFLOW, reason)
    with database.write() as session:
        sinks.record_sent(session, lease, SinkKind.MLFLOW)
        queue.finish(session, lease, SearchStatus.FAILED, "no base")
    with database.read() as session:
        told = [each.message for each in events.after(session, search.id)]
    assert [message for message in told if "sink" in message] == [
        "warning: sink mlflow fails, and is tried again; trials go on: ConnectionError: gone"
    ]

    with database.write() as session:
        removal.delete_failed(session, session.get_one(SearchRow, search.id))
