"""The tasks of workers. A task contains everything a worker needs, since workers have no access to
the database."""

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from searchd.domain.accuracy import ApKind
from searchd.domain.detector import Detector, MmdetDetector
from searchd.domain.latency_table import LatencyTable
from searchd.domain.score import Cost
from searchd.domain.subnet import Subnet
from searchd.domain.teacher import RegisteredTeacher, teachers_of
from searchd.domain.trial import Artifact, Proposal, TakeSubnet, TrialRole
from searchd.logs import LogFormat, current_format, current_ids
from searchd.search.rungs import Rung
from searchd.spec.base import ResolutionText, Spec
from searchd.spec.dataset import DatasetSpec, SplitSpec
from searchd.spec.pool import PoolSpec, SpaceSpec
from searchd.spec.pretrained import PretrainedSpec
from searchd.spec.score import ScoreSpec
from searchd.spec.search import MmdetSpec
from searchd.spec.teachers import TeacherSpec, TeacherTrainingSpec
from searchd.spec.training import HeadSpec, MethodsSpec, TrainingSpec

Device = Literal["cpu", "cuda"]


class ComputeSettings(Spec):
    """What one process of a worker computes with, and how it logs; the base of every task."""

    num_threads: int = Field(default=1, ge=1)
    """Number of threads that torch may use in a process."""
    device: Device = "cpu"
    """Where torch computes."""
    gpu_memory: float = Field(default=1, gt=0, le=1)
    """Share of the memory of a GPU that the process may use. CPUs have no such limit."""
    log_format: LogFormat = Field(default_factory=current_format)
    """How the process logs. Default: as the process that makes the task, which is its driver."""
    log_ids: dict[str, str] = Field(default_factory=current_ids)
    """Ids in each line of its log. Default: those of the process that makes the task."""

    @property
    def num_readers(self) -> int:
        """Number of processes that read training images ahead. On a GPU, all CPUs but one do, which
        drives the GPU. On CPUs the training itself needs all of them: 0, it reads in its process.
        """
        return self.num_threads - 1 if self.device == "cuda" else 0


def threads_of(cpus: float) -> int:
    """Return the number of threads for a process with a share of CPUs."""
    return max(1, int(cpus))


def device_of(gpus: float) -> Device:
    """Return the device of a process with a share of GPUs, which may be 0."""
    return "cuda" if gpus > 0 else "cpu"


def gpu_memory_of(gpus: float, *, limited: bool) -> float:
    """Return the share of a GPU's memory for a process with a share of GPUs, which may be 0.

    Args:
        gpus: The share of GPUs.
        limited: Whether a process with a fraction of a GPU has that fraction of its memory; if not,
            it may use all that is free.
    """
    return gpus if limited and 0 < gpus < 1 else 1


class LoadedBase(Spec):
    """The base of a run that is loaded: exactly one of `mmdet` and `export` is given."""

    mmdet: MmdetSpec | None = None
    """The config and the checkpoint of mmdet."""
    export: Path | None = None
    """The folder of an exported detector."""
    fine_tune: bool | None = None
    """Whether the base is trained before it is evaluated. None: only if its classes are not those
    of the data set, in the same order."""
    head: HeadSpec
    """The run's head, which the loaded detector must have."""


class Inherited(Spec):
    """The student of a finished trial, from which a child continues."""

    detector: Detector
    student: Artifact
    """The whole detector as safetensors."""
    adapters: Artifact | None = None
    """The distillation adapters as safetensors, which are inherited with the student. None: there
    are none."""
    aps: dict[ResolutionText, float] = {}
    """AP of the student in [0, 1], by resolution."""


class PoolRef(Spec):
    """A trained pool."""

    supernet: Artifact
    """The supernet as safetensors."""
    space: SpaceSpec
    head: HeadSpec
    bn_reset_images: int
    """Number of training images that recompute the BN statistics of a subnet."""


class TeacherRef(Spec):
    """A registered teacher."""

    detector: Detector | MmdetDetector
    weights: Artifact
    """The whole detector as safetensors, including BN statistics."""
    aps: dict[ResolutionText, float] = {}
    """AP of the teacher on the validation split in [0, 1], by resolution, where it was measured."""


class EarlyStoppingRule(Spec):
    """The early stopping of a search trial, which is scored at the largest resolution after its
    first epoch and at its rungs, and may be stopped then."""

    base_macs: float
    """C_base of the score: multiply-accumulates of the base at the base resolution, or what the
    search counts instead."""
    abandons: bool = True
    """Whether the trial is scored after its first epoch, at which it may be abandoned."""
    abandon_below: float | None
    """Score after the first epoch below which the trial is abandoned. None: it is trained on."""
    rungs: tuple[Rung, ...] = ()
    """Rungs of the trial, each at the end of another epoch."""

    @property
    def epochs(self) -> frozenset[int]:
        """The epochs at whose end the trial is scored."""
        return frozenset([1] * self.abandons) | {rung.epoch for rung in self.rungs}


class TrialTask(ComputeSettings):
    """The task of running one attempt at a trial."""

    search: str
    """Id of the run, which is a search or a distillation."""
    proposal: Proposal
    attempt: int = Field(ge=1)
    """Number of the attempt, from 1."""
    dataset: DatasetSpec
    detector: Detector | None = None
    """The base to train from scratch. None: another source is given, or a subnet is taken."""
    pretrained: PretrainedSpec | None = None
    """The backbone with which the training of `detector` starts. None: random weights."""
    loaded_base: LoadedBase | Inherited | None = None
    """The base that is loaded: from a checkpoint, or the student of a finished trial. It is
    evaluated without training, unless a checkpoint is fine-tuned (`LoadedBase.fine_tune`). None:
    another source is given, or a subnet is taken."""
    inherited: Inherited | None = None
    """The parent's student. None: the trial is a base, or a subnet is taken."""
    pool: PoolRef | None = None
    """The pool of the subnets. Given if and only if a teacher is a subnet, or the proposal takes a
    subnet as the detector."""
    registered: dict[str, TeacherRef] = {}
    """The registered teachers of the proposal, by id."""
    teacher_resolution: ResolutionText | None = None
    """Resolution of the teacher's training images. None: that of the student's images."""
    training: TrainingSpec
    distillation: MethodsSpec = MethodsSpec(methods=())
    """The distillation methods. Default: none."""
    score: ScoreSpec
    table: LatencyTable | None = None
    """The lookup table of the device. Given if and only if latency is the cost of the score."""
    early_stopping: EarlyStoppingRule | None = None
    """None: the trial is only evaluated after its training."""
    evaluated_at: tuple[ResolutionText, ...]
    """Resolutions at which the student is evaluated after training."""
    artifacts: str
    """URI of the folder that this attempt writes to."""
    previous_attempts: tuple[str, ...] = ()
    """URIs of earlier attempts' folders, newest first. The attempt can resume from their
    checkpoints."""
    slice_s: float = Field(default=60.0, gt=0)
    """Seconds between two reports of `Progress`, after each of which the worker checks whether to
    stop."""
    checkpoint_s: float = Field(default=600.0, gt=0)
    """Seconds between checkpoints inside an epoch. Every epoch ends with a checkpoint."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.score.cost is Cost.LATENCY) != (self.table is not None):
            raise ValueError("table must be given if and only if the cost of the score is latency")
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
    """The task of running one attempt at training a pool."""

    pool: str
    """Id of the pool."""
    attempt: int = Field(ge=1)
    """Number of the attempt, from 1."""
    spec: PoolSpec
    dataset: DatasetSpec
    start: Artifact | None = None
    """The supernet of another pool, from which the training starts. None: it starts anew."""
    artifacts: str
    """URI of the folder that this attempt writes to."""
    previous_attempts: tuple[str, ...] = ()
    """URIs of earlier attempts' folders, newest first. The attempt can resume from their
    checkpoints."""
    slice_s: float = Field(default=5.0, gt=0)
    """Seconds between two reports of `PoolProgress`, after each of which the workers check whether
    to stop."""
    checkpoint_s: float = Field(default=600.0, gt=0)
    """Seconds between checkpoints inside an epoch. Every epoch ends with a checkpoint."""


class TeacherEvaluationTask(ComputeSettings):
    """The task of loading and evaluating a teacher."""

    teacher: str
    """Id of the teacher."""
    spec: TeacherSpec
    dataset: DatasetSpec
    pool: PoolRef | None = None
    """The pool of the subnet. Given if and only if the teacher is a subnet."""
    student: Inherited | None = None
    """The student of the trial. Given if and only if the teacher is a trial's student."""
    artifacts: str
    """URI of the folder that this attempt writes to."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.spec.subnet is None) != (self.pool is None):
            raise ValueError("pool must be given if and only if the teacher is a subnet")
        if (self.spec.trial is None) != (self.student is None):
            raise ValueError("student must be given if and only if the teacher is a trial's")
        return self


class TeacherTrainingTask(ComputeSettings):
    """The task of running one attempt at training a teacher, and of evaluating it."""

    teacher: str
    """Id of the teacher."""
    attempt: int = Field(ge=1)
    """Number of the attempt, from 1."""
    spec: TeacherSpec
    dataset: DatasetSpec
    artifacts: str
    """URI of the folder that this attempt writes to."""
    previous_attempts: tuple[str, ...] = ()
    """URIs of earlier attempts' folders, newest first. The attempt can resume from their
    checkpoints."""
    slice_s: float = Field(default=5.0, gt=0)
    """Seconds between two reports of `TeacherProgress`, after each of which the worker checks
    whether to stop."""
    checkpoint_s: float = Field(default=600.0, gt=0)
    """Seconds between checkpoints inside an epoch. Every epoch ends with a checkpoint."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.spec.train is None:
            raise ValueError("spec.train must be given for a teacher that is trained")
        return self

    @property
    def train(self) -> TeacherTrainingSpec:
        """The detector that is trained, and how."""
        assert self.spec.train is not None  # checked above
        return self.spec.train


class MeasuredDetector(Spec):
    """A stored detector that is measured at one resolution after a search."""

    trial: str
    """Name of the trial in its run."""
    detector: Detector
    student: Artifact
    resolution: ResolutionText


class AdaptationCostTask(ComputeSettings):
    """The task of measuring adaptation costs between a student and teachers, and the teachers' APs;
    see `detection.adaptation.cost`."""

    dataset: DatasetSpec
    student: Inherited
    pool: PoolRef | None
    """The pool of the subnets. Given if a teacher is a subnet."""
    teachers: dict[str, Subnet | TeacherRef]
    """The teachers, by name."""
    pairs: tuple[tuple[str, str], ...]
    """Pairs (from, to) of the costs to measure, of the teachers' names and `STUDENT_NAME`. May be
    empty."""
    resolution: ResolutionText
    """Resolution of the teachers' images, for costs and APs."""
    student_resolution: ResolutionText | None = None
    """Resolution of the student's images. None: `resolution`."""
    normalize: Literal["none", "target_var"]
    """Unit of the costs; see `detection.adaptation.cost.Normalisation`."""
    training: TrainingSpec
    """Batch size and resolutions of BN reset, as in a trial."""
    num_parts: int = Field(ge=1)
    """Number of Ray tasks that share the images."""
    cpus: float
    """CPUs of each Ray task."""
    gpus: float
    """GPUs of each Ray task."""

    @property
    def compared(self) -> list[str]:
        """The names that occur in `pairs`, in alphabetical order."""
        return sorted({name for pair in self.pairs for name in pair})


class Comparison(Spec):
    """The result of an `AdaptationCostTask`."""

    costs: dict[str, dict[str, float]]
    """Costs of the requested pairs, costs[A][B] = C(A, B)."""
    performance: dict[str, float]
    """AP of every teacher in [0, 1] on the validation split."""


class LatencyTask(ComputeSettings):
    """The task of measuring the latencies of detectors in one worker, while nothing else runs."""

    detectors: tuple[MeasuredDetector, ...]


class SplitTask(ComputeSettings):
    """The task of measuring detectors on a split after a search, with intervals over its images."""

    split: SplitSpec
    detectors: tuple[MeasuredDetector, ...]
    accuracy: ApKind = ApKind.BOX_AP
    """Which AP the intervals are of."""


class SplitMeasurement(Spec):
    """The result for one detector of a `SplitTask`; for its figures see
    `searchd.domain.accuracy.Accuracy`."""

    ap: float
    ap50: float
    ap75: float
    ap_small: float
    ap_medium: float
    ap_large: float
    ap70: float | None = None
    ap90: float | None = None
    ar1: float | None = None
    ar10: float | None = None
    ar100: float | None = None
    ar_small: float | None = None
    ar_medium: float | None = None
    ar_large: float | None = None
    mask_ap: float | None = None
    mask_ap50: float | None = None
    num_images: int
    """Number of images of the split."""
    resampled: tuple[float, ...]
    """AP of each resample of the images, of the kind that the task asks for; see
    `detection.measurement.bootstrap`. Measurements on the same split have the same resamples."""
