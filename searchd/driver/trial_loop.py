"""Runs a search or a distillation: the base, trials with teachers, the finish, then controls."""

import logging
import shutil
import threading

from searchd.domain.lifecycle import PoolStatus, SearchStatus
from searchd.driver.cluster import connect, resolve
from searchd.driver.device_latencies import measure_on_device
from searchd.driver.distillation_plan import compare_orders, make_plan, needs_plan
from searchd.driver.final_latencies import measure_latencies
from searchd.driver.final_splits import measure_on_splits
from searchd.driver.ledger import Ledger
from searchd.driver.sinks.relay import Relays, relays_of
from searchd.driver.trial_failures import last_failure
from searchd.driver.tune import TrialScheduler, run_tuner
from searchd.search.ask_tell import Finished
from searchd.settings import Settings
from searchd.store.work import queue

log = logging.getLogger(__name__)

_POOL_POLL_S = 1.0


def run_search(
    ledger: Ledger, settings: Settings, stopping: threading.Event
) -> tuple[SearchStatus, str]:
    """Run trials until the run has ended or the user asked to stop it, and record the outcome.

    Every finished score is kept in any case. A trial whose report is in the artifact store is not
    trained again, even if the report was not recorded.

    Args:
        ledger: The ledger of the run.
        settings: The path of the trainable, and intervals of workers.
        stopping: Set when the user asked to pause or cancel the run.

    Returns:
        The status afterwards and its reason.
    """
    with relays_of(ledger, settings) as sinks:
        end = None if stopping.is_set() else _run(ledger, settings, stopping, sinks)
        return ledger.stopped() if end is None else end


def _run(
    ledger: Ledger, settings: Settings, stopping: threading.Event, sinks: Relays
) -> tuple[SearchStatus, str] | None:
    """Return the final status and its reason; None if the user asked to stop the run."""
    ledger.clear_stop_flag()
    if ledger.row().status is SearchStatus.QUEUED:
        ledger.write(queue.advance, SearchStatus.PREPARING, "its driver has started")
    connect(settings)
    again = ledger.recover()
    log.info(
        "run %s: %d trials proposed, %d ended, %d to be run again",
        *(ledger.run_id, len(ledger.history.proposals), len(ledger.history.completions)),
        len(again),
    )
    while not stopping.is_set():
        scheduler = TrialScheduler(
            ledger,
            again=again,
            is_stopping=lambda: stopping.is_set() or bool(ledger.data_error),
            may_search=_PoolGate(ledger).is_open,
            observer=sinks,
        )
        _run_tuner(scheduler, ledger, settings)
        # The Tuner ends even when trials only wait for the pool: an idle worker would reserve
        # resources that the pool may need.
        if stopping.is_set():
            return None
        if ledger.data_error:
            reason = f"the data set cannot be used; {ledger.data_error}"
            ledger.write(queue.finish, SearchStatus.FAILED, reason)
            return SearchStatus.FAILED, reason
        end = _end(scheduler.finished, ledger)
        if end is None and _waits_for_plan(scheduler, ledger):
            failure = make_plan(ledger, settings, stopping)
            end = None if failure is None else (SearchStatus.FAILED, failure)
        if end is not None:
            if end[0] is SearchStatus.SUCCEEDED:
                compare_orders(ledger)
                measure_latencies(ledger, settings)
                measure_on_device(ledger, settings)
                measure_on_splits(ledger, settings, stopping)
                if stopping.is_set():
                    return None
            if ledger.finish(*end, under=scheduler.strategy):
                return end
        again = []
        stopping.wait(_POOL_POLL_S)
    return None


def _waits_for_plan(scheduler: TrialScheduler, ledger: Ledger) -> bool:
    needed = needs_plan(scheduler.strategy, ledger.history)
    return needed and ledger.pool()[0] is PoolStatus.READY


class _PoolGate:
    """Opens when the pool of teachers is ready; the run is RUNNING from then on."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._is_open = False

    def is_open(self) -> bool:
        if not self._is_open and self._ledger.pool()[0] is PoolStatus.READY:
            if self._ledger.extend_weak_pool():
                return False
            reason, warning = "base detector and pool are ready", self._ledger.compare_teachers()
            if warning is not None:
                reason += f"; warning: {warning}"
            self._ledger.write(queue.advance, SearchStatus.RUNNING, reason)
            self._is_open = True
        return self._is_open


def _end(finished: Finished | None, ledger: Ledger) -> tuple[SearchStatus, str] | None:
    """Return the final status and its reason; None if the run continues."""
    if finished is not None and finished.succeeded:
        return SearchStatus.SUCCEEDED, finished.reason
    if finished is not None:
        failure = ledger.read(last_failure, ledger.run_id)
        return SearchStatus.FAILED, f"{finished.reason}; {failure}"
    pool, reason = ledger.pool()
    if pool in (PoolStatus.FAILED, PoolStatus.CANCELLED):
        return SearchStatus.FAILED, f"its pool of teachers is {pool}: {reason}"
    return None


def _run_tuner(scheduler: TrialScheduler, ledger: Ledger, settings: Settings) -> None:
    storage = settings.data_folder.absolute() / "tune" / ledger.run_id
    shutil.rmtree(storage, ignore_errors=True)  # left by an earlier driver, never read
    run_tuner(
        scheduler,
        resolve(settings.trial_trainable),
        name=ledger.run_id,
        resources=ledger.spec.resources,
        worker_config={
            "module": settings.trial_module,
            "silence_s": settings.silence_s,
            "stop": ledger.stop_uri,
        },
        storage=storage,
    )
    shutil.rmtree(storage, ignore_errors=True)
