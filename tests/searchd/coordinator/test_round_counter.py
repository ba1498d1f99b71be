"""Rounds of the coordinator in the metrics: recorded every 15 seconds, and none is lost."""

from searchd.coordinator.round_counter import RoundCounter
from searchd.store import Database, counters
from tests.searchd.conftest import FakeClock


def test_rounds_are_recorded_together_and_not_at_every_round(
    sqlite: Database, clock: FakeClock
) -> None:
    rounds = RoundCounter(sqlite, clock=clock, monotonic=clock.watch)
    rounds.note(0.5, succeeded=True)
    rounds.step()
    rounds.note(0.25, succeeded=False)
    rounds.note(0.25, succeeded=True)
    rounds.step()
    assert _counted(sqlite)["coordinator_rounds", "succeeded"] == 1

    clock.pass_s(15)
    rounds.step()

    assert _counted(sqlite) == {
        ("coordinator_rounds", "succeeded"): 2,
        ("coordinator_rounds", "failed"): 1,
        ("coordinator_round_seconds",): 1.0,
        ("coordinator_last_round_timestamp_seconds",): clock.now.timestamp(),
    }


def _counted(database: Database) -> dict[tuple[str, ...], float]:
    with database.read() as session:
        return {(each.name, *each.labels.values()): each.value for each in counters.every(session)}
