"""What a worker is handed: everything it needs, since it reaches no database."""

from typing import Literal, Self

from pydantic import Field, model_validator

from searchd.domain.detector import Detector, MmdetDetector
from searchd.domain.subnet import Subnet
from searchd.domain.teacher import RegisteredTeacher, teachers_of
from searchd.domain.trial import Artifact, Proposal, TakeSubnet, TrialRole
from searchd.spec.base import DatasetSpec, ResolutionText, Spec
from searchd.spec.pool import PoolSpec, SpaceSpec
from searchd.spec.search import MmdetSpec, ScoreSpec
from searchd.spec.teachers import TeacherSpec
from searchd.spec.training import HeadSpec, MethodsSpec, TrainingSpec

Device = Literal["cpu", "cuda"]


class ComputeSettings(Spec):
    """What one process of a worker computes with; the base of every task."""

    num_threads: int = Field(default=1, ge=1)
    """Number of threads that torch may use in a process."""
    device: Device = "cpu"
    """Where torch computes."""


def threads_of(cpus: float) -> int:
    """Return the number of threads for a process with a share of CPUs."""
    return max(1, int(cpus))


def device_of(gpus: float) -> Device:
    """Return the device of a process with a share of GPUs, which may be 0."""
    return "cuda" if gpus > 0 else "cpu"


class LoadedBase(Spec):
    """A base that is not trained, as a worker finds it."""

    mmdet: MmdetSpec
    head: HeadSpec
    """The search's, which the checkpoint's must be."""


class Inherited(Spec):
    """The parent's student, as a child finds it."""

    detector: Detector
    student: Artifact
    """safetensors of the whole detector."""
    adapters: Artifact | None = None
    """safetensors of the distillation adapters, which are inherited with the student."""
    aps: dict[ResolutionText, float] = {}
    """AP in [0, 1] of the parent's student, by resolution."""


class PoolRef(Spec):
    """A trained pool, as a worker finds it."""

    supernet: Artifact
    """safetensors of the supernet."""
    space: SpaceSpec
    head: HeadSpec
    bn_reset_images: int


class TeacherRef(Spec):
    """A registered teacher, as a worker finds it."""

    detector: Detector | MmdetDetector
    weights: Artifact
    """safetensors of the whole detector, BN statistics included."""
    aps: dict[ResolutionText, float] = {}
    """AP in [0, 1] on the validation split, by resolution, as far as it was measured."""


class EarlyStoppingRule(Spec):
    """A search trial is scored after its first epoch at the largest resolution, and may be
    abandoned."""

    base_macs: float
    """C_base of the score."""
    abandon_below: float | None
    """The score below which it is hopeless; None: it is trained to its end."""


class TrialTask(ComputeSettings):
    """Everything a worker needs for one trial. It reaches no database."""

    search: str
    """Search id."""
    proposal: Proposal
    attempt: int = Field(ge=1)
    dataset: DatasetSpec
    detector: Detector | None = None
    """The base to train from scratch."""
    loaded_base: LoadedBase | Inherited | None = None
    """The base to evaluate as it is, a checkpoint's or a finished trial's student; `training` is
    not read."""
    inherited: Inherited | None = None
    pool: PoolRef | None = None
    """Given if and only if a teacher is a subnet, or the proposal takes one."""
    registered: dict[str, TeacherRef] = {}
    """The registered teachers of the proposal, by id."""
    teacher_resolution: ResolutionText | None = None
    """The size at which the teacher sees the training images; None: the student's."""
    training: TrainingSpec
    distillation: MethodsSpec = MethodsSpec(methods=())
    score: ScoreSpec
    early_stopping: EarlyStoppingRule | None = None
    """None: it is evaluated after training alone."""
    evaluated_at: tuple[ResolutionText, ...]
    """Resolutions at which the student is evaluated after training."""
    artifacts: str
    """URI of the folder that this attempt writes to."""
    previous_attempts: tuple[str, ...] = ()
    """URIs of earlier attempts' folders, newest first: their checkpoints may be taken up."""
    slice_s: float = Field(default=60.0, gt=0)
    """Seconds after which the worker hands over a `Progress` and looks whether to stop."""
    checkpoint_s: float = Field(default=600.0, gt=0)

    @model_validator(mode="after")
    def _check(self) -> Self:
        takes_subnet = isinstance(self.proposal.change, TakeSubnet)
        sources = [self.detector, self.loaded_base, self.inherited]
        if len(sources) - sources.count(None) != (0 if takes_subnet else 1):
            raise ValueError(
                "give exactly one of detector, loaded_base and inherited; none to take a subnet"
            )
        teachers = [] if self.proposal.teacher is None else teachers_of(self.proposal.teacher)
        has_subnet = takes_subnet or any(isinstance(teacher, Subnet) for teacher in teachers)
        if has_subnet != (self.pool is not None):
            raise ValueError(
                "pool must be given if and only if a teacher of the proposal is a subnet or the "
                "proposal takes a subnet"
            )
        registered = {str(each) for each in teachers if isinstance(each, RegisteredTeacher)}
        if registered != self.registered.keys():
            raise ValueError(
                f"registered must contain the proposal's registered teachers {sorted(registered)}, "
                f"got {sorted(self.registered)}"
            )
        if (self.proposal.role is TrialRole.BASE or takes_subnet) != (self.inherited is None):
            raise ValueError(
                "inherited must be given unless the trial is the base or takes a subnet"
            )
        return self


class PoolTrainingTask(ComputeSettings):
    """Everything that training a pool needs. It reaches no database."""

    pool: str
    """Pool id."""
    attempt: int = Field(ge=1)
    spec: PoolSpec
    dataset: DatasetSpec
    artifacts: str
    """URI of the folder that this attempt writes to."""
    previous_attempts: tuple[str, ...] = ()
    """URIs of earlier attempts' folders, newest first: their checkpoints may be taken up."""
    slice_s: float = Field(default=5.0, gt=0)
    """Seconds after which a worker hands over a `PoolProgress` and looks whether to stop."""
    checkpoint_s: float = Field(default=600.0, gt=0)
    """Seconds between checkpoints inside an epoch; each epoch ends with one."""


class TeacherEvaluationTask(ComputeSettings):
    """A teacher that is to be loaded and evaluated. It reaches no database."""

    teacher: str
    """Teacher id."""
    spec: TeacherSpec
    dataset: DatasetSpec
    pool: PoolRef | None = None
    """If it is a subnet."""
    student: Inherited | None = None
    """Of the trial, if it is one's."""
    artifacts: str
    """URI of the folder that this attempt writes to."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.spec.subnet is None) != (self.pool is None):
            raise ValueError("pool must be given if and only if the teacher is a subnet")
        if (self.spec.trial is None) != (self.student is None):
            raise ValueError("student must be given if and only if the teacher is a trial's")
        return self


class TimedDetector(Spec):
    """One detector at one resolution, to be timed."""

    trial: str
    """Name inside the search."""
    detector: Detector
    student: Artifact
    resolution: ResolutionText


class AdaptationCostTask(ComputeSettings):
    """Teachers to be compared, with each other and with a student; see
    `detection.adaptation.cost`."""

    dataset: DatasetSpec
    student: Inherited
    pool: PoolRef | None
    """Given if a teacher is a subnet."""
    teachers: dict[str, Subnet | TeacherRef]
    """By name."""
    pairs: tuple[tuple[str, str], ...]
    """Wanted costs (from, to), among teachers' names and `STUDENT_NAME`. May be empty."""
    resolution: ResolutionText
    """Of the teachers' images, for costs and APs."""
    student_resolution: ResolutionText | None = None
    """Of the student's; None: the same."""
    normalize: Literal["none", "target_var"]
    training: TrainingSpec
    """Its batches and resolutions are those of BN reset, as in a trial."""
    num_parts: int = Field(ge=1)
    """Tasks that the images are dealt to."""
    cpus: float
    """Of a task."""
    gpus: float

    @property
    def compared(self) -> list[str]:
        """Names that a pair has."""
        return sorted({name for pair in self.pairs for name in pair})


class Comparison(Spec):
    """What was learned of teachers."""

    costs: dict[str, dict[str, float]]
    """costs[A][B] = C(A, B) of the wanted pairs."""
    performance: dict[str, float]
    """AP of every teacher in [0, 1] on the validation split."""


class LatencyTask(ComputeSettings):
    """Detectors to be timed side by side, by one worker with nothing beside it."""

    detectors: tuple[TimedDetector, ...]
