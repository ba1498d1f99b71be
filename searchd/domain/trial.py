"""Trials: what the strategy proposes, and how they end. Standard library only.

A trial is one student, trained under one teacher and scored. A strategy has no weights, so it does
not know which channels pruning will leave: the worker applies the change to the parent's student
and reports the resulting architecture.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from searchd.domain.accuracy import Accuracy
from searchd.domain.actions import Action, ChannelImportance, describe
from searchd.domain.breakdown import Breakdown
from searchd.domain.errors import InvalidValueError
from searchd.domain.method_set import MethodSet, MutateMethods
from searchd.domain.resolution import Resolution
from searchd.domain.score import Cost
from searchd.domain.subnet import Subnet
from searchd.domain.teacher import Teaching


class TrialRole(StrEnum):
    """Why a trial is run.

    Attributes:
        BASE: Trains the base detector from scratch, without a teacher. It is the root of the
            lineage.
        SEARCH: A pair of student and teacher that the strategy proposes. Number 0 is the base
            under the pool's largest subnet.
        CONTROL: Trains the base without teacher and actions for as long as the best detector was
            trained. It measures what training alone gains.
        MACS_CONTROL: Prunes the base at once to the MACs of the best detector, then trains it
            without teacher for as long. It measures what pruning and training alone gain.
        NOISE: Repeats trial 0 with another seed. It measures how far scores differ by chance.
        CONFIRMATION: Repeats a trial with the best score so far with another seed, before the
            search accepts that trial as the incumbent. It has the number of the trial that it
            confirms.
        FINISH: Trains the detector of a chosen search trial to its end, after the last search
            trial.
    """

    BASE = "base"
    SEARCH = "search"
    CONTROL = "control"
    MACS_CONTROL = "macs-control"
    NOISE = "noise"
    CONFIRMATION = "confirm"
    FINISH = "finish"


def trial_name(role: TrialRole, number: int) -> str:
    """Return the trial's name in its run: "base", "0", "1", "control-1", "macs-control-1",
    "noise-1", "confirm-7", "finish-1"."""
    match role:
        case TrialRole.BASE:
            return "base"
        case TrialRole.SEARCH:
            return str(number)
        case _:
            return f"{role}-{number}"


CONTROL_ROLES = (TrialRole.CONTROL, TrialRole.MACS_CONTROL)
"""The roles of trials that the best detector is compared with."""
BASE_NAME = trial_name(TrialRole.BASE, 0)


class TeacherPolicy(StrEnum):
    """How a search chooses the teacher of a trial.

    Attributes:
        MUTATE: The parent's teacher. A step that does not edit the student mutates it
            (Joint-DetNAS), or takes a registered teacher.
        FIXED: The pool's largest subnet, or the only registered teacher, in every trial, the
            conventional baseline. Every step edits the student.
        RANDOM: A random teacher for every trial. A step that does not edit the student trains it
            further under the new teacher.
        NEAREST: The parent's teacher, or the largest subnet as long as none was chosen. A step that
            does not edit the student draws several different subnets and trains the student further
            under the nearest one, which has the smallest adaptation cost C(student, candidate).
            The cost is taken in this direction because C(A, B) is the part of B's features that a
            linear map of A's features does not explain, and that part is what the student has to
            learn. MTPD's orders minimise the same cost (docs/papers.md 2.4). C(candidate, student)
            would measure whether the teacher knows what the student knows, and not how hard it is
            to learn from the teacher. The worker measures the costs, since a strategy has no
            weights.
    """

    MUTATE = "mutate"
    FIXED = "fixed"
    RANDOM = "random"
    NEAREST = "nearest"


@dataclass(frozen=True, slots=True, kw_only=True)
class Train:
    """Train the student without editing it and without mutating the teacher: in the base, trial 0,
    controls, and trials that distil a student further."""

    kind: Literal["train"] = "train"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finish:
    """Train the student further without editing it, under the parent's teacher if there is one, by
    the finishing schedule: the learning rate falls to zero along a cosine, without the L1 term on
    BN weights. In finishing trainings, and at the end of controls."""

    kind: Literal["finish"] = "finish"


@dataclass(frozen=True, slots=True, kw_only=True)
class MutateTeacher:
    """Leave the student unedited and train it under a mutated teacher, or a registered one."""

    kind: Literal["mutate_teacher"] = "mutate_teacher"


@dataclass(frozen=True, slots=True, kw_only=True)
class PruneToMacs:
    """Prune the student's channels in one step to a target number of MACs, or of what the search
    counts instead.

    The cost is that at the score's base resolution. The ranking is that of `PruneChannels`.

    Raises:
        InvalidValueError: Not exactly one of `fraction`, `macs` and `latency_s` is given, or it is
            out of range, or the target is not of `cost`.
    """

    fraction: float | None = None
    """Target as a share of the parent's cost, in (0, 1). None: another target is given."""
    macs: float | None = None
    """Target multiply-accumulates of the whole detector, above 0. None: another target is given."""
    latency_s: float | None = None
    """Target seconds of one batch on the device, above 0. None: another target is given."""
    cost: Cost = Cost.MACS
    """What the target is a number of."""
    min_channels: int = 32
    """See `PruneChannels.min_channels`."""
    round_to: int = 1
    """See `PruneChannels.round_to`."""
    importance: ChannelImportance = ChannelImportance.GAMMA
    """See `PruneChannels.importance`."""
    kind: Literal["prune_to_macs"] = "prune_to_macs"

    def __post_init__(self) -> None:
        if [self.fraction, self.macs, self.latency_s].count(None) != 2:
            raise InvalidValueError(
                f"give exactly one of fraction={self.fraction}, macs={self.macs} and "
                f"latency_s={self.latency_s}"
            )
        if self.fraction is not None and not 0 < self.fraction < 1:
            raise InvalidValueError(f"fraction={self.fraction} must lie between 0 and 1")
        for name, value, cost in (
            ("macs", self.macs, Cost.MACS),
            ("latency_s", self.latency_s, Cost.LATENCY),
        ):
            if value is not None and value <= 0:
                raise InvalidValueError(f"{name}={value} must be positive")
            if value is not None and self.cost is not cost:
                raise InvalidValueError(f"{name}={value} is no target of cost={self.cost}")

    def target(self, parent_cost: float) -> float:
        """Return the target cost of the child, given the parent's."""
        if self.fraction is not None:
            return self.fraction * parent_cost
        given = self.latency_s if self.macs is None else self.macs
        assert given is not None  # checked above
        return given


@dataclass(frozen=True, slots=True, kw_only=True)
class TakeSubnet:
    """Evaluate a subnet of the pool, with its own BN statistics, as the detector. Nothing is
    inherited or trained; the trial's parent is the one whose subnet was mutated."""

    subnet: Subnet
    """The subnet to evaluate."""
    num_images: int | None = None
    """Number of validation images by which it is evaluated. None: all."""
    kind: Literal["take_subnet"] = "take_subnet"


Scalar = bool | int | float | str
"""A single value of a setting."""


def scalar_text(value: Scalar | None) -> str:
    """Return a value as a spec has it, "true" or "0.01"; "default" for null."""
    match value:
        case None:
            return "default"
        case bool():
            return str(value).lower()
        case float():
            return f"{value:g}"
        case _:
            return str(value)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainSwept:
    """Train the student as `Train` does, with another value of the setting that a distillation
    sweeps."""

    field: str
    """Dotted path of the setting in the spec, such as "trial.learning_rate"."""
    value: Scalar
    """Its value in this trial."""
    kind: Literal["train_swept"] = "train_swept"


Change = (
    Action | MutateTeacher | MutateMethods | Train | TrainSwept | Finish | PruneToMacs | TakeSubnet
)

_COST_NOUNS = {Cost.MACS: "MACs", Cost.PARAMS: "parameters", Cost.LATENCY: "latency"}


def describe_change(change: Change) -> str:
    """Return a short description of the change for tables and logs."""
    match change:
        case Train():
            return "train"
        case TrainSwept(field=field, value=value):
            return f"train with {field}={scalar_text(value)}"
        case Finish():
            return "finish the training"
        case MutateTeacher():
            return "mutate the teacher"
        case MutateMethods():
            return str(change)
        case PruneToMacs():
            return f"prune channels to {_describe_target(change)}"
        case TakeSubnet(subnet=subnet):
            return f"take subnet {subnet}"
        case _:
            return describe(change)


def _describe_target(change: PruneToMacs) -> str:
    if change.macs is not None:
        return f"{change.macs / 1e9:.3g} GMACs"
    if change.latency_s is not None:
        return f"{1000 * change.latency_s:.3g} ms"
    return f"{change.fraction:.0%} of {_COST_NOUNS[change.cost]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """One trial that the strategy wants to be run."""

    role: TrialRole
    """Why the trial is run."""
    number: int
    """Position among the proposals of the same role: 0 for the base, from 0 for search trials, from
    1 for controls, repetitions and finishing trainings. A confirmation has the number of the trial
    that it confirms."""
    parent: str | None
    """Name of the trial whose student and adapters this trial inherits. None for the base."""
    change: Change
    """What is done to the parent's student or teacher."""
    teacher: Teaching | None
    """What the student is distilled from. None: it is trained without a teacher."""
    seed: int
    """Seed of all random numbers that the worker draws."""
    completed_before: int
    """Number of completions that the strategy had seen when it made this proposal. Replaying a
    search needs it."""
    methods: MethodSet | None = None
    """The methods by which the student is distilled, or by which its children will be if it is
    trained without a teacher. None: those of the spec."""

    @property
    def name(self) -> str:
        """The trial's name in its run; see `trial_name`."""
        return trial_name(self.role, self.number)


class Outcome(StrEnum):
    """How a trial ended, as its worker reports it.

    Attributes:
        SUCCEEDED: The student was trained and evaluated at every resolution.
        NO_OP: The action would have changed nothing, so nothing was trained; the report's `reason`
            says why.
        ABANDONED: Early stopping ended the trial before its last epoch; `reason` has the scores.
        FAILED: The trial failed; the report's `cause` and `reason` say why.
        STOPPED: The trial was stopped before its end; it can resume from its last checkpoint.
    """

    SUCCEEDED = "succeeded"
    NO_OP = "no_op"
    ABANDONED = "abandoned"
    FAILED = "failed"
    STOPPED = "stopped"

    @property
    def is_settled(self) -> bool:
        """Whether another attempt would have the same outcome."""
        return self not in (Outcome.FAILED, Outcome.STOPPED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """A file in the artifact store."""

    name: str
    """What the file is: "student", "adapters", "resume" and so on."""
    uri: str
    sha256: str
    """SHA-256 of the content, in hexadecimal digits."""
    size_bytes: int


class FinalSplit(StrEnum):
    """A split that detectors are measured on after a search.

    Attributes:
        TEST: The search neither trains on it nor selects by it.
        VALIDATION: The search selects by AP on it.
    """

    TEST = "test"
    VALIDATION = "validation"


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation(Accuracy):
    """Measurements of a detector on the validation split at one resolution."""

    resolution: Resolution
    macs: float
    """Multiply-accumulates of one image at exactly this resolution (docs/papers.md 0.4)."""
    latency_s: float
    """Median seconds of one forward pass at batch 1, warm and synchronised."""
    images_per_s: float
    """Throughput at batch 1: number of images over total time."""
    cost: float | None = None
    """What the search counts as cost at this resolution: parameters, or the predicted seconds of
    one batch on its device. None: it counts MACs."""
    breakdown: Breakdown | None = None
    """AP by class and by kind of error. None: it was not computed, as for subnets of pools and
    registered teachers."""
