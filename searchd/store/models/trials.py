"""Trials and how their students did at each resolution."""

from datetime import datetime

from pydantic import TypeAdapter
from sqlalchemy import BigInteger, ForeignKey, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from searchd.domain.detector import Detector
from searchd.domain.lifecycle import FailureCause, TrialStatus
from searchd.domain.subnet import Subnet
from searchd.domain.teacher import Teaching
from searchd.domain.trial import Outcome, Proposal, TrialRole
from searchd.messages.reports import Progress, SanityChecks
from searchd.spec import DETECTOR, PROPOSAL, SUBNET
from searchd.store.base import ID_LENGTH, AsJson, Base, now, status_type
from searchd.store.models.measurements import ArtifactRow, EpochMetricsRow, Measured


class TrialRow(Base):
    __tablename__ = "trials"
    __table_args__ = (
        UniqueConstraint("run_id", "position"),
        UniqueConstraint("run_id", "completion", name="uq_trials_completion"),
    )

    id: Mapped[str] = mapped_column(String(ID_LENGTH), primary_key=True)
    """{search or distillation id}-{name}."""
    run_id: Mapped[str] = mapped_column(ForeignKey("searches.id"), index=True)
    name: Mapped[str] = mapped_column(String(ID_LENGTH))
    """Inside the search: base, 0, 1, ..., control-1, ..."""
    role: Mapped[TrialRole] = mapped_column(status_type(TrialRole))
    position: Mapped[int]
    """Among all proposals of the search, from 0."""
    parent_id: Mapped[str | None] = mapped_column(ForeignKey("trials.id"), index=True)
    """Whose student it inherits; of a base, the trial of another search whose student it is, or
    None."""
    proposal: Mapped[Proposal] = mapped_column(AsJson(PROPOSAL))
    status: Mapped[TrialStatus] = mapped_column(
        status_type(TrialStatus), default=TrialStatus.PENDING, index=True
    )
    """Changed only by `searchd.store.work.transition`."""
    status_reason: Mapped[str] = mapped_column(default="")
    cause: Mapped[FailureCause | None] = mapped_column(status_type(FailureCause))
    """Set if and only if FAILED."""
    attempt: Mapped[int] = mapped_column(default=0)
    """Times it was started; part of its artifacts' paths."""
    progress: Mapped[Progress | None] = mapped_column(AsJson(TypeAdapter(Progress)))
    """The latest of a running trial; overwritten."""
    outcome: Mapped[Outcome | None] = mapped_column(status_type(Outcome))
    """As reported."""
    completion: Mapped[int | None]
    """Position among the search's completions, from 0 without gaps; what the strategy was told."""
    detector: Mapped[Detector | None] = mapped_column(AsJson(DETECTOR))
    """The trained student's."""
    params: Mapped[int | None] = mapped_column(BigInteger)
    base_macs: Mapped[float | None]
    """Macs at the base resolution, which the score uses."""
    checks: Mapped[SanityChecks | None] = mapped_column(AsJson(TypeAdapter(SanityChecks)))
    """Of the trial's distillation; set with the outcome."""
    score: Mapped[float | None]
    """Best over the resolutions. Set if and only if SUCCEEDED."""
    pinned: Mapped[bool] = mapped_column(default=False)
    """Whether a user wants its files kept, whatever comes of it."""
    adjustments: Mapped[dict[str, float]] = mapped_column(default=dict)
    """What earlier attempts taught about how it can be trained, such as a smaller batch."""
    busy_s: Mapped[float] = mapped_column(default=0.0)
    """Seconds that workers have had it, over all attempts."""
    chosen_teacher: Mapped[Subnet | None] = mapped_column(AsJson(SUBNET))
    """Which candidate its worker chose, where the proposal left the choice to it."""
    created_at: Mapped[datetime] = mapped_column(default=now)
    started_at: Mapped[datetime | None]
    """When its present attempt was started."""
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
        """What it is distilled from: the candidate that its worker chose, if it did."""
        return self.chosen_teacher or self.proposal.teacher

    @property
    def is_copy(self) -> bool:
        """Whether its student is another trial's as it is: the base of a distillation that goes on
        from that."""
        return self.role is TrialRole.BASE and self.parent_id is not None

    @property
    def best(self) -> "EvaluationRow | None":
        """The evaluation with the best score, if the trial was scored."""
        scored = [evaluation for evaluation in self.evaluations if evaluation.score is not None]
        return max(scored, key=lambda evaluation: evaluation.score or 0.0, default=None)


class EvaluationRow(Measured, Base):
    """A trial's student at one resolution."""

    __tablename__ = "evaluations"
    __table_args__ = (UniqueConstraint("trial_id", "width", "height"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    trial_id: Mapped[str] = mapped_column(ForeignKey("trials.id"))
    score: Mapped[float | None]
    """H(S, r); None when the search computed none."""
