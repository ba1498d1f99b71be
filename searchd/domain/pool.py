"""What the training of an elastic teacher pool reports. Standard library only.

The counterpart of `Report` and `Progress` in `searchd.domain.trial`.
"""

from dataclasses import dataclass

from searchd.domain.lifecycle import FailureCause
from searchd.domain.subnet import Subnet
from searchd.domain.trial import Artifact, EpochMetrics, Evaluation, Outcome


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
