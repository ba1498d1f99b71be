"""Trials: what the strategy proposes and what a worker reports. Standard library only.

A trial is one student trained under one teacher and scored. The strategy cannot know the child's
channels (it has no weights); the worker evolves the student and reports its architecture.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from searchd.domain.actions import Action, describe
from searchd.domain.errors import InvalidValueError
from searchd.domain.resolution import Resolution
from searchd.domain.subnet import Subnet
from searchd.domain.teacher import Teaching


class TrialRole(StrEnum):
    """Why a trial is run.

    Attributes:
        BASE: Trains the base detector from scratch, without a teacher; the root of the lineage.
        SEARCH: A (student, teacher) pair of the search; number 0 is (S_base, P_super).
        CONTROL: Trains the base further without teacher and action, as long as the best detector,
            so that what training alone gains is known.
        NOISE: Trial 0 once more with another seed, so that it is known how far scores differ by
            chance.
        CONFIRMATION: A would-be best once more with another seed, before it is accepted; its number
            is that of the trial it confirms.
    """

    BASE = "base"
    SEARCH = "search"
    CONTROL = "control"
    NOISE = "noise"
    CONFIRMATION = "confirm"


def trial_name(role: TrialRole, number: int) -> str:
    """The trial's name inside its search: "base", "0", "1", "control-1", "noise-1", "confirm-7"."""
    match role:
        case TrialRole.BASE:
            return "base"
        case TrialRole.SEARCH:
            return str(number)
        case _:
            return f"{role}-{number}"


BASE_NAME = trial_name(TrialRole.BASE, 0)


class TeacherPolicy(StrEnum):
    """Which teacher a search gives to a trial.

    Attributes:
        MUTATE: The parent's; steps that do not edit the student mutate it (Joint-DetNAS).
        FIXED: Always the pool's largest subnet, the conventional baseline. Every step edits the
            student, since no teacher is mutated.
        RANDOM: A subnet drawn anew for every trial. A step that does not edit the student trains
            it further under the new one.
        NEAREST: The parent's, or the largest before any was chosen. A step that does not edit the
            student draws several different subnets, and trains the student further under the one
            that is nearest: whose adaptation cost C(student, candidate) is the smallest. This
            direction, since it is the student that is to mimic the teacher and C(A, B) is what of
            B's features a linear map of A's leaves unexplained: the part that is left to learn.
            MTPD's orders minimise the same, from what learns to what teaches (docs/papers.md 2.4).
            C(candidate, student) would tell whether the teacher knows what the student knows, which
            says nothing of how hard it is to learn from. The worker measures it, since a strategy
            has no weights.
    """

    MUTATE = "mutate"
    FIXED = "fixed"
    RANDOM = "random"
    NEAREST = "nearest"


@dataclass(frozen=True, slots=True, kw_only=True)
class Train:
    """No edit, and no mutated teacher: the base, trial 0, controls, and what is only distilled
    further."""

    kind: Literal["train"] = "train"


@dataclass(frozen=True, slots=True, kw_only=True)
class MutateTeacher:
    """The student stays; the pair gets a mutated teacher."""

    kind: Literal["mutate_teacher"] = "mutate_teacher"


@dataclass(frozen=True, slots=True, kw_only=True)
class PruneToMacs:
    """Channels of the student are pruned at once, until it has so many MACs.

    Counted at the score's base resolution; see `PruneChannels` for the ranking.
    """

    fraction: float | None = None
    """Of the parent's MACs, in (0, 1). Or:"""
    macs: float | None = None
    """Multiply-accumulates of the whole detector."""
    min_channels: int = 32
    """See `PruneChannels.min_channels`."""
    kind: Literal["prune_to_macs"] = "prune_to_macs"

    def __post_init__(self) -> None:
        if (self.fraction is None) == (self.macs is None):
            raise InvalidValueError(
                f"give exactly one of fraction={self.fraction} and macs={self.macs}"
            )
        if self.fraction is not None and not 0 < self.fraction < 1:
            raise InvalidValueError(f"fraction={self.fraction} must lie between 0 and 1")
        if self.macs is not None and self.macs <= 0:
            raise InvalidValueError(f"macs={self.macs} must be positive")

    def target(self, parent_macs: float) -> float:
        """The MACs wanted of the child."""
        if self.macs is not None:
            return self.macs
        assert self.fraction is not None  # checked above
        return self.fraction * parent_macs


@dataclass(frozen=True, slots=True, kw_only=True)
class TakeSubnet:
    """A subnet of the pool, cut out with BN statistics of its own, is the detector. Nothing is
    inherited or trained; the parent is the trial whose subnet was mutated."""

    subnet: Subnet
    kind: Literal["take_subnet"] = "take_subnet"


Change = Action | MutateTeacher | Train | PruneToMacs | TakeSubnet


def describe_change(change: Change) -> str:
    """The change in a few words, as tables and logs show it."""
    match change:
        case Train():
            return "train"
        case MutateTeacher():
            return "mutate the teacher"
        case PruneToMacs(fraction=None, macs=macs):
            assert macs is not None  # one of the two is given
            return f"prune channels to {macs / 1e9:.3g} GMACs"
        case PruneToMacs(fraction=fraction):
            return f"prune channels to {fraction:.0%} of MACs"
        case TakeSubnet(subnet=subnet):
            return f"take subnet {subnet}"
        case _:
            return describe(change)


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """One trial that the strategy asks for."""

    role: TrialRole
    number: int
    """Position among the proposals of its role: base 0, search from 0, others from 1. Of a
    confirmation that of the trial it confirms."""
    parent: str | None
    """Name of the trial whose student (and adapters) this one inherits. None for the base."""
    change: Change
    teacher: Teaching | None
    """None: trained without a teacher."""
    seed: int
    """Seeds the worker's every random draw."""
    completed_before: int
    """Number of completions the strategy had seen when it drew this; replay needs it."""

    @property
    def name(self) -> str:
        return trial_name(self.role, self.number)


class Outcome(StrEnum):
    """How a trial ended, as its worker reports it.

    Attributes:
        SUCCEEDED: Trained and evaluated at every resolution.
        NO_OP: The action left nothing to do; `reason` says why. Nothing was trained.
        ABANDONED: Hopeless after its first epoch; `reason` has the scores. Not trained further.
        FAILED: `cause` and `reason` say why.
        STOPPED: Told to stop before it was done; nothing is lost that was checkpointed.
    """

    SUCCEEDED = "succeeded"
    NO_OP = "no_op"
    ABANDONED = "abandoned"
    FAILED = "failed"
    STOPPED = "stopped"

    @property
    def is_settled(self) -> bool:
        """Whether another attempt would end likewise."""
        return self not in (Outcome.FAILED, Outcome.STOPPED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """A stored file."""

    name: str
    """What it is: student, adapters, resume, ..."""
    uri: str
    sha256: str
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """The student on the validation split at one resolution. APs are COCO box AP in [0, 1]; -1, as
    COCO has it, where the split has no object of that size."""

    resolution: Resolution
    ap: float
    ap50: float
    ap75: float
    ap_small: float
    ap_medium: float
    ap_large: float
    macs: float
    """Multiply-accumulates of one image at exactly this resolution (docs/papers.md 0.4)."""
    latency_s: float
    """Median seconds of one forward pass at batch 1, warm and synchronised."""
    images_per_s: float
    """Throughput at batch 1: images over total time."""
