"""The cause of a failure decides whether, and how, a trial is retried."""

import pytest

from searchd.domain.lifecycle import FailureCause
from searchd.domain.retries import Failure, final_reason, retry_of


def failure(cause: FailureCause, batch_size: int = 4, other_parent: str | None = None) -> Failure:
    return Failure(cause=cause, reason="why", batch_size=batch_size, other_parent=other_parent)


def test_after_out_of_memory_the_batch_is_halved() -> None:
    retry = retry_of(failure(FailureCause.OUT_OF_MEMORY), {}, max_losses=3)

    assert retry is not None
    assert retry.adjustments == {"batch_size": 2}
    assert retry.reason == (
        "out_of_memory: why; retried with a batch size of 2 instead of 4 and a scaled learning "
        "rate, from the last epoch"
    )


def test_an_odd_batch_is_halved_downwards() -> None:
    retry = retry_of(failure(FailureCause.OUT_OF_MEMORY, batch_size=3), {}, max_losses=3)

    assert retry is not None
    assert retry.adjustments == {"batch_size": 1}


def test_after_a_loss_that_is_not_finite_the_rate_is_lowered() -> None:
    retry = retry_of(failure(FailureCause.NON_FINITE_LOSS), {}, max_losses=3)

    assert retry is not None
    assert retry.adjustments == {"learning_rate_factor": 0.1}
    assert retry.reason.endswith("retried with 0.1 times the learning rate, from the last epoch")


def test_each_cause_has_its_own_try() -> None:
    """A smaller batch is no reason to give up when the loss explodes later."""
    tried = {"batch_size": 2.0, "workers_lost": 1.0}

    retry = retry_of(failure(FailureCause.NON_FINITE_LOSS), tried, max_losses=3)

    assert retry is not None
    assert retry.adjustments == {**tried, "learning_rate_factor": 0.1}


def test_a_worker_may_be_lost_as_often_as_the_settings_say() -> None:
    lost = failure(FailureCause.WORKER_LOST)
    first = retry_of(lost, {}, max_losses=3)
    assert first is not None
    second = retry_of(lost, first.adjustments, max_losses=3)
    assert second is not None

    assert second.adjustments == {"workers_lost": 2}
    assert retry_of(lost, second.adjustments, max_losses=3) is None
    assert final_reason(lost, second.adjustments) == "why; given up after 3 attempts"


def test_a_store_that_takes_no_writes_is_tried_for_as_long_as_it_takes() -> None:
    tried = {"workers_lost": 2.0}

    retry = retry_of(failure(FailureCause.STORE_REFUSED), tried, max_losses=3)

    assert retry is not None
    assert retry.adjustments == tried
    assert retry.reason == "store_refused: why; retried from its last checkpoint"


def test_with_a_damaged_parent_a_trial_continues_from_another_one() -> None:
    retry = retry_of(failure(FailureCause.BAD_CHECKPOINT, other_parent="3"), {}, max_losses=3)

    assert retry is not None
    assert retry.adjustments == {"parents_passed_over": 1}
    assert retry.reason.endswith("retried from the student of trial 3")


@pytest.mark.parametrize(
    ("failed", "tried"),
    [
        (failure(FailureCause.OUT_OF_MEMORY), {"batch_size": 2.0}),
        (failure(FailureCause.OUT_OF_MEMORY, batch_size=1), {}),
        (failure(FailureCause.NON_FINITE_LOSS), {"learning_rate_factor": 0.1}),
        (failure(FailureCause.BAD_CHECKPOINT, other_parent="3"), {"parents_passed_over": 1.0}),
        (failure(FailureCause.BAD_CHECKPOINT), {}),
        (failure(FailureCause.DATA_ERROR), {}),
        (failure(FailureCause.BUG), {}),
    ],
)
def test_what_would_fail_again_has_failed(failed: Failure, tried: dict[str, float]) -> None:
    assert retry_of(failed, tried, max_losses=3) is None


def test_final_reason_says_what_was_tried() -> None:
    tried = {"batch_size": 2.0, "learning_rate_factor": 0.1}

    assert final_reason(failure(FailureCause.OUT_OF_MEMORY), tried) == (
        "why; with a batch size of 2; with 0.1 times the learning rate"
    )
    assert final_reason(failure(FailureCause.DATA_ERROR), {}) == "why"
