"""What workers report: of a trial, of a pool's training, of a teacher; and their JSON form.

Plain values, so that whoever makes them needs no database. Each is written to the artifact store as
`files.REPORT_FILE`, last and atomically.
"""

from dataclasses import dataclass

from pydantic import TypeAdapter

from searchd.domain.detector import Detector, MmdetDetector
from searchd.domain.lifecycle import FailureCause
from searchd.domain.resolution import Resolution
from searchd.domain.subnet import Subnet
from searchd.domain.trial import Artifact, Evaluation, Outcome

UNDISTILLED_TOLERANCE = 1e-6
"""Relative difference of losses that rounding explains."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochMetrics:
    """One epoch of training."""

    epoch: int
    """From 1."""
    losses: dict[str, float]
    """Mean over the epoch's iterations of each loss term and of their sum, `loss`."""
    learning_rate: float
    """At the epoch's end."""
    duration_s: float
    """Wall-clock seconds, over all attempts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SanityChecks:
    """What was checked around a trial's distillation, since published code fails silently here.
    None where it was not checked: without a teacher, or because the trial ended before."""

    resolution: Resolution | None = None
    """At which the APs were measured."""
    teacher_ap: float | None = None
    """The teacher's own on the validation split, in [0, 1]."""
    teacher_ap_floor: float | None = None
    """What it should exceed: the spec's, or the student's AP before this trial."""
    undistilled_difference: float | None = None
    """Largest relative difference between the losses of a step with distillation switched off and
    of plain training; more than `UNDISTILLED_TOLERANCE` is a defect."""
    first_losses: dict[str, float] | None = None
    """Of the first step, each term and their sum; all finite, or the trial has failed."""
    first_epoch_score: float | None = None
    """Score after the first epoch at the largest resolution, where a search abandons trials that
    are hopeless then."""
    suspicious: str = ""
    """Why the result is not to be trusted; empty if nothing speaks against it."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a user should look at, in words."""
        found = []
        teacher, floor = self.teacher_ap, self.teacher_ap_floor
        if teacher is not None and floor is not None and teacher <= floor:
            found.append(
                f"its teacher has AP {teacher:.1%} at {self.resolution}, which is not above "
                f"{floor:.1%}"
            )
        if (self.undistilled_difference or 0) > UNDISTILLED_TOLERANCE:
            found.append(
                "with distillation switched off its losses differ from plain training's by "
                f"{self.undistilled_difference:.1e}"
            )
        if self.suspicious:
            found.append(f"its result is suspicious: {self.suspicious}")
        return tuple(found)


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a worker learned of one trial. Written to the artifact store last, as report.json."""

    trial: str
    """Name inside the search."""
    attempt: int
    outcome: Outcome
    reason: str = ""
    """In words, for every outcome but SUCCEEDED; the traceback when the cause is a bug."""
    cause: FailureCause | None = None
    damaged: str = ""
    """URI of the stored file that is missing or damaged, if that is the cause."""
    notes: tuple[str, ...] = ()
    """What the worker chose, or did otherwise than it was to, in words; they become events."""
    chosen_teacher: Subnet | None = None
    """Of a success whose proposal left the choice among candidates to the worker."""
    detector: Detector | None = None
    """The child, from the moment it was evolved."""
    params: int | None = None
    """Parameters of the whole detector."""
    base_macs: float | None = None
    """Macs of this detector at the base resolution, which the score uses (docs/papers.md 1.3)."""
    evaluations: tuple[Evaluation, ...] = ()
    epochs: tuple[EpochMetrics, ...] = ()
    artifacts: tuple[Artifact, ...] = ()
    checks: SanityChecks = SanityChecks()


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Where a running trial stands; shown, and never used to decide."""

    trial: str
    attempt: int
    epoch: int
    """The epoch under way, from 1."""
    num_epochs: int
    iteration: int
    """Iterations done in this epoch."""
    num_iterations: int
    """Iterations of one epoch."""
    stage: str
    """prepare, choose, check, train, judge (after the first epoch) or evaluate."""
    losses: dict[str, float]
    """Running means of the epoch under way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseEpoch:
    """One epoch of one phase of progressive shrinking."""

    phase: str
    """Name of the phase, as the pool's spec has it."""
    metrics: EpochMetrics
    """`epoch` counts from 1 inside the phase."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluatedSubnet:
    """A subnet of the trained pool, after BN reset, on the validation split."""

    subnet: Subnet
    params: int
    """Parameters of the whole detector."""
    evaluations: tuple[Evaluation, ...]
    """One for each resolution."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolReport:
    """What a pool's training learned. Written to the artifact store last, as report.json."""

    pool: str
    """Pool id."""
    attempt: int
    outcome: Outcome
    """SUCCEEDED, FAILED or STOPPED."""
    reason: str = ""
    """In words, for every outcome but SUCCEEDED; the traceback when the cause is a bug."""
    cause: FailureCause | None = None
    supernet: Artifact | None = None
    """safetensors of the supernet; given if and only if the outcome is SUCCEEDED."""
    subnets: tuple[EvaluatedSubnet, ...] = ()
    epochs: tuple[PhaseEpoch, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolProgress:
    """Where a pool's training stands; shown, and never used to decide."""

    pool: str
    """Pool id."""
    attempt: int
    phase: str
    epoch: int
    """The epoch under way in this phase, from 1."""
    num_epochs: int
    """Epochs of this phase."""
    iteration: int
    """Iterations done in this epoch."""
    num_iterations: int
    """Iterations of one epoch."""
    losses: dict[str, float]
    """Running means of the epoch under way."""
    stage: str = "train"
    """start (waits for workers), train, or evaluate (the subnets, which count as iterations)."""
    seconds_left: float | None = None
    """Until all phases are trained, as this phase's speed suggests; None until that is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureLevel:
    """One level of a neck."""

    stride: int
    """Input pixels per cell."""
    channels: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TeacherReport:
    """What registering a teacher learned of it."""

    detector: Detector | MmdetDetector
    weights: Artifact
    """safetensors of the whole detector, BN statistics included."""
    params: int
    """Parameters of the whole detector."""
    evaluation: Evaluation
    """On the data set's validation split."""
    levels: tuple[FeatureLevel, ...]
    """Of its neck, finest first."""


REPORT = TypeAdapter(Report)
CHECKS = TypeAdapter(SanityChecks)
PROGRESS = TypeAdapter(Progress)
POOL_REPORT = TypeAdapter(PoolReport)
POOL_PROGRESS = TypeAdapter(PoolProgress)
TEACHER_REPORT = TypeAdapter(TeacherReport)
