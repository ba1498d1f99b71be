"""The reports of workers on a trial, a pool's training or a teacher, and their JSON form.

Reports are plain values, so workers need no database. A worker writes its report to the artifact
store as `files.REPORT_FILE`, atomically and after all other files.
"""

from dataclasses import dataclass

from searchd.domain.detector import Detector, Family, MmdetDetector
from searchd.domain.lifecycle import FailureCause
from searchd.domain.method_fit import Traits, traits
from searchd.domain.resolution import Resolution
from searchd.domain.subnet import Subnet
from searchd.domain.trial import Artifact, Evaluation, Outcome

UNDISTILLED_TOLERANCE = 1e-6
"""Largest relative difference of losses that rounding explains."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochMetrics:
    """One epoch of training."""

    epoch: int
    """Number of the epoch, from 1."""
    losses: dict[str, float]
    """Mean of each weighted loss term, of their sum `loss`, and of what methods say beside their
    losses (icd.identification_accuracy), over the epoch's iterations."""
    learning_rate: float
    """Learning rate at the end of the epoch."""
    duration_s: float
    """Wall-clock seconds of the epoch, over all attempts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SanityChecks:
    """The results of a trial's sanity checks, which find silent failures of distillation.

    None: not checked, because the trial has no teacher or ended before the check.
    """

    resolution: Resolution | None = None
    """Resolution at which the APs were measured."""
    teacher_ap: float | None = None
    """AP of the teacher on the validation split, in [0, 1]."""
    teacher_ap_floor: float | None = None
    """AP in [0, 1] that the teacher should exceed: that of the spec, or the student's AP before
    this trial."""
    undistilled_difference: float | None = None
    """Largest relative difference between the losses of a step with distillation switched off and
    those of plain training. More than `UNDISTILLED_TOLERANCE` is a defect."""
    first_losses: dict[str, float] | None = None
    """Each loss term of the first step, and their sum. All are finite; otherwise the trial has
    failed."""
    epoch_scores: tuple[tuple[int, float], ...] = ()
    """Epochs at whose end early stopping has scored the trial, with the scores."""
    first_epoch_score: float | None = None
    """Score after the first epoch, at the largest resolution. None unless the search uses early
    stopping."""
    suspicious: str = ""
    """Why the result may be wrong. Empty: nothing suspicious was found."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """The findings that a user should look at, as text."""
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
    """A worker's report on one attempt at a trial."""

    trial: str
    """Name of the trial in its run."""
    attempt: int
    """Number of the attempt, from 1."""
    outcome: Outcome
    reason: str = ""
    """Why the trial did not succeed, as text; the traceback where the cause is a bug. Empty if the
    outcome is SUCCEEDED."""
    cause: FailureCause | None = None
    """Cause of the failure. None unless the outcome is FAILED."""
    damaged: str = ""
    """URI of the stored file that is missing or damaged, if that is the cause."""
    notes: tuple[str, ...] = ()
    """What the worker decided, or did differently from its task, as text. Notes become events."""
    chosen_teacher: Subnet | None = None
    """The teacher that the worker chose. None unless the trial succeeded and its proposal has
    candidates."""
    detector: Detector | None = None
    """The child. None if the attempt ended before the change was applied."""
    params: int | None = None
    """Number of parameters of the whole detector."""
    base_macs: float | None = None
    """Multiply-accumulates of this detector at the base resolution, which the score uses
    (docs/papers.md 1.3)."""
    base_cost: float | None = None
    """What the search counts instead of MACs, at the base resolution. None: it counts MACs."""
    evaluations: tuple[Evaluation, ...] = ()
    """One evaluation for each resolution."""
    epochs: tuple[EpochMetrics, ...] = ()
    """Metrics of every epoch, over all attempts."""
    artifacts: tuple[Artifact, ...] = ()
    """Files that the attempt stored."""
    checks: SanityChecks = SanityChecks()
    batch_size: int | None = None
    """Images per step that the worker found by memory. None if the task names the number, or if the
    attempt ended before."""

    @property
    def scored_cost(self) -> float | None:
        """C of the score: what the search counts, at the base resolution."""
        return self.base_macs if self.base_cost is None else self.base_cost


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """The progress of a running trial. It is only displayed; no decision depends on it."""

    trial: str
    """Name of the trial in its run."""
    attempt: int
    """Number of the attempt, from 1."""
    epoch: int
    """Current epoch, from 1; 0 while the teacher or candidates are evaluated."""
    num_epochs: int
    """Number of epochs of the trial."""
    iteration: int
    """Number of iterations done in this epoch; 0 outside training."""
    num_iterations: int
    """Number of iterations of an epoch; 0 outside training."""
    stage: str
    """The current step of the trial: "prepare" (load data and weights, apply the change), "choose"
    (compare candidates for a teacher), "check" (evaluate the teacher), "fit" (start new adapters by
    least squares), "train", "judge" (evaluate after the first epoch, for early stopping) or
    "evaluate". It is neither a backbone stage nor a stage of a distillation."""
    losses: dict[str, float]
    """Mean of each loss term over the current epoch so far."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluatedSubnet:
    """Measurements of a subnet of a pool, after BN reset, on the validation split."""

    subnet: Subnet
    params: int
    """Number of parameters of the whole detector."""
    evaluations: tuple[Evaluation, ...]
    """One evaluation for each resolution; inside the training, at the largest one alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseEpoch:
    """One epoch of one phase of progressive shrinking."""

    phase: str
    """Name of the phase in the pool's spec."""
    metrics: EpochMetrics
    """`epoch` counts from 1 inside the phase."""
    subnets: tuple[EvaluatedSubnet, ...] = ()
    """The largest and the smallest subnet of the phase as they were at its end. Empty of other
    epochs, and of the last phase, after which the pool's subnets are evaluated."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolReport:
    """The report on one attempt at training a pool."""

    pool: str
    """Id of the pool."""
    attempt: int
    """Number of the attempt, from 1."""
    outcome: Outcome
    """SUCCEEDED, FAILED or STOPPED."""
    reason: str = ""
    """Why the training did not succeed, as text; the traceback where the cause is a bug. Empty if
    the outcome is SUCCEEDED."""
    cause: FailureCause | None = None
    """Cause of the failure. None unless the outcome is FAILED."""
    supernet: Artifact | None = None
    """The supernet as safetensors. Given if and only if the outcome is SUCCEEDED."""
    subnets: tuple[EvaluatedSubnet, ...] = ()
    """The evaluated subnets."""
    epochs: tuple[PhaseEpoch, ...] = ()
    """Metrics of every epoch of every phase, over all attempts."""
    notes: tuple[str, ...] = ()
    """What the supernet has of a pretrained backbone, in sentences."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolProgress:
    """The progress of a pool's training. It is only displayed; no decision depends on it."""

    pool: str
    """Id of the pool."""
    attempt: int
    """Number of the attempt, from 1."""
    phase: str
    """Name of the current phase."""
    epoch: int
    """Current epoch of this phase, from 1."""
    num_epochs: int
    """Number of epochs of this phase."""
    iteration: int
    """Number of iterations done in this epoch, or of subnets evaluated."""
    num_iterations: int
    """Number of iterations of an epoch, or of subnets to evaluate."""
    losses: dict[str, float]
    """Mean of each loss term over the current epoch so far."""
    stage: str = "train"
    """The current step of the training: "start" (wait for workers), "train" or "evaluate" (measure
    subnets, at the end of a phase)."""
    seconds_left: float | None = None
    """Estimated seconds until all phases are trained, from this phase's speed. None: not known
    yet."""
    epochs: tuple[PhaseEpoch, ...] = ()
    """Metrics of the epochs finished so far, over all attempts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureLevel:
    """One level of a neck."""

    stride: int
    """Input pixels per cell."""
    channels: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TeacherReport:
    """The report on a registered teacher."""

    detector: Detector | MmdetDetector
    weights: Artifact
    """The whole detector as safetensors, including BN statistics."""
    params: int
    """Number of parameters of the whole detector."""
    evaluation: Evaluation
    """Measurements on the data set's validation split."""
    levels: tuple[FeatureLevel, ...]
    """Levels of the neck, finest first."""
    epochs: tuple[EpochMetrics, ...] = ()
    """Metrics of every epoch of its training. Empty if it was not trained as a teacher."""
    family: Family | None = None
    """Family whose methods fit the detector, in reports of earlier versions."""
    mmdet_traits: Traits | None = None
    """Traits of a detector that mmdet describes, as they were read from it. None: `detector` tells
    them, or the report is of an earlier version."""

    @property
    def traits(self) -> Traits | None:
        """What decides which methods fit the teacher. None: not known."""
        if isinstance(self.detector, Detector):
            return traits(self.detector)
        if self.mmdet_traits is not None:
            return self.mmdet_traits
        if self.family is None:
            return None
        widths = {level.channels for level in self.levels}
        return Traits(
            family=self.family,
            neck_channels=tuple(sorted(widths)),
            head=None,
            anchor_scale=None,
            strides=tuple(level.stride for level in self.levels),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class TeacherTrainingReport:
    """The report on one attempt at training a teacher."""

    teacher: str
    """Id of the teacher."""
    attempt: int
    """Number of the attempt, from 1."""
    outcome: Outcome
    """SUCCEEDED, FAILED or STOPPED."""
    reason: str = ""
    """Why the training did not succeed, as text; the traceback where the cause is a bug. Empty if
    the outcome is SUCCEEDED."""
    cause: FailureCause | None = None
    """Cause of the failure. None unless the outcome is FAILED, and where the spec names what does
    not exist or does not fit."""
    result: TeacherReport | None = None
    """The trained teacher. Given if and only if the outcome is SUCCEEDED."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TeacherProgress:
    """The progress of a teacher's training. No decision depends on it."""

    epoch: int
    """Current epoch, from 1."""
    num_epochs: int
    """Number of epochs of the training."""
    iteration: int
    """Number of iterations done in this epoch; 0 outside training."""
    num_iterations: int
    """Number of iterations of an epoch; 0 outside training."""
    stage: str
    """The current step: "start" (wait for a worker; load data and weights), "train" or
    "evaluate"."""
    losses: dict[str, float]
    """Mean of each loss term over the current epoch so far."""
    epochs: tuple[EpochMetrics, ...] = ()
    """Metrics of the epochs finished so far, over all attempts."""
    notes: tuple[str, ...] = ()
    """What was loaded from the checkpoint and what was not, as text. Notes become events."""
