"""Passes what happens in a run on to its sinks, each in a thread of its own.

Which trials a sink has is a number in the database: it gets the completions of a run in order, and
a failure means that it gets the same one again later, also from another driver. So a server that is
down for hours loses nothing, and no error or delay of a sink reaches a trial.
"""

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from searchd.domain.sinks import SinkKind
from searchd.driver.ledger import Ledger
from searchd.driver.sinks.base import RunFacts, Sink
from searchd.driver.sinks.mlflow_sink import MlflowSink
from searchd.driver.sinks.tensorboard_sink import TensorboardSink
from searchd.driver.sinks.wandb_sink import WandbSink
from searchd.messages.reports import Progress
from searchd.settings import Settings
from searchd.store.runs import sinks as store

log = logging.getLogger(__name__)

RETRY_S = 60.0
"""Seconds after which a sink that failed is tried again, if no other trial ends before."""
DRAIN_S = 120.0
"""Seconds for which a driver that has nothing else to do waits for its sinks."""
_TYPES: dict[SinkKind, Callable[[RunFacts, Settings], Sink]] = {
    SinkKind.TENSORBOARD: TensorboardSink,
    SinkKind.MLFLOW: MlflowSink,
    SinkKind.WANDB: WandbSink,
}


class Relay:
    """Feeds one sink.

    Args:
        kind: Names the sink.
        make: Makes the sink; may fail, and is called again then.
        ledger: The records of the run.
    """

    def __init__(self, kind: SinkKind, make: Callable[[], Sink], ledger: Ledger) -> None:
        self._kind = kind
        self._make = make
        self._ledger = ledger
        self._sink: Sink | None = None
        self._latest: dict[str, Progress] = {}
        self._has_failed = False
        self._is_closing = False
        self._wake = threading.Event()
        self._wake.set()  # an earlier driver may have left something
        self._thread = threading.Thread(target=self._run, name=f"sink {kind}", daemon=True)
        self._thread.start()

    def progress(self, progress: Progress) -> None:
        """Pass on the progress of a trial; if the sink is slow, only the latest."""
        self._latest[progress.trial] = progress
        self._wake.set()

    def ended(self) -> None:
        """Pass on that a trial has ended, which the database tells."""
        self._wake.set()

    def close(self, timeout_s: float) -> None:
        """Send what is left, for a limited time."""
        self._is_closing = True
        self._wake.set()
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            log.warning("sink %s does not end; its trials are sent by the next driver", self._kind)

    def _run(self) -> None:
        while not self._is_closing:
            self._wake.wait(RETRY_S)
            self._wake.clear()
            self._guard(self._send)
        self._guard(self._send)
        if self._sink is not None:
            self._guard(self._sink.close)

    def _guard(self, step: Callable[[], None]) -> None:
        try:
            step()
        except Exception as error:  # whatever a third party's library raises: no trial may be hurt
            self._note(error)

    def _send(self) -> None:
        if self._sink is None:
            self._sink = self._make()
        while self._latest:
            self._sink.progress(self._latest.popitem()[1])
        while trial := self._ledger.read(store.next_to_send, self._ledger.run_id, self._kind):
            self._sink.ended(trial)
            self._ledger.write(store.record_sent, self._kind)

    def _note(self, error: Exception) -> None:
        reason = f"{type(error).__name__}: {error}"
        if not self._has_failed:
            self._has_failed = True
            log.warning("sink %s fails, and is tried again: %s", self._kind, reason)
        try:
            self._ledger.write(store.record_failure, self._kind, reason)
        except Exception as refusal:  # the lease may be lost, or the database away
            log.info("the failure of sink %s could not be counted: %s", self._kind, refusal)


class Relays:
    """Feeds the sinks of a run, of which there may be none."""

    def __init__(self, relays: Sequence[Relay]) -> None:
        self._relays = relays

    def progress(self, progress: Progress) -> None:
        """See `Relay.progress`."""
        for relay in self._relays:
            relay.progress(progress)

    def ended(self) -> None:
        """See `Relay.ended`."""
        for relay in self._relays:
            relay.ended()

    def close(self) -> None:
        """Send what is left to every sink; together they take no longer than `DRAIN_S`."""
        for relay in self._relays:
            relay.close(DRAIN_S / len(self._relays))


@contextmanager
def relays_of(ledger: Ledger, settings: Settings) -> Iterator[Relays]:
    """The sinks of a run, fed until the block is left."""
    kinds = settings.sink_kinds if ledger.spec.sinks is None else ledger.spec.sinks
    row = ledger.row()
    facts = RunFacts(id=row.id, name=row.name, kind=row.kind)

    def maker(kind: SinkKind) -> Callable[[], Sink]:
        return lambda: _TYPES[kind](facts, settings)

    relays = Relays([Relay(kind, maker(kind), ledger) for kind in dict.fromkeys(kinds)])
    try:
        yield relays
    finally:
        relays.close()
