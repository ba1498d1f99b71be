"""Whatever a sink does, trials go on; and it gets every trial in the end."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import pytest

from searchd.domain.sinks import SinkKind
from searchd.driver.ledger import Ledger
from searchd.driver.sinks import relay
from searchd.driver.sinks.relay import Relay, relays_of
from searchd.messages.reports import Progress
from searchd.settings import Settings
from searchd.store import Database, Lease, counters, events
from searchd.store.models import TrialRow
from tests.searchd.driver.bookkeeping import BASE, started
from tests.searchd.store import factories


@dataclass
class ScriptedSink:
    """Keeps what it gets.

    Attributes:
        fails: Whether it raises.
        released: It answers once this is set.
    """

    fails: bool = False
    got: list[str] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    released: threading.Event = field(default_factory=threading.Event)
    is_closed: bool = False

    def __post_init__(self) -> None:
        self.released.set()

    def progress(self, progress: Progress) -> None:
        self.losses.append(progress.losses["loss"])

    def ended(self, trial: TrialRow) -> None:
        self.released.wait(5)
        if self.fails:
            raise ConnectionError("the server is gone\nfor good")
        assert trial.evaluations != []
        self.got.append(trial.name)

    def close(self) -> None:
        self.is_closed = True


def run_trial(ledger: Ledger, name: str) -> None:
    proposal = BASE if name == "base" else factories.search_proposal(int(name))
    started(ledger, proposal)
    ledger.record(factories.succeeded(name, ap=0.5))


def until(condition: Callable[[], bool]) -> None:
    for _ in range(500):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("it never was so")


def failures(database: Database) -> float:
    with database.read() as session:
        found = [each for each in counters.every(session) if each.name == "sink_records"]
    return sum(each.value for each in found if each.labels["result"] == "failed")


def has_failed(database: Database, times: int) -> bool:
    return failures(database) >= times


def test_a_sink_gets_every_trial_in_order_and_the_latest_progress(ledger: Ledger) -> None:
    sink = ScriptedSink()
    fed = Relay(SinkKind.MLFLOW, lambda: sink, ledger)
    for name in ("base", "0", "1"):
        run_trial(ledger, name)
        fed.ended()
    fed.progress(factories.progress("2"))
    fed.close(5)

    assert (sink.got, sink.losses, sink.is_closed) == (["base", "0", "1"], [0.75], True)


def test_a_sink_that_raises_is_mentioned_once_counted_and_gets_all_later(
    sqlite: Database, ledger: Ledger, caplog: pytest.LogCaptureFixture
) -> None:
    sink = ScriptedSink(fails=True)
    fed = Relay(SinkKind.MLFLOW, lambda: sink, ledger)
    for number, name in enumerate(("base", "0"), 1):
        run_trial(ledger, name)
        fed.ended()
        until(partial(has_failed, sqlite, number))
    sink.fails = False
    fed.close(5)

    assert sink.got == ["base", "0"]
    warnings = [each.getMessage() for each in caplog.records if each.levelname == "WARNING"]
    assert warnings == [
        "sink mlflow fails, and is tried again: ConnectionError: the server is gone\nfor good"
    ]
    with sqlite.read() as session:
        told = [each.message for each in events.after(session, ledger.run_id)]
    assert [message for message in told if "sink" in message] == [
        "warning: sink mlflow fails, and is tried again; trials go on: ConnectionError: the server "
        "is gone"
    ]


def test_a_sink_that_cannot_be_made_is_made_later(sqlite: Database, ledger: Ledger) -> None:
    sink = ScriptedSink()
    answers: list[ScriptedSink] = []

    def make() -> ScriptedSink:
        if not answers:
            raise ModuleNotFoundError("No module named 'mlflow'")
        return answers[0]

    run_trial(ledger, "base")
    fed = Relay(SinkKind.MLFLOW, make, ledger)
    until(lambda: failures(sqlite) >= 1)
    answers.append(sink)
    fed.close(5)

    assert sink.got == ["base"]


def test_a_sink_that_hangs_delays_neither_trials_nor_the_end_of_the_driver(ledger: Ledger) -> None:
    sink = ScriptedSink()
    sink.released.clear()
    fed = Relay(SinkKind.WANDB, lambda: sink, ledger)
    began = time.monotonic()
    for name in ("base", "0"):
        run_trial(ledger, name)
        fed.ended()
    fed.close(0.1)

    assert time.monotonic() - began < 4
    assert sink.got == []
    sink.released.set()


def test_another_driver_goes_on_where_this_one_ended(
    sqlite: Database, ledger: Ledger, lease: Lease, settings: Settings
) -> None:
    first, second = ScriptedSink(), ScriptedSink()
    run_trial(ledger, "base")
    Relay(SinkKind.TENSORBOARD, lambda: first, ledger).close(5)
    run_trial(ledger, "0")

    Relay(SinkKind.TENSORBOARD, lambda: second, Ledger(sqlite, lease, settings)).close(5)

    assert (first.got, second.got) == (["base"], ["0"])


@pytest.mark.parametrize(
    ("of_spec", "of_service", "expected"),
    [
        (None, "", []),
        (None, "wandb, tensorboard", ["wandb", "tensorboard"]),
        (("mlflow",), "wandb", ["mlflow"]),
        ((), "wandb", []),
    ],
)
def test_a_spec_overrides_the_sinks_of_the_service(
    ledger: Ledger,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    of_spec: tuple[str, ...] | None,
    of_service: str,
    expected: list[str],
) -> None:
    sinks = None if of_spec is None else tuple(map(SinkKind, of_spec))
    ledger.spec = ledger.spec.model_copy(update={"sinks": sinks})
    made: list[str] = []

    class Counted(Relay):
        def __init__(self, kind: SinkKind, *_: object) -> None:
            made.append(kind.value)

        def close(self, timeout_s: float) -> None:
            assert timeout_s > 0

    monkeypatch.setattr(relay, "Relay", Counted)
    with relays_of(ledger, settings.model_copy(update={"sinks": of_service})):
        pass

    assert made == expected
