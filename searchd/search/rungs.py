"""Rungs of asynchronous successive halving: epochs at which a trial must be among the best share of
earlier trials to be trained on (ASHA, docs/papers.md 8). Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from searchd.search.strategies.base import option


@dataclass(frozen=True, slots=True, kw_only=True)
class Rungs:
    """Where the rungs are, and which share of the trials passes each."""

    first: int = option(
        1, "Epoch at whose end the first rung is. It must come before the last epoch.", ge=1
    )
    factor: int = option(
        3,
        "Reduction factor: each rung is at this multiple of the epochs of the rung before it, and "
        "about one trial in this number passes it.",
        ge=2,
    )

    def epochs(self, num_epochs: int) -> tuple[int, ...]:
        """Return the epochs of the rungs of a training, which all come before its last epoch."""
        found = []
        epoch = self.first
        while epoch < num_epochs:
            found.append(epoch)
            epoch *= self.factor
        return tuple(found)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rung:
    """One rung of one trial."""

    epoch: int
    """The trial is scored at the end of this epoch, from 1."""
    below: float | None = None
    """Score below which it is stopped there. None: too few trials have a score at this rung."""
    rank: int = 0
    """Rank of that score among the scores of earlier trials at this rung, from 1; 0 without one."""
    num: int = 0
    """Number of earlier trials with a score at this rung."""


def rung(epoch: int, scores: Sequence[float], factor: int) -> Rung:
    """Return the rung of a trial, given the scores that earlier trials had there.

    The trial passes if it is not below the best 1 / `factor` of them. Fewer than `factor` scores
    stop nothing, since the best share would be less than one trial.

    Args:
        epoch: The epoch of the rung.
        scores: The scores of earlier trials at this rung, best first.
        factor: The reduction factor.
    """
    num = len(scores)
    rank = num // factor
    below = scores[rank - 1] if rank else None
    return Rung(epoch=epoch, below=below, rank=rank, num=num)
