"""The records of a run (a search or a distillation) as its driver reads and writes them: the
database, under the driver's lease, and the artifact store.

A driver may be killed between any two calls: a new driver resumes from what is stored. Imports
neither Ray nor torch.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Concatenate, ParamSpec, TypeVar

from sqlalchemy import select
from sqlalchemy.orm import Session

from searchd import artifacts
from searchd.domain.lifecycle import FailureCause, PoolStatus, SearchStatus, TrialStatus
from searchd.domain.retries import final_reason, retry_of
from searchd.domain.subnet import Subnet
from searchd.domain.trial import Outcome, Proposal
from searchd.driver.run import attempt_folder, load_run, run_folder
from searchd.driver.run_facts import RunFacts
from searchd.driver.strategies import strategy_of
from searchd.driver.trial_failures import failure_of
from searchd.driver.trial_scores import remark_on_teacher, remarks_on, scores_of
from searchd.driver.trial_tasks import early_stopping_rule, make_task, needs_pool
from searchd.messages.codecs import REPORT
from searchd.messages.files import REPORT_FILE, STOP_FILE
from searchd.messages.reports import Progress, Report
from searchd.messages.tasks import TrialTask
from searchd.search.growing_history import History
from searchd.search.history import Completion
from searchd.search.strategies.base import Strategy
from searchd.search.strategies.progressive_distillation import Progressive
from searchd.settings import Settings
from searchd.spec import SearchSpec
from searchd.store import Database, Lease
from searchd.store.models import PoolRow, RunRow, TrialRow
from searchd.store.runs import completions, reports, teacher_aps, trials
from searchd.store.runs.fronts import FrontKeeper
from searchd.store.runs.incumbents import tell_new_incumbent
from searchd.store.runs.pool_extension import extend_weak_pool
from searchd.store.work import queue
from searchd.store.work.lease import hold

log = logging.getLogger(__name__)

_CHANGING = select(RunRow.budget, RunRow.plan, RunRow.teacher_aps)
"""What of a run may change while its driver runs, besides its status."""
P = ParamSpec("P")
T = TypeVar("T")


class Ledger:
    """The records of one run, for the driver that holds the lease.

    Every method that writes raises StaleLeaseError if the lease was lost.

    Args:
        database: The database with the run.
        lease: The lease on the run's work.
        settings: The root of artifacts, the length of slices, the number of attempts at a trial.
        watch: A monotonic clock, in seconds.

    Attributes:
        run: The run as it was submitted, with the resources that it names.
        run_id: Its id.
        spec: Its spec.
        dataset: The spec of its data set.
    """

    def __init__(
        self,
        database: Database,
        lease: Lease,
        settings: Settings,
        watch: Callable[[], float] = time.monotonic,
    ) -> None:
        self._watch = watch
        self._history: History | None = None
        self._noted_at: dict[str, float] = {}
        """watch() when the time of a trial in a worker was last recorded, by the trial's name."""
        self.data_error = ""
        """Why a worker could not use the data set; empty if none has failed so. Further trials
        would fail too, or see other data than those before."""
        self._database = database
        self._lease = lease
        self._settings = settings
        with database.read() as session:
            self.run = load_run(session, queue.get(session, lease.work_id).resource_id)
        self.run_id = self.run.id
        self._fronts = FrontKeeper(self.run_id)
        self._facts = RunFacts(self.run)
        self.spec = self.run.spec
        self.dataset = self.run.dataset

    @property
    def stop_uri(self) -> str:
        """URI of the file whose existence signals workers to stop."""
        return artifacts.join(run_folder(self._settings, self.run_id), STOP_FILE)

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
        """End the run, unless its budget was changed in the meantime. Unfinished trials are
        cancelled.

        Args:
            to: A final status.
            reason: The reason as users see it.
            under: The strategy that has ended it.

        Returns:
            False if the strategy is another one now, so that the run continues.
        """
        with self._database.write() as session:
            hold(session, self._lease)
            if self._strategy(session) != under:
                return False
            queue.finish(session, self._lease, to, reason)
        return True

    def stop(self) -> bool:
        """Signal the workers to stop: running trials stop at the end of their slice, and a worker
        that starts now stops at once.

        Returns:
            False if the artifact store accepts no writes now: call it again. It does not wait,
            since workers may wait for the same store, and the driver must receive their failures.
        """
        self.write(queue.acknowledge_stop)
        try:
            artifacts.write(self.stop_uri, b"{}", name="stop", waits=False)
        except OSError as error:
            if not artifacts.refusal(error):
                raise
            log.warning("workers cannot be signalled to stop yet: %s", error)
            return False
        return True

    def stopped(self) -> tuple[SearchStatus, str]:
        """Record that no worker has a trial any more, as the user asked: unfinished ones resume
        from their checkpoints. Return the status of the run now, and its reason."""
        with self._database.write() as session:
            queue.stopped(session, self._lease)
            row = session.get_one(RunRow, self.run_id)
            return row.status, row.status_reason

    def clear_stop_flag(self) -> None:
        """Let workers run again after an earlier driver signalled its workers to stop."""
        artifacts.delete(self.stop_uri, waits=True)

    def pool(self) -> tuple[PoolStatus, str]:
        """Return the status of the pool of teachers and its reason; READY if there is no pool."""
        if self.run.pool_id is None:
            return PoolStatus.READY, "none is needed"
        row = self.read(Session.get_one, PoolRow, self.run.pool_id)
        return row.status, row.status_reason

    @property
    def history(self) -> History:
        """Everything proposed and completed so far. It is read from the database once, and then
        extended by what this driver writes: only the holder of the lease proposes and ends
        trials."""
        if self._history is None:
            with self._database.read() as session:
                run = session.get_one(RunRow, self.run_id)
                self._history = completions.history(session, run)
        return self._history

    def strategy(self) -> Strategy:
        """Return the strategy with the present plan and budget. A user may change the budget at any
        time."""
        return self.read(self._strategy)

    def recover(self) -> list[Proposal]:
        """Take over from an earlier driver: record every report that only the artifact store has,
        so that nothing finished is trained again, and requeue other running trials.

        Returns:
            The proposals that must still run, in the order in which they were made.
        """
        for row in self.read(trials.unfinished, self.run_id):
            if row.attempt > 0:
                self._take_over(row)
        return [row.proposal for row in self.read(trials.unfinished, self.run_id)]

    def extend_weak_pool(self) -> bool:
        """Let the pool of a search be trained further, if its spec asks for that and its teachers
        are too weak. Return whether the search waits for this other pool now."""
        if self.write(extend_weak_pool) is None:
            return False
        self.run = self.read(load_run, self.run_id)
        self._facts = RunFacts(self.run)
        return True

    def compare_teachers(self) -> str | None:
        """Record the APs of a search's teachers, which the strategy sees from now on, before its
        first search trial.

        Returns:
            Why these teachers will hardly help, with what to do; None if nothing is known against
            them.
        """
        self.write(teacher_aps.record)
        return self.read(lambda session: teacher_aps.warning(session, self.row()))

    def propose(self, proposal: Proposal, strategy: Strategy | None = None) -> None:
        """Record a proposal of the given strategy, or of the present one, before a worker gets
        it."""
        history = self.history
        remark = remark_on_teacher(strategy or self.strategy(), proposal, history.accepted)
        with self._database.write() as session:
            trials.add(session, self._lease, proposal, position=len(history.proposals))
            if remark is not None:
                key = f"teacher:{proposal.name}"
                queue.record_once(session, self._lease, key, [remark])
        self._history = history.proposing(proposal)

    def task(self, proposal: Proposal, strategy: Strategy | None = None) -> TrialTask:
        """Return the task of the next attempt at a trial of the given strategy, or of the present
        one."""
        with self._database.read() as session:
            strategy = strategy or self._strategy(session)
            plan = strategy.plan if isinstance(strategy, Progressive) else None
            pool = self._facts.pool(session) if needs_pool(proposal) else None
            task = make_task(session, self.run, self._settings, proposal, plan, pool)
            seen = self.history.seen_by(proposal.name)
            base_cost = self._facts.base_cost(session)
            rule = early_stopping_rule(self.run, strategy, proposal, seen, base_cost)
        return task.model_copy(update={"early_stopping": rule})

    def start(self, task: TrialTask) -> None:
        """Record that a worker has started an attempt."""
        attempt = self.write(trials.start, task.proposal.name)
        assert attempt == task.attempt  # one driver starts trials: the holder of the lease
        self._noted_at[task.proposal.name] = self._watch()

    def progress(self, progress: Progress) -> None:
        """Record a worker's progress."""
        busy_s = self._busy_s(progress.trial)
        self.write(trials.record_progress, progress, busy_s=busy_s)

    def record(self, report: Report) -> Completion | None:
        """Record a worker's report: score the student and end the trial. A trial that failed for a
        cause that is retried (`searchd.domain.retries`) is PENDING again instead.

        Returns:
            The completion for the strategy; None for a trial that was stopped or is retried.
        """
        final = self._judge(report) if report.outcome is Outcome.FAILED else report
        if final is None:
            return None
        if final.cause is FailureCause.DATA_ERROR:
            self.data_error = f"trial {final.trial}: {final.reason}"
        history, busy_s = self.history, self._busy_s(report.trial)
        with self._database.write() as session:
            row = reports.record(
                session,
                self._lease,
                final,
                scores_of(self.run, final, self._facts.base_cost(session)),
                fronts=self._fronts,
                completion=len(history.completions),
                busy_s=busy_s,
            )
            if row.completion is None:
                return None
            started_at, kind = self._facts.started_at(session), self.spec.score.accuracy
            completion = completions.of_trial(row, started_at, kind)
            if completion.sequence < len(history.completions):  # it was recorded before
                return completion
            before, history = history, history.after(completion)
            remarks = remarks_on(completion, history.ended, self.spec)
            queue.record_once(session, self._lease, f"remarks:{row.name}", remarks)
            if isinstance(self.spec, SearchSpec):
                tell_new_incumbent(session, self.run_id, before.accepted, history.accepted)
        self._history = history
        self._fronts.keep()
        return completion

    def worker_lost(self, name: str, reason: str) -> Completion | None:
        """Record that a worker ended without sending a report.

        A report in the artifact store is recorded. Without one the trial is PENDING again, or has
        failed after its last attempt.

        Returns:
            The completion for the strategy; None if the trial is retried.
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
        """Return the trials that succeeded, with evaluations and files, in the order in which they
        ended."""
        with self._database.read() as session:
            rows = trials.scored(session, self.run_id)
            return [trials.get(session, row.id) for row in rows]

    def _strategy(self, session: Session) -> Strategy:
        row = session.execute(_CHANGING.where(RunRow.id == self.run_id)).one()
        spec = self.spec
        if isinstance(spec, SearchSpec) and row.budget is not None:
            spec = spec.model_copy(update={"budget": row.budget})
        registered = [each for each in self.run.teachers.values() if not isinstance(each, Subnet)]
        return strategy_of(
            spec,
            self.run.pool_spec,
            row.plan,
            registered=registered,
            measured=row.teacher_aps,
            device_round_to=self.run.device_round_to,
        )

    def _trial_id(self, name: str) -> str:
        return trials.trial_id(self.run_id, name)

    def _take_over(self, row: TrialRow) -> None:
        """Record the report of a trial that was started, or requeue the trial."""
        report = self._written_report(row.name)
        if row.status is TrialStatus.RUNNING:
            if report is not None:
                self.record(report)
                return
            self.write(trials.requeue_trial, row.name, "its driver died")
        elif report is not None and report.outcome.is_settled:
            # It was killed just after it had written its report.
            self.write(trials.start, row.name, "its report was found")
            self.record(report)

    def _judge(self, report: Report) -> Report | None:
        """Retry a trial of which an attempt has failed, if its cause is retried.

        Returns:
            The report that ends the trial, or None if it is retried.
        """
        with self._database.write() as session:
            row = trials.get(session, self._trial_id(report.trial))
            if row.status is not TrialStatus.RUNNING or report.attempt != row.attempt:
                return report  # it was judged before
            failure = failure_of(session, self.run, row, report)
            retry = retry_of(failure, row.adjustments, max_losses=self._settings.max_attempts)
            if retry is None:
                return replace(report, reason=final_reason(failure, row.adjustments))
            trials.retry(
                session,
                self._lease,
                row.name,
                retry.reason,
                retry.adjustments,
                parent=failure.other_parent,
                busy_s=self._busy_s(report.trial),
            )
        return None

    def _busy_s(self, name: str) -> float:
        """Return the seconds that the trial has spent in a worker since this was last asked. Time
        before this driver started counts as far as an earlier driver recorded it."""
        now_s = self._watch()
        passed_s = now_s - self._noted_at.get(name, now_s)
        self._noted_at[name] = now_s
        return passed_s

    def _written_report(self, name: str) -> Report | None:
        """Return the latest attempt's report from the artifact store, or None if there is none."""
        attempt = self.read(trials.get, self._trial_id(name)).attempt
        folder = attempt_folder(self._settings, self.run_id, name, attempt)
        uri = artifacts.join(folder, REPORT_FILE)
        if not artifacts.exists(uri):
            return None
        log.info("%s: found its report in the artifact store; recording it", self._trial_id(name))
        return REPORT.validate_python(artifacts.read_json(uri))
