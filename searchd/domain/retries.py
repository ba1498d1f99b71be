"""What becomes of a trial whose attempt has failed: the cause decides. Standard library only.

What an attempt taught is kept with the trial as its adjustments, by the names below; an adjustment
that is there was tried, so that each is made once.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from searchd.domain.lifecycle import FailureCause

BATCH_SIZE = "batch_size"
"""Images per device instead of the spec's; the learning rate is scaled by the same factor."""
RATE_FACTOR = "learning_rate_factor"
"""Multiplies the learning rate."""
WORKERS_LOST = "workers_lost"
"""How often the trial's worker was lost."""
PARENTS_PASSED_OVER = "parents_passed_over"
"""How many ancestors' students were damaged; the trial goes on from the one before them."""

LOWER_RATE = 0.1
"""Factor of the learning rate after a loss that was not finite: there is but one more try."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """An attempt that failed, as far as its consequence depends on it."""

    cause: FailureCause
    reason: str
    """In words."""
    batch_size: int
    """Images per device that the attempt trained with."""
    other_parent: str | None = None
    """Name of the trial whose student it may go on from, if the cause is its parent's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """The trial is to be tried again."""

    reason: str
    """In words: what happened, and what is done about it."""
    adjustments: Mapping[str, float]
    """All of the trial's from now on."""


def retry_of(
    failure: Failure, adjustments: Mapping[str, float], *, max_losses: int
) -> Retry | None:
    """How a trial is to be tried again, or None if it has failed for good.

    Args:
        failure: What happened.
        adjustments: What earlier attempts taught.
        max_losses: How many lost workers a trial may have.
    """
    match failure.cause:
        case FailureCause.OUT_OF_MEMORY:
            change, what = _with_less_memory(failure, adjustments)
        case FailureCause.NON_FINITE_LOSS:
            change, what = _with_lower_rate(adjustments)
        case FailureCause.WORKER_LOST:
            change, what = _with_another_worker(adjustments, max_losses)
        case FailureCause.STORE_REFUSED:  # for as long as it takes: other trials would fail too
            change, what = {}, "from its last checkpoint"
        case FailureCause.BAD_CHECKPOINT:
            change, what = _from_another_parent(failure, adjustments)
        case _:  # of the data set, or of the program: it would happen again
            return None
    if not change and not what:
        return None
    return Retry(
        reason=f"{failure.cause}: {failure.reason}; tried again {what}",
        adjustments={**adjustments, **change},
    )


def final_reason(failure: Failure, adjustments: Mapping[str, float]) -> str:
    """Why a trial has failed for good, in words: what happened last, and what had been tried."""
    tried = []
    if failure.cause is FailureCause.WORKER_LOST:
        tried.append(f"given up after {adjustments.get(WORKERS_LOST, 0) + 1:.0f} attempts")
    if BATCH_SIZE in adjustments:
        tried.append(f"with a batch of {adjustments[BATCH_SIZE]:.0f}")
    if RATE_FACTOR in adjustments:
        tried.append(f"with {adjustments[RATE_FACTOR]:g} of the learning rate")
    return "; ".join([failure.reason, *tried])


_Change = tuple[dict[str, float], str]
"""Adjustments to be added, and in words; nothing: it is not tried again."""
_NONE: _Change = ({}, "")


def _with_less_memory(failure: Failure, adjustments: Mapping[str, float]) -> _Change:
    if BATCH_SIZE in adjustments or failure.batch_size == 1:
        return _NONE
    half = failure.batch_size // 2
    what = f"with a batch of {half} instead of {failure.batch_size} and a learning rate to match"
    return {BATCH_SIZE: half}, f"{what}, from the last epoch"


def _with_lower_rate(adjustments: Mapping[str, float]) -> _Change:
    if RATE_FACTOR in adjustments:
        return _NONE
    return {
        RATE_FACTOR: LOWER_RATE
    }, f"with {LOWER_RATE:g} of the learning rate, from the last epoch"


def _with_another_worker(adjustments: Mapping[str, float], max_losses: int) -> _Change:
    lost = adjustments.get(WORKERS_LOST, 0) + 1
    if lost >= max_losses:
        return _NONE
    return {WORKERS_LOST: lost}, "by another worker, from its last checkpoint"


def _from_another_parent(failure: Failure, adjustments: Mapping[str, float]) -> _Change:
    if PARENTS_PASSED_OVER in adjustments or failure.other_parent is None:
        return _NONE
    return {PARENTS_PASSED_OVER: 1}, f"from the student of trial {failure.other_parent}"
