"""What the driver of a search or a distillation reads and writes: the database under its lease,
and the artifact store.

Every method is one step that may be the last: killed between any two, a new driver goes on from
what is written. Knows no Ray and no torch.
"""

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from sqlalchemy.orm import Session

from searchd import artifacts
from searchd.domain.distillation_plan import Plan
from searchd.domain.lifecycle import FailureCause, PoolStatus, SearchStatus, TrialStatus
from searchd.domain.retries import final_reason, retry_of
from searchd.domain.subnet import Subnet
from searchd.domain.teacher import RegisteredTeacher
from searchd.domain.trial import BASE_NAME, Outcome, Proposal
from searchd.driver.run import attempt_folder, load_run, run_folder
from searchd.driver.strategies import strategy_of
from searchd.driver.trial_failures import failure_of
from searchd.driver.trial_scores import remarks_on, scores_of
from searchd.driver.trial_tasks import early_stopping_rule, make_task, student_of
from searchd.messages.files import REPORT_FILE, STOP_FILE
from searchd.messages.reports import REPORT, Progress, Report
from searchd.messages.tasks import Inherited, PoolRef, TeacherRef, TrialTask
from searchd.search.ask_tell import AskTell, Completion
from searchd.search.strategies.base import Strategy
from searchd.settings import Settings
from searchd.spec import SearchSpec
from searchd.store import Database, Lease
from searchd.store.models import PoolRow, RunRow, TrialRow
from searchd.store.resources import distillations, pools, teachers
from searchd.store.runs import adaptation_costs, completions, reports, trials
from searchd.store.work import queue
from searchd.store.work.lease import hold

log = logging.getLogger(__name__)


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

    def advance(self, to: SearchStatus, reason: str) -> None:
        """Move the search; nothing happens when it is there already."""
        with self._database.write() as session:
            queue.advance(session, self._lease, to, reason)

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
        with self._database.write() as session:
            queue.acknowledge_stop(session, self._lease)
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

    def status(self) -> SearchStatus:
        with self._database.read() as session:
            return session.get_one(RunRow, self.run_id).status

    def pool(self) -> tuple[PoolStatus, str]:
        """Status of the pool of teachers, and the reason for it."""
        if self.run.pool_id is None:
            return PoolStatus.READY, "none is needed"
        with self._database.read() as session:
            row = session.get_one(PoolRow, self.run.pool_id)
        return row.status, row.status_reason

    def ask_tell(self) -> AskTell:
        """The strategy with everything proposed and completed so far."""
        with self._database.read() as session:
            run = session.get_one(RunRow, self.run_id)
            proposals = trials.proposals(session, self.run_id)
            return AskTell(self._strategy(session), proposals, completions.of_run(session, run))

    def strategy(self) -> Strategy:
        """By the plan and the budget of now, which the user may change at any time."""
        with self._database.read() as session:
            return self._strategy(session)

    def recover(self) -> list[Proposal]:
        """Take over from an earlier driver: record every report that was written and not recorded,
        so that nothing finished is trained again; what else was running is offered again.

        Returns:
            What is still to be run, in the order it was proposed.
        """
        with self._database.read() as session:
            rows = trials.unfinished(session, self.run_id)
        for row in rows:
            if row.attempt > 0:
                self._take_over(row)
        with self._database.read() as session:
            return [row.proposal for row in trials.unfinished(session, self.run_id)]

    def propose(self, proposal: Proposal) -> None:
        """Write a proposal down before anybody works on it."""
        with self._database.write() as session:
            trials.add(session, self._lease, proposal)

    def task(self, proposal: Proposal) -> TrialTask:
        """What the next attempt at a proposed trial hands to its worker."""
        with self._database.read() as session:
            task = make_task(session, self.run, self._settings, proposal, self._plan(session))
            rule = early_stopping_rule(session, self.run, self._strategy(session), proposal)
            return task.model_copy(update={"early_stopping": rule})

    def start(self, task: TrialTask) -> None:
        """A worker has taken the order."""
        with self._database.write() as session:
            attempt = trials.start(session, self._lease, task.proposal.name)
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
            remarks = remarks_on(told, earlier, self.spec)
            queue.record_once(session, self._lease, f"remarks:{row.name}", remarks)
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
        with self._database.read() as session:
            attempt = trials.get(session, self._trial_id(name)).attempt
        cause = FailureCause.WORKER_LOST
        return self.record(
            Report(trial=name, attempt=attempt, outcome=Outcome.FAILED, cause=cause, reason=reason)
        )

    def last_failure(self) -> str:
        """Why the last trial that failed did, in words."""
        with self._database.read() as session:
            rows = trials.completed(session, self.run_id)
        failed = [row for row in rows if row.status is TrialStatus.FAILED]
        if not failed:
            return "no trial failed"
        return f"the last failure is trial {failed[-1].name} ({failed[-1].cause}): " + (
            failed[-1].status_reason
        )

    def scored(self) -> list[TrialRow]:
        """Trials that succeeded, with evaluations and files, in the order they ended."""
        with self._database.read() as session:
            rows = trials.scored(session, self.run_id)
            return [trials.get(session, row.id) for row in rows]

    def record_latencies(self, times: Mapping[int, tuple[float, float]]) -> None:
        """Replace latency_s and images_per_s of evaluations, given by their row's id."""
        with self._database.write() as session:
            trials.record_latencies(session, self._lease, times)

    def plan(self) -> Plan | None:
        """What a distillation trains, once that is decided."""
        with self._database.read() as session:
            return self._plan(session)

    def write_plan(self, plan: Plan, messages: Sequence[str]) -> None:
        """Decide what a distillation trains, for good, and say why."""
        with self._database.write() as session:
            distillations.record_plan(session, self._lease, plan)
            queue.record_once(session, self._lease, "plan", messages)

    def record_once(self, key: str, messages: Sequence[str]) -> None:
        """Record events of the run other than changes of its status; see `queue.record_once`."""
        with self._database.write() as session:
            queue.record_once(session, self._lease, key, messages)

    def pool_reference(self) -> PoolRef | None:
        """The trained pool as a worker finds it."""
        if self.run.pool_id is None:
            return None
        with self._database.read() as session:
            return pools.reference(session, self.run.pool_id)

    def teacher_references(self) -> dict[str, Subnet | TeacherRef]:
        """The teachers of a distillation as a worker finds them, by name."""
        with self._database.read() as session:
            return {
                name: teachers.reference(session, teacher.teacher)
                if isinstance(teacher, RegisteredTeacher)
                else teacher
                for name, teacher in self.run.teachers.items()
            }

    def student(self) -> Inherited:
        """The trained base as a worker finds it."""
        with self._database.read() as session:
            return student_of(session, self.run, BASE_NAME)

    def known_costs(self, keys: Iterable[str]) -> dict[str, float]:
        """Adaptation costs that anybody measured before, by their key."""
        with self._database.read() as session:
            return adaptation_costs.known(session, keys)

    def keep_cost(self, key: str, of: Mapping[str, object], cost: float) -> None:
        """An adaptation cost was measured; see `searchd.store.runs.adaptation_costs.keep`."""
        with self._database.write() as session:
            adaptation_costs.keep(session, key, of, cost)

    @property
    def _folder(self) -> str:
        return run_folder(self._settings, self.run_id)

    def _attempt_folder(self, name: str, attempt: int) -> str:
        return attempt_folder(self._settings, self.run_id, name, attempt)

    def _plan(self, session: Session) -> Plan | None:
        return session.get_one(RunRow, self.run_id).plan

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
            with self._database.write() as session:
                trials.requeue_trial(session, self._lease, row.name, "its driver died")
        elif report is not None and report.outcome.is_settled:
            # It was stopped from outside, as by a kill, when it had just come so far.
            with self._database.write() as session:
                trials.start(session, self._lease, row.name, "its report was written before")
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
            trials.retry(
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
        with self._database.read() as session:
            attempt = trials.get(session, self._trial_id(name)).attempt
        uri = artifacts.join(self._attempt_folder(name, attempt), REPORT_FILE)
        if not artifacts.exists(uri):
            return None
        log.info("%s: its report was written, and is recorded now", self._trial_id(name))
        return REPORT.validate_python(artifacts.read_json(uri))
