"""Trials, and the evaluations of their students at each resolution."""

from datetime import datetime

from pydantic import TypeAdapter
from sqlalchemy import BigInteger, ForeignKey, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from searchd.domain.accuracy import ApKind
from searchd.domain.detector import Detector
from searchd.domain.lifecycle import FailureCause, TrialStatus
from searchd.domain.method_set import MethodSet
from searchd.domain.subnet import Subnet
from searchd.domain.teacher import Teaching
from searchd.domain.trial import Outcome, Proposal, TrialRole
from searchd.messages.reports import Progress, SanityChecks
from searchd.search.history import OperatingPoint
from searchd.spec.codecs import DETECTOR, PROPOSAL, SUBNET
from searchd.store.base import ID_LENGTH, AsJson, Base, now, status_type
from searchd.store.models.measurements import ArtifactRow, EpochMetricsRow, Measured


class TrialRow(Base):
    """A trial of a run."""

    __tablename__ = "trials"
    __table_args__ = (
        UniqueConstraint("run_id", "position"),
        UniqueConstraint("run_id", "completion", name="uq_trials_completion"),
    )

    id: Mapped[str] = mapped_column(String(ID_LENGTH), primary_key=True)
    """{search or distillation id}-{name}."""
    run_id: Mapped[str] = mapped_column(ForeignKey("searches.id"), index=True)
    name: Mapped[str] = mapped_column(String(ID_LENGTH))
    """Its name within the run: base, 0, 1, ..., control-1, ..."""
    role: Mapped[TrialRole] = mapped_column(status_type(TrialRole))
    position: Mapped[int]
    """Its position among all proposals of the run, from 0."""
    parent_id: Mapped[str | None] = mapped_column(ForeignKey("trials.id"), index=True)
    """The trial whose student it inherits. Of a base: the trial of another run whose student it is,
    or None."""
    proposal: Mapped[Proposal] = mapped_column(AsJson(PROPOSAL))
    status: Mapped[TrialStatus] = mapped_column(
        status_type(TrialStatus), default=TrialStatus.PENDING, index=True
    )
    """Changed only by `searchd.store.work.transition`."""
    status_reason: Mapped[str] = mapped_column(default="")
    """Why it has its status, in words."""
    cause: Mapped[FailureCause | None] = mapped_column(status_type(FailureCause))
    """The cause of its failure. Set if and only if FAILED."""
    attempt: Mapped[int] = mapped_column(default=0)
    """Number of times it was started; part of the paths of its artifacts."""
    progress: Mapped[Progress | None] = mapped_column(AsJson(TypeAdapter(Progress)))
    """The latest progress of a running trial; overwritten."""
    outcome: Mapped[Outcome | None] = mapped_column(status_type(Outcome))
    """The outcome that the worker reported."""
    completion: Mapped[int | None]
    """Its position among the completions of the run, from 0 without gaps: the order in which
    results are reported to the strategy."""
    detector: Mapped[Detector | None] = mapped_column(AsJson(DETECTOR))
    """The detector of the trained student."""
    params: Mapped[int | None] = mapped_column(BigInteger)
    """Number of parameters of the student."""
    base_macs: Mapped[float | None]
    """Multiply-accumulates at the base resolution, which the score uses."""
    base_cost: Mapped[float | None]
    """What the run counts as cost instead, at the base resolution. None: it counts MACs."""
    checks: Mapped[SanityChecks | None] = mapped_column(AsJson(TypeAdapter(SanityChecks)))
    """Sanity checks of the trial's distillation; set with the outcome."""
    score: Mapped[float | None]
    """The best score over the resolutions. Set if and only if SUCCEEDED."""
    pinned: Mapped[bool] = mapped_column(default=False)
    """Whether a user has pinned it, so that its files are kept."""
    adjustments: Mapped[dict[str, float]] = mapped_column(default=dict)
    """Changes for the next attempt after failed ones, such as a smaller batch; see
    `searchd.domain.retries`."""
    busy_s: Mapped[float] = mapped_column(default=0.0)
    """Seconds that workers have spent on it, over all attempts."""
    chosen_teacher: Mapped[Subnet | None] = mapped_column(AsJson(SUBNET))
    """The teacher that its worker chose, if the proposal has several candidates."""
    created_at: Mapped[datetime] = mapped_column(default=now)
    started_at: Mapped[datetime | None]
    """When its latest attempt was started."""
    finished_at: Mapped[datetime | None]

    parent: Mapped["TrialRow | None"] = relationship(remote_side=[id], lazy="raise")
    evaluations: Mapped[list["EvaluationRow"]] = relationship(
        lazy="raise", order_by="EvaluationRow.id"
    )
    epochs: Mapped[list[EpochMetricsRow]] = relationship(
        lazy="raise", order_by=EpochMetricsRow.epoch
    )
    artifacts: Mapped[list[ArtifactRow]] = relationship(lazy="raise", order_by=ArtifactRow.id)

    @property
    def teacher(self) -> Teaching | None:
        """Return its teacher: the candidate that its worker chose, or that of the proposal."""
        return self.chosen_teacher or self.proposal.teacher

    @property
    def methods(self) -> MethodSet | None:
        """Return the methods by which its student was distilled. None: those of the run's spec, or
        there was no teacher."""
        return None if self.proposal.teacher is None else self.proposal.methods

    @property
    def is_copy(self) -> bool:
        """Return whether its student is an unchanged copy of another trial's: the base of a
        distillation that starts from that trial."""
        return self.role is TrialRole.BASE and self.parent_id is not None

    @property
    def best(self) -> "EvaluationRow | None":
        """Return the evaluation with the best score; None if the trial has no score."""
        scored = [evaluation for evaluation in self.evaluations if evaluation.score is not None]
        return max(scored, key=lambda evaluation: evaluation.score or 0.0, default=None)


class EvaluationRow(Measured, Base):
    """The evaluation of a trial's student at one resolution."""

    __tablename__ = "evaluations"
    __table_args__ = (UniqueConstraint("trial_id", "width", "height"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    trial_id: Mapped[str] = mapped_column(ForeignKey("trials.id"))
    score: Mapped[float | None]
    """H(S, r); None if none was computed."""
    cost: Mapped[float | None]
    """What the run counts as cost instead of MACs: parameters, or predicted seconds on its device.
    None: it counts MACs."""
    device_latency_s: Mapped[float | None]
    """Median seconds measured on the device of the run; None if it was not measured there."""
    device_p95_s: Mapped[float | None]
    """Seconds that 95 % of those passes needed at most."""

    def point(self, kind: ApKind) -> OperatingPoint:
        """Return AP and cost, as strategies of a run that ranks by this kind of AP see them."""
        return OperatingPoint(
            resolution=self.resolution,
            ap=self.ap,
            macs=self.macs,
            counted=self.cost,
            ranked=None if kind is ApKind.BOX_AP else self.of(kind),
        )

    @property
    def counted_cost(self) -> float:
        """What the run counts as cost."""
        return self.macs if self.cost is None else self.cost
