"""Early stopping: whether a trial is stopped before its last epoch."""

from detection.build import Student
from detection.measurement.cost import cost_of
from searchd.domain.resolution import Resolution
from searchd.domain.score import score
from searchd.messages.tasks import EarlyStoppingRule, TrialTask


class StoppedEarly(Exception):
    """The trial is not trained on; the message says why."""


def score_at_epoch(
    task: TrialTask, wanted: EarlyStoppingRule, student: Student, resolution: Resolution, ap: float
) -> float:
    """Return the score H(S, r) of the student as it is trained so far (docs/papers.md 1.3)."""
    return score(
        ap=ap,
        macs=cost_of(task.score.cost, student.detector, task.score.base_resolution, task.table),
        base_macs=wanted.base_macs,
        resolution=resolution,
        base_resolution=task.score.base_resolution,
        alpha=task.score.alpha,
        beta=task.score.beta,
    )


def check_threshold(found: float, wanted: EarlyStoppingRule, resolution: Resolution) -> None:
    """Check the score after the first epoch against the threshold.

    Raises:
        StoppedEarly: The score is below the threshold. The message names both.
    """
    if wanted.abandon_below is not None and found < wanted.abandon_below:
        raise StoppedEarly(
            f"abandoned after its first epoch: its score of {found:.2%} at {resolution} is below "
            f"the early-stopping threshold of {wanted.abandon_below:.2%}, so it is not expected to "
            "join the best"
        )


def check_rung(found: float, wanted: EarlyStoppingRule, epoch: int, resolution: Resolution) -> None:
    """Check the score after an epoch against the rung there, if there is one.

    Raises:
        StoppedEarly: The score is below that of the rung. The message names both.
    """
    for rung in wanted.rungs:
        if rung.epoch == epoch and rung.below is not None and found < rung.below:
            raise StoppedEarly(
                f"stopped at the rung of epoch {epoch}: its score of {found:.2%} at {resolution} "
                f"is below {rung.below:.2%}, which has rank {rung.rank} there among the "
                f"{rung.num} earlier trials with the same kind of change"
            )
