"""Ray Tune around a pure strategy: Tune runs what the strategy proposes, the ledger records both.

Tune asks for trials and reports how they ended; the strategy decides. Tune's own snapshots are
never used: a new driver resumes from the database. Does not import torch.
"""

import logging
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ray import tune
from ray.tune.experiment import Trial
from ray.tune.search import Searcher
from typing_extensions import override

from searchd.domain.trial import Proposal
from searchd.driver.ledger import Ledger
from searchd.messages.codecs import PROGRESS, REPORT
from searchd.messages.reports import Progress, Report
from searchd.messages.tasks import TrialTask
from searchd.search.ask_tell import Completion, Finished, decide
from searchd.spec import ResourcesSpec

log = logging.getLogger(__name__)

PROGRESS_INTERVAL_S = 1.0
"""The shortest time between two records of a trial's progress."""
PASS_ON_INTERVAL_S = 1.0
"""Time between two attempts to signal workers to stop, while the store accepts no writes."""
_QUIET = {"RAY_AIR_NEW_OUTPUT": "0", "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1"}
"""Tune prints no tables and writes no result files: the database has them."""


@dataclass(slots=True)
class _InFlight:
    task: TrialTask
    has_started: bool = False
    """Whether a worker has it; before that, Tune may wait for resources for a long time."""
    written_at: float = float("-inf")
    """clock() when its progress was last recorded."""


class Observer(Protocol):
    """Is told what happens to trials, after it was recorded. It must not raise."""

    def progress(self, progress: Progress) -> None:
        """A running trial has made progress."""

    def ended(self) -> None:
        """A trial has ended."""


class TrialScheduler:
    """Decides what Tune runs next, and records what Tune receives. Not thread-safe.

    Args:
        ledger: Has the history, and records everything.
        again: Trials that were proposed earlier and must still run; they come first.
        is_stopping: Returns whether the user asked to pause or cancel the run.
        may_search: Called once the base is trained; returns whether trials with teachers may start.
        observer: Is told of progress and ends.
        clock: A monotonic clock, in seconds.

    Attributes:
        strategy: The strategy of the latest decision.
        finished: The strategy's last decision, once it proposes nothing more.
    """

    def __init__(
        self,
        ledger: Ledger,
        *,
        again: Iterable[Proposal],
        is_stopping: Callable[[], bool],
        may_search: Callable[[], bool],
        observer: Observer | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.strategy = ledger.strategy()
        self.finished: Finished | None = None
        self._ledger = ledger
        self._again = deque(again)
        self._is_stopping = is_stopping
        self._may_search = may_search
        self._observer = observer
        self._clock = clock
        self._in_flight: dict[str, _InFlight] = {}
        self._has_passed_on = False
        self._pass_on_at = float("-inf")

    @property
    def is_idle(self) -> bool:
        """Whether nothing is in flight."""
        return not self._in_flight

    @property
    def may_end(self) -> bool:
        """Whether the user asked to stop and no worker has a trial, so that nothing is left to wait
        for."""
        return self._is_stopping() and not any(t.has_started for t in self._in_flight.values())

    def acknowledge_stop(self) -> None:
        """Signal the workers to stop if the user asked for it. Must be called often."""
        if not self._is_stopping() or self._has_passed_on or self._clock() < self._pass_on_at:
            return
        self._has_passed_on = self._ledger.stop()
        self._pass_on_at = self._clock() + PASS_ON_INTERVAL_S

    def next(self, tune_id: str) -> TrialTask | None:
        """Return the task of Tune's trial `tune_id`, or None if there is none now.

        None while nothing is in flight means that this Tuner has nothing left to do.
        """
        proposal = None if self._is_stopping() else self._next_proposal()
        if proposal is None:
            return None
        task = self._ledger.task(proposal, self.strategy)
        self._in_flight[tune_id] = _InFlight(task)
        return task

    def started(self, tune_id: str) -> None:
        """Record that a worker has started the trial."""
        trial = self._in_flight[tune_id]
        trial.has_started = True
        self._ledger.start(trial.task)

    def progressed(self, tune_id: str, progress: Progress) -> None:
        """Record a worker's progress."""
        trial = self._in_flight[tune_id]
        if self._clock() - trial.written_at >= PROGRESS_INTERVAL_S:
            trial.written_at = self._clock()
            self._ledger.progress(progress)
            if self._observer is not None:
                self._observer.progress(progress)

    def reported(self, tune_id: str, report: Report) -> None:
        """Record a worker's report."""
        proposal = self._in_flight.pop(tune_id).task.proposal
        self._take_in(proposal, self._ledger.record(report))

    def lost(self, tune_id: str) -> None:
        """Record that a trial ended without a report."""
        proposal = self._in_flight.pop(tune_id).task.proposal
        self._take_in(proposal, self._ledger.worker_lost(proposal.name, "its worker was lost"))

    def _next_proposal(self) -> Proposal | None:
        if self._again:
            return self._again.popleft()
        if self._ledger.history.has_base and not self._may_search():
            return None
        self.strategy = self._ledger.strategy()
        decision = decide(self.strategy, self._ledger.history)
        if isinstance(decision, Proposal):
            self._ledger.propose(decision, self.strategy)
            return decision
        if isinstance(decision, Finished):
            self.finished = decision
        return None

    def _take_in(self, proposal: Proposal, completion: Completion | None) -> None:
        if completion is not None:
            if self._observer is not None:
                self._observer.ended()
        elif not self._is_stopping():
            self._again.append(proposal)


def run_tuner(
    scheduler: TrialScheduler,
    trainable: type[tune.Trainable],
    *,
    name: str,
    resources: ResourcesSpec,
    worker_config: Mapping[str, object],
    storage: Path,
) -> None:
    """Run trials until the scheduler has nothing left and nothing is in flight. Then all workers
    have ended and their resources are free.

    Args:
        scheduler: Decides what to run.
        trainable: Runs a `TrialTask`; see `workers.trial.trainable`.
        name: Name of the Tune experiment.
        resources: What each trial reserves, and how many run at once.
        worker_config: Further configuration of the trainable.
        storage: Folder for Tune's own files.

    Raises:
        TuneError: The ledger refused a write, as when the lease was lost.
    """
    os.environ.update(_QUIET)
    logging.getLogger("ray.tune.analysis").setLevel(logging.ERROR)  # misses those result files
    constants = {
        **worker_config,
        "cpus": resources.cpus_per_trial,
        "gpus": resources.gpus_per_trial,
    }
    tuner = tune.Tuner(
        trainable,
        tune_config=tune.TuneConfig(
            search_alg=_Searcher(scheduler, constants),
            num_samples=-1,
            # More would be proposed from parents that a running trial is about to beat.
            max_concurrent_trials=resources.trials_in_flight,
            reuse_actors=True,
            trial_name_creator=_name,
            trial_dirname_creator=_name,
        ),
        run_config=tune.RunConfig(
            name=name,
            storage_path=str(storage),
            callbacks=[_Callback(scheduler)],
            stop=_Stopper(scheduler),
            failure_config=tune.FailureConfig(max_failures=0),
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            verbose=0,
        ),
    )
    tuner.fit()


class _Searcher(Searcher):
    """Forwards Tune's requests for trials to the scheduler."""

    def __init__(self, scheduler: TrialScheduler, constants: Mapping[str, object]) -> None:
        super().__init__()
        self._scheduler = scheduler
        self._constants = constants

    @override
    def suggest(self, trial_id: str) -> Any:
        # A configuration, None or FINISHED; Ray's annotation lacks FINISHED.
        task = self._scheduler.next(trial_id)
        if task is not None:
            trial = f"{task.search}-{task.proposal.name}"
            name = f"{trial}-attempt-{task.attempt}"
            return {**self._constants, "name": name, "task": task.model_dump_json()}
        # FINISHED cannot be revoked, so it is returned only when nothing can follow.
        return self.FINISHED if self._scheduler.is_idle else None

    @override
    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        # Only a result marked final is a report: a trial that Tune stops looks like a success.
        if result is not None and result.get("final") and not error:
            self._scheduler.reported(trial_id, REPORT.validate_json(result["report"]))
        else:
            self._scheduler.lost(trial_id)

    @override
    def save(self, checkpoint_path: str) -> None:
        """Do nothing: everything is in the database."""

    @override
    def restore(self, checkpoint_path: str) -> None:
        raise NotImplementedError("a search resumes from the database, not from Tune's snapshot")

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles its configuration, and a database connection cannot be


class _Callback(tune.Callback):
    """Forwards what Tune receives from running trials to the scheduler."""

    def __init__(self, scheduler: TrialScheduler) -> None:
        self._scheduler = scheduler

    @override
    def on_step_begin(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        self._scheduler.acknowledge_stop()

    @override
    def on_trial_start(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        self._scheduler.started(trial.trial_id)

    @override
    def on_trial_result(
        self,
        iteration: int,
        trials: list[Trial],
        trial: Trial,
        result: dict[str, Any],
        **info: Any,
    ) -> None:
        if not result["final"]:
            progress = PROGRESS.validate_json(result["progress"])
            self._scheduler.progressed(trial.trial_id, progress)

    def __getstate__(self) -> dict[str, Any]:
        return {}  # see _Searcher


class _Stopper(tune.Stopper):
    """Ends a Tuner that must stop while its trials wait for resources.

    Running trials end by themselves: `stop_all` would not report to the searcher how they ended.
    """

    def __init__(self, scheduler: TrialScheduler) -> None:
        self._scheduler = scheduler

    @override
    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    @override
    def stop_all(self) -> bool:
        return self._scheduler.may_end

    def __getstate__(self) -> dict[str, Any]:
        return {}  # see _Searcher


def _name(trial: Trial) -> str:
    return str(trial.config["name"])
