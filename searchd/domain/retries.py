"""Whether and how a trial is retried after a failed attempt: the cause decides.

Standard library only. The changes for the next attempt are stored with the trial as its
adjustments, by the names below. Each is made once: an adjustment that is present was tried.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from searchd.domain.lifecycle import FailureCause

BATCH_SIZE = "batch_size"
"""Images per device, in place of the spec's; the learning rate is scaled by the same factor."""
RATE_FACTOR = "learning_rate_factor"
"""Factor of the learning rate."""
WORKERS_LOST = "workers_lost"
"""Number of workers that the trial has lost."""
PARENTS_PASSED_OVER = "parents_passed_over"
"""Number of ancestors whose students are damaged; the trial starts from the one before them."""

LOWER_RATE = 0.1
"""Factor of the learning rate after a loss that was not finite; such a trial is retried once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """What the decision about a retry depends on."""

    cause: FailureCause
    reason: str
    """The error, in words."""
    batch_size: int
    """Images per device of the attempt."""
    other_parent: str | None = None
    """Name of the trial whose student the next attempt may start from, if the parent's is the
    cause."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """How a trial is retried."""

    reason: str
    """The error and what the next attempt does differently, in words."""
    adjustments: Mapping[str, float]
    """All adjustments of the trial from now on."""


def retry_of(
    failure: Failure, adjustments: Mapping[str, float], *, max_losses: int
) -> Retry | None:
    """Return how a trial is retried; None if it has failed for good.

    Args:
        failure: The failed attempt.
        adjustments: The adjustments of earlier attempts.
        max_losses: Number of lost workers after which a trial fails.
    """
    match failure.cause:
        case FailureCause.OUT_OF_MEMORY:
            change, what = _with_less_memory(failure, adjustments)
        case FailureCause.NON_FINITE_LOSS:
            change, what = _with_lower_rate(adjustments)
        case FailureCause.WORKER_LOST:
            change, what = _with_another_worker(adjustments, max_losses)
        case FailureCause.STORE_REFUSED:  # without a limit: other trials would fail too
            change, what = {}, "from its last checkpoint"
        case FailureCause.BAD_CHECKPOINT:
            change, what = _from_another_parent(failure, adjustments)
        case _:  # an error of the data set or of the program: it would happen again
            return None
    if not change and not what:
        return None
    return Retry(
        reason=f"{failure.cause}: {failure.reason}; retried {what}",
        adjustments={**adjustments, **change},
    )


def final_reason(failure: Failure, adjustments: Mapping[str, float]) -> str:
    """Return why a trial has failed for good, in words: the last error, and the adjustments that
    were tried."""
    tried = []
    if failure.cause is FailureCause.WORKER_LOST:
        tried.append(f"given up after {adjustments.get(WORKERS_LOST, 0) + 1:.0f} attempts")
    if BATCH_SIZE in adjustments:
        tried.append(f"with a batch size of {adjustments[BATCH_SIZE]:.0f}")
    if RATE_FACTOR in adjustments:
        tried.append(f"with {adjustments[RATE_FACTOR]:g} times the learning rate")
    return "; ".join([failure.reason, *tried])


_Change = tuple[dict[str, float], str]
"""Adjustments to be added, and what they change in words; both empty: no retry."""
_NONE: _Change = ({}, "")


def _with_less_memory(failure: Failure, adjustments: Mapping[str, float]) -> _Change:
    if BATCH_SIZE in adjustments or failure.batch_size == 1:
        return _NONE
    half = failure.batch_size // 2
    what = f"with a batch size of {half} instead of {failure.batch_size} and a scaled learning rate"
    return {BATCH_SIZE: half}, f"{what}, from the last epoch"


def _with_lower_rate(adjustments: Mapping[str, float]) -> _Change:
    if RATE_FACTOR in adjustments:
        return _NONE
    return {
        RATE_FACTOR: LOWER_RATE
    }, f"with {LOWER_RATE:g} times the learning rate, from the last epoch"


def _with_another_worker(adjustments: Mapping[str, float], max_losses: int) -> _Change:
    lost = adjustments.get(WORKERS_LOST, 0) + 1
    if lost >= max_losses:
        return _NONE
    return {WORKERS_LOST: lost}, "by another worker, from its last checkpoint"


def _from_another_parent(failure: Failure, adjustments: Mapping[str, float]) -> _Change:
    if PARENTS_PASSED_OVER in adjustments or failure.other_parent is None:
        return _NONE
    return {PARENTS_PASSED_OVER: 1}, f"from the student of trial {failure.other_parent}"
