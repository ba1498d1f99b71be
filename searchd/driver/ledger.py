"""What the driver of a search or a distillation reads and writes: the database under its lease,
and the artifact store.

Every method is one step that may be the last: killed between any two, a new driver goes on from
what is written. Knows no Ray and no torch.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Concatenate, ParamSpec, TypeVar

from sqlalchemy.orm import Session

from searchd import artifacts
from searchd.domain.lifecycle import FailureCause, PoolStatus, SearchStatus, TrialStatus
from searchd.domain.retries import final_reason, retry_of
from searchd.domain.trial import Outcome, Proposal
from searchd.driver.run import attempt_folder, load_run, run_folder
from searchd.driver.strategies import strategy_of
from searchd.driver.trial_failures import failure_of
from searchd.driver.trial_scores import remarks_on, scores_of
from searchd.driver.trial_tasks import early_stopping_rule, make_task
from searchd.messages.files import REPORT_FILE, STOP_FILE
from searchd.messages.reports import REPORT, Progress, Report
from searchd.messages.tasks import TrialTask
from searchd.search.ask_tell import AskTell, Completion
from searchd.search.strategies.base import Strategy
from searchd.settings import Settings
from searchd.spec import SearchSpec
from searchd.store import Database, Lease
from searchd.store.models import PoolRow, RunRow, TrialRow
from searchd.store.runs import completions, reports, trials
from searchd.store.work import queue
from searchd.store.work.lease import hold

log = logging.getLogger(__name__)
P = ParamSpec("P")
T = TypeVar("T")


class Ledger:
    """The books of one search or distillation, kept by the driver that holds the lease.

    Every method that writes raises StaleLeaseError when the lease was lost.

    Args:
        database: Holds the search.
        lease: On the search's work.
        settings: Where artifacts lie, how long slices are, how often a trial is tried.
        watch: Seconds that never go back.
    """

    def __init__(
        self,
        database: Database,
        lease: Lease,
        settings: Settings,
        watch: Callable[[], float] = time.monotonic,
    ) -> None:
        self._watch = watch
        self._noted_at: dict[str, float] = {}
        """watch() when the time that a worker has had a trial was last written down, by name."""
        self._database = database
        self._lease = lease
        self._settings = settings
        with database.read() as session:
            self.run = load_run(session, queue.get(session, lease.work_id).resource_id)
        self.run_id = self.run.id
        self.spec = self.run.spec
        self.dataset = self.run.dataset

    @property
    def stop_uri(self) -> str:
        return artifacts.join(self._folder, STOP_FILE)

    def read(
        self, query: Callable[Concatenate[Session, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Call a function of the store in a reading transaction; return its result."""
        with self._database.read() as session:
            return query(session, *args, **kwargs)

    def write(
        self, step: Callable[Concatenate[Session, Lease, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Call a function of the store, under the lease, in a transaction of its own."""
        with self._database.write() as session:
            return step(session, self._lease, *args, **kwargs)

    def row(self) -> RunRow:
        """Return the run as it is now: its status, its budget, its plan."""
        return self.read(Session.get_one, RunRow, self.run_id)

    def finish(self, to: SearchStatus, reason: str, *, under: Strategy) -> bool:
        """End the search, unless the user has given it another budget; trials that have not ended
        are cancelled.

        Args:
            to: A final status.
            reason: In words.
            under: The rules by which it has ended.

        Returns:
            False if it is to go on: the rules are others by now.
        """
        with self._database.write() as session:
            hold(session, self._lease)
            if self._strategy(session) != under:
                return False
            queue.finish(session, self._lease, to, reason)
        return True

    def stop(self) -> bool:
        """Pass on that the user wants it stopped: running trials stop at the end of their slice; a
        worker that starts now stops at once.

        Returns:
            False if the store takes no writes now, so that it is to be called again. To wait here
            would keep the driver from hearing of workers that wait for the same store, and give up.
        """
        self.write(queue.acknowledge_stop)
        try:
            artifacts.write(self.stop_uri, b"{}", name="stop", waits=False)
        except OSError as error:
            if not artifacts.refusal(error):
                raise
            log.warning("workers cannot be told to stop yet: %s", error)
            return False
        return True

    def stopped(self) -> tuple[SearchStatus, str]:
        """No worker has a trial any more, as the user wants it; where the search is now, and why.
        What its trials learned so far is in their checkpoints."""
        with self._database.write() as session:
            queue.stopped(session, self._lease)
            row = session.get_one(RunRow, self.run_id)
            return row.status, row.status_reason

    def clear_stop_flag(self) -> None:
        """Workers may run, although an earlier driver told its own to stop."""
        artifacts.delete(self.stop_uri, waits=True)

    def pool(self) -> tuple[PoolStatus, str]:
        """Status of the pool of teachers, and the reason for it."""
        if self.run.pool_id is None:
            return PoolStatus.READY, "none is needed"
        row = self.read(Session.get_one, PoolRow, self.run.pool_id)
        return row.status, row.status_reason

    def ask_tell(self) -> AskTell:
        """The strategy with everything proposed and completed so far."""
        with self._database.read() as session:
            run = session.get_one(RunRow, self.run_id)
            proposals = trials.proposals(session, self.run_id)
            return AskTell(self._strategy(session), proposals, completions.of_run(session, run))

    def strategy(self) -> Strategy:
        """By the plan and the budget of now, which the user may change at any time."""
        return self.read(self._strategy)

    def recover(self) -> list[Proposal]:
        """Take over from an earlier driver: record every report that was written and not recorded,
        so that nothing finished is trained again; what else was running is offered again.

        Returns:
            What is still to be run, in the order it was proposed.
        """
        for row in self.read(trials.unfinished, self.run_id):
            if row.attempt > 0:
                self._take_over(row)
        return [row.proposal for row in self.read(trials.unfinished, self.run_id)]

    def propose(self, proposal: Proposal) -> None:
        """Write a proposal down before anybody works on it."""
        self.write(trials.add, proposal)

    def task(self, proposal: Proposal) -> TrialTask:
        """What the next attempt at a proposed trial hands to its worker."""
        with self._database.read() as session:
            task = make_task(
                session,
                self.run,
                self._settings,
                proposal,
                session.get_one(RunRow, self.run_id).plan,
            )
            rule = early_stopping_rule(session, self.run, self._strategy(session), proposal)
            return task.model_copy(update={"early_stopping": rule})

    def start(self, task: TrialTask) -> None:
        """A worker has taken the order."""
        attempt = self.write(trials.start, task.proposal.name)
        assert attempt == task.attempt  # one driver starts trials: the holder of the lease
        self._noted_at[task.proposal.name] = self._watch()

    def progress(self, progress: Progress) -> None:
        """A worker said where it stands."""
        with self._database.write() as session:
            self._note_time(session, progress.trial)
            trials.record_progress(session, self._lease, progress)

    def record(self, report: Report) -> Completion | None:
        """A worker reported. Scores the student and ends the trial, unless it has failed of a cause
        that makes another try worth while (`searchd.domain.retries`): then it is PENDING again.

        Returns:
            What the strategy is to be told; None for a trial that was stopped or is tried again.
        """
        final = self._judge(report) if report.outcome is Outcome.FAILED else report
        if final is None:
            return None
        with self._database.write() as session:
            self._note_time(session, report.trial)
            scores = scores_of(session, self.run, final)
            row = reports.record(session, self._lease, final, scores)
            if row.completion is None:
                return None
            run = session.get_one(RunRow, self.run_id)
            told = completions.of_trial(trials.get(session, row.id), run.started_at)
            earlier = completions.of_run(session, run)
            queue.announce(session, self._lease, remarks_on(told, earlier, self.spec))
            return told

    def worker_lost(self, name: str, reason: str) -> Completion | None:
        """A worker ended without handing over a report.

        If the report had been written it is recorded. If not, the trial is PENDING again, or has
        failed when it was tried often enough.

        Returns:
            What the strategy is to be told; None if the trial is to be run again.
        """
        with self._database.write() as session:
            row = trials.get(session, self._trial_id(name))
            if row.status is TrialStatus.PENDING:  # its worker died before it began: counts too
                trials.start(session, self._lease, name, "a worker was started for it")
        report = self._written_report(name)
        if report is not None:
            return self.record(report)
        attempt = self.read(trials.get, self._trial_id(name)).attempt
        cause = FailureCause.WORKER_LOST
        return self.record(
            Report(trial=name, attempt=attempt, outcome=Outcome.FAILED, cause=cause, reason=reason)
        )

    def scored(self) -> list[TrialRow]:
        """Trials that succeeded, with evaluations and files, in the order they ended."""
        with self._database.read() as session:
            rows = trials.scored(session, self.run_id)
            return [trials.get(session, row.id) for row in rows]

    @property
    def _folder(self) -> str:
        return run_folder(self._settings, self.run_id)

    def _attempt_folder(self, name: str, attempt: int) -> str:
        return attempt_folder(self._settings, self.run_id, name, attempt)

    def _strategy(self, session: Session) -> Strategy:
        row = session.get_one(RunRow, self.run_id, populate_existing=True)
        spec = self.spec
        if isinstance(spec, SearchSpec) and row.budget is not None:
            spec = spec.model_copy(update={"budget": row.budget})
        return strategy_of(spec, self.run.pool_spec, row.plan)

    def _trial_id(self, name: str) -> str:
        return trials.trial_id(self.run_id, name)

    def _take_over(self, row: TrialRow) -> None:
        """Of a trial that was started: record its report, or see to it that it is run again."""
        report = self._written_report(row.name)
        if row.status is TrialStatus.RUNNING:
            if report is not None:
                self.record(report)
                return
            self.write(trials.requeue_trial, row.name, "its driver died")
        elif report is not None and report.outcome.is_settled:
            # It was stopped from outside, as by a kill, when it had just come so far.
            self.write(trials.start, row.name, "its report was written before")
            self.record(report)

    def _judge(self, report: Report) -> Report | None:
        """Offer a trial of which an attempt has failed again, if its cause says so.

        Returns:
            The report that ends the trial, or None if it is tried again.
        """
        with self._database.write() as session:
            row = trials.get(session, self._trial_id(report.trial))
            if row.status is not TrialStatus.RUNNING or report.attempt != row.attempt:
                return report  # it was decided before
            failure = failure_of(session, self.run, row, report)
            retry = retry_of(failure, row.adjustments, max_losses=self._settings.max_attempts)
            if retry is None:
                return replace(report, reason=final_reason(failure, row.adjustments))
            self._note_time(session, report.trial)
            trials.try_again(
                session,
                self._lease,
                row.name,
                retry.reason,
                retry.adjustments,
                parent=failure.other_parent,
            )
        return None

    def _note_time(self, session: Session, name: str) -> None:
        """Write down the time that a worker has had the trial since that was done last. What passed
        before this driver came is not known, but for what its predecessor wrote down."""
        now_s = self._watch()
        passed_s = now_s - self._noted_at.get(name, now_s)
        self._noted_at[name] = now_s
        trials.add_busy(session, self._lease, name, passed_s)

    def _written_report(self, name: str) -> Report | None:
        """The report of the latest attempt, if its worker came so far."""
        attempt = self.read(trials.get, self._trial_id(name)).attempt
        uri = artifacts.join(self._attempt_folder(name, attempt), REPORT_FILE)
        if not artifacts.exists(uri):
            return None
        log.info("%s: its report was written, and is recorded now", self._trial_id(name))
        return REPORT.validate_python(artifacts.read_json(uri))
