"""What a search's driver reads and writes: the database under its lease, and the artifact store.

Every method is one step that may be the last: killed between any two, a new driver goes on from
what is written. Knows no Ray and no torch.
"""

import json
import logging
from collections.abc import Mapping, Sequence

from searchd import artifacts
from searchd.domain.detector import Detector
from searchd.domain.errors import InvalidValueError
from searchd.domain.lifecycle import FailureCause, PoolStatus, SearchStatus, TrialStatus
from searchd.domain.progression import Plan
from searchd.domain.resolution import Resolution
from searchd.domain.subnet import Subnet
from searchd.domain.trial import (
    BASE_NAME,
    Outcome,
    Progress,
    Proposal,
    Report,
    TakeSubnet,
    TrialRole,
)
from searchd.driver.rules import rules_of
from searchd.driver.stages import handed_on
from searchd.search.score import score
from searchd.search.strategy import Completion, Strategy
from searchd.settings import Settings
from searchd.spec import (
    PLAN,
    REPORT,
    DatasetSpec,
    DistillationSpec,
    Inherited,
    LoadedBase,
    PoolRef,
    PoolSpec,
    ProgressiveSpec,
    SearchSpec,
    TrialOrder,
)
from searchd.store import Database, Lease, pools, trials, work
from searchd.store.lease import hold
from searchd.store.models import DatasetRow, PoolRow, SearchRow, TrialRow

log = logging.getLogger(__name__)

REPORT_FILE = "report.json"
"""In an attempt's folder; written last, so that its presence says that the attempt is complete."""
PLAN_FILE = "plan.json"
"""In the folder of a progressive search; its presence says that the teachers are chosen."""
STOP_FILE = "stop.json"
"""In the search's folder; while it exists, workers stop at the end of their slice."""


class Ledger:
    """The books of one search, kept by the driver that holds the lease.

    Every method that writes raises StaleLeaseError when the lease was lost.

    Args:
        database: Holds the search.
        lease: On the search's work.
        settings: Where artifacts lie, how long slices are, how often a trial is tried.
    """

    def __init__(self, database: Database, lease: Lease, settings: Settings) -> None:
        self._database = database
        self._lease = lease
        self._settings = settings
        with database.read() as session:
            row = session.get_one(SearchRow, work.get(session, lease.work_id).resource_id)
            dataset = session.get_one(DatasetRow, row.dataset_id)
            pool = session.get_one(PoolRow, row.pool_id)
        self.search_id = row.id
        self.spec: SearchSpec = row.spec
        self._pool_id = pool.id
        self.pool_spec: PoolSpec = pool.spec
        self.dataset: DatasetSpec = dataset.spec
        assert dataset.summary is not None  # a search is admitted once its data set is READY
        self._num_classes = len(dataset.summary["class_names"])

    @property
    def stop_uri(self) -> str:
        return artifacts.join(self._folder, STOP_FILE)

    def advance(self, to: SearchStatus, reason: str) -> None:
        """Move the search; nothing happens when it is there already."""
        with self._database.write() as session:
            work.advance(session, self._lease, to, reason)

    def finish(self, to: SearchStatus, reason: str) -> None:
        """End the search; trials that have not ended are cancelled."""
        with self._database.write() as session:
            work.finish(session, self._lease, to, reason)

    def status(self) -> SearchStatus:
        with self._database.read() as session:
            return session.get_one(SearchRow, self.search_id).status

    def pool(self) -> tuple[PoolStatus, str]:
        """Status of the pool of teachers, and the reason for it."""
        with self._database.read() as session:
            row = session.get_one(PoolRow, self._pool_id)
        return row.status, row.status_reason

    def strategy(self) -> Strategy:
        """The strategy with everything proposed and completed so far."""
        with self._database.read() as session:
            proposals = trials.proposals(session, self.search_id)
            completed = trials.completed(session, self.search_id)
        rules = rules_of(self.spec, self.pool_spec, self.plan())
        return Strategy(rules, proposals, [_completion(row) for row in completed])

    def adopt(self) -> list[Proposal]:
        """Take over from an earlier driver: record every report that was written and not recorded,
        so that nothing finished is trained again; what else was running is offered again.

        Returns:
            What is still to be run, in the order it was proposed.
        """
        with self._database.read() as session:
            rows = trials.unfinished(session, self.search_id)
        for row in rows:
            if row.status is TrialStatus.RUNNING:
                self._take_over(row.name)
        with self._database.read() as session:
            return [row.proposal for row in trials.unfinished(session, self.search_id)]

    def propose(self, proposal: Proposal) -> None:
        """Write a proposal down before anybody works on it."""
        with self._database.write() as session:
            trials.add(session, self._lease, proposal)

    def order(self, proposal: Proposal) -> TrialOrder:
        """What the next attempt at a proposed trial hands to its worker."""
        spec, role = self.spec, proposal.role
        takes_subnet = isinstance(proposal.change, TakeSubnet)
        with self._database.read() as session:
            attempt = trials.get(session, self._trial_id(proposal.name)).attempt + 1
            inherited = (
                None
                if proposal.parent is None or takes_subnet
                else trials.inherited(session, self.search_id, proposal.parent)
            )
            needs_pool = takes_subnet or proposal.teacher is not None
            pool = pools.reference(session, self._pool_id) if needs_pool else None
        distillation = spec.distillation if proposal.teacher else DistillationSpec(methods=())
        if isinstance(spec.strategy, ProgressiveSpec) and inherited is not None:
            teachers = self._teachers_before(proposal)
            inherited, distillation = handed_on(proposal.teacher, teachers, inherited, distillation)
        is_base = role is TrialRole.BASE
        resources = spec.resources
        return TrialOrder(
            search=self.search_id,
            proposal=proposal,
            attempt=attempt,
            dataset=self.dataset,
            detector=self._new_base() if is_base else None,
            loaded_base=self._loaded_base() if is_base else None,
            inherited=inherited,
            pool=pool,
            training=spec.base.training if is_base else spec.trial,
            distillation=distillation,
            score=spec.score,
            evaluated_at=spec.trial.resolutions,
            artifacts=self._attempt_folder(proposal.name, attempt),
            previous_attempts=tuple(
                self._attempt_folder(proposal.name, earlier)
                for earlier in range(attempt - 1, 0, -1)
            ),
            num_threads=max(1, int(resources.cpus_per_trial)),
            device="cuda" if resources.gpus_per_trial > 0 else "cpu",
            slice_s=self._settings.slice_s,
            checkpoint_s=self._settings.checkpoint_s,
        )

    def _teachers_before(self, proposal: Proposal) -> list[Subnet]:
        """That taught the ancestors, the parent's last."""
        assert proposal.parent is not None
        with self._database.read() as session:
            line = trials.ancestors(session, self._trial_id(proposal.parent))
            return [row.proposal.teacher for row in line if row.proposal.teacher is not None]

    def _new_base(self) -> Detector | None:
        architecture = self.spec.base.architecture
        if architecture is None:
            return None
        return self.spec.head.detector(architecture, self._num_classes)

    def _loaded_base(self) -> LoadedBase | None:
        mmdet = self.spec.base.mmdet
        return None if mmdet is None else LoadedBase(mmdet=mmdet, head=self.spec.head)

    def start(self, order: TrialOrder) -> None:
        """A worker has taken the order."""
        with self._database.write() as session:
            attempt = trials.start(session, self._lease, order.proposal.name)
        assert attempt == order.attempt  # one driver starts trials: the holder of the lease

    def progress(self, progress: Progress) -> None:
        """A worker said where it stands."""
        with self._database.write() as session:
            trials.record_progress(session, self._lease, progress)

    def record(self, report: Report) -> Completion | None:
        """A worker reported. Scores the student and ends the trial.

        Returns:
            What the strategy is to be told; None for a trial that was stopped.
        """
        scores = self._scores(report)
        with self._database.write() as session:
            row = trials.record_report(session, self._lease, report, scores)
        return None if row.completion is None else _completion(row)

    def lose(self, name: str, reason: str) -> Completion | None:
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
        with self._database.write() as session:
            attempt = trials.get(session, self._trial_id(name)).attempt
            if attempt < self._settings.max_attempts:
                trials.offer_again(session, self._lease, name, reason)
                return None
        return self.record(
            Report(
                trial=name,
                attempt=attempt,
                outcome=Outcome.FAILED,
                cause=FailureCause.WORKER_LOST,
                reason=f"{reason}; given up after {attempt} attempts",
            )
        )

    def last_failure(self) -> str:
        """Why the last trial that failed did, in words."""
        with self._database.read() as session:
            rows = trials.completed(session, self.search_id)
        failed = [row for row in rows if row.status is TrialStatus.FAILED]
        if not failed:
            return "no trial failed"
        return f"the last failure is trial {failed[-1].name} ({failed[-1].cause}): " + (
            failed[-1].status_reason
        )

    def scored(self) -> list[TrialRow]:
        """Trials that succeeded, with evaluations and files, in the order they ended."""
        with self._database.read() as session:
            rows = trials.scored(session, self.search_id)
            return [trials.get(session, row.id) for row in rows]

    def record_latencies(self, times: Mapping[int, tuple[float, float]]) -> None:
        """Replace latency_s and images_per_s of evaluations, given by their row's id."""
        with self._database.write() as session:
            trials.record_latencies(session, self._lease, times)

    def plan(self) -> Plan | None:
        """What a progressive search trains, once that is decided."""
        if not artifacts.exists(self._plan_uri):
            return None
        return PLAN.validate_python(artifacts.read_json(self._plan_uri))

    def write_plan(self, plan: Plan) -> None:
        """Decide what a progressive search trains, for good."""
        with self._database.write() as session:
            hold(session, self._lease)
        artifacts.write(self._plan_uri, PLAN.dump_json(plan), name="plan")

    def announce(self, messages: Sequence[str]) -> None:
        """Write down events of the search that no change of a status says; each once, however often
        it is announced."""
        with self._database.write() as session:
            work.announce(session, self._lease, messages)

    def pool_reference(self) -> PoolRef:
        """The trained pool as a worker finds it."""
        with self._database.read() as session:
            return pools.reference(session, self._pool_id)

    def student(self) -> Inherited:
        """The trained base as a worker finds it."""
        with self._database.read() as session:
            return trials.inherited(session, self.search_id, BASE_NAME)

    def cancel(self) -> None:
        """Running trials stop at the end of their slice; a worker that starts now stops at once."""
        self.advance(SearchStatus.CANCELLING, "a user asked to cancel; running trials are stopped")
        artifacts.write(self.stop_uri, json.dumps({"desired": "cancel"}).encode(), name="stop")

    @property
    def _plan_uri(self) -> str:
        return artifacts.join(self._folder, PLAN_FILE)

    @property
    def _folder(self) -> str:
        return artifacts.join(self._settings.artifact_root, "searches", self.search_id)

    def _attempt_folder(self, name: str, attempt: int) -> str:
        return artifacts.join(self._folder, name, f"attempt-{attempt}")

    def _trial_id(self, name: str) -> str:
        return trials.trial_id(self.search_id, name)

    def _take_over(self, name: str) -> None:
        report = self._written_report(name)
        if report is not None:
            self.record(report)
            return
        with self._database.write() as session:
            trials.offer_again(session, self._lease, name, "its driver died")

    def _written_report(self, name: str) -> Report | None:
        """The report of the latest attempt, if its worker came so far."""
        with self._database.read() as session:
            attempt = trials.get(session, self._trial_id(name)).attempt
        uri = artifacts.join(self._attempt_folder(name, attempt), REPORT_FILE)
        if not artifacts.exists(uri):
            return None
        log.info("%s: its report was written, and is recorded now", self._trial_id(name))
        return REPORT.validate_python(artifacts.read_json(uri))

    def _scores(self, report: Report) -> dict[Resolution, float]:
        """H(S, r) at every resolution (papers.md 1.3); nothing unless the trial succeeded."""
        if report.outcome is not Outcome.SUCCEEDED:
            return {}
        base_macs = report.base_macs if report.trial == BASE_NAME else self._base_macs()
        if report.base_macs is None or base_macs is None:
            raise InvalidValueError(
                f"trial {self._trial_id(report.trial)}: a success needs base_macs, "
                f"got {report.base_macs}; the base detector's are {base_macs}"
            )
        settings = self.spec.score
        return {
            evaluation.resolution: score(
                ap=evaluation.ap,
                macs=report.base_macs,
                base_macs=base_macs,
                resolution=evaluation.resolution,
                base_resolution=settings.base_resolution,
                alpha=settings.alpha,
                beta=settings.beta,
            )
            for evaluation in report.evaluations
        }

    def _base_macs(self) -> float | None:
        with self._database.read() as session:
            return trials.get(session, self._trial_id(BASE_NAME)).base_macs


def _completion(row: TrialRow) -> Completion:
    assert row.completion is not None  # set together with the outcome
    assert row.outcome is not None
    succeeded = row.outcome is Outcome.SUCCEEDED
    return Completion(
        sequence=row.completion,
        proposal=row.proposal,
        outcome=row.outcome,
        architecture=row.detector.architecture if succeeded and row.detector else None,
        score=row.score if succeeded else None,
    )
