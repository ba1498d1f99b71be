"""Whether a trial is hopeless after its first epoch."""

from detection.build import Student
from detection.measurement.complexity import count
from searchd.domain.resolution import Resolution
from searchd.domain.score import score
from searchd.messages.tasks import EarlyStoppingRule, TrialTask


class Hopeless(Exception):
    """The trial is to be abandoned; says why."""


def score_after_first_epoch(
    task: TrialTask, wanted: EarlyStoppingRule, student: Student, resolution: Resolution, ap: float
) -> float:
    """H(S, r) of the student as it is (docs/papers.md 1.3)."""
    return score(
        ap=ap,
        macs=count(student.detector, task.score.base_resolution).macs,
        base_macs=wanted.base_macs,
        resolution=resolution,
        base_resolution=task.score.base_resolution,
        alpha=task.score.alpha,
        beta=task.score.beta,
    )


def check_hope(found: float, wanted: EarlyStoppingRule, resolution: Resolution) -> None:
    """
    Raises:
        Hopeless: The score is below the threshold; names both.
    """
    if wanted.abandon_below is not None and found < wanted.abandon_below:
        raise Hopeless(
            f"abandoned after its first epoch: its score of {found:.2%} at {resolution} is below "
            f"{wanted.abandon_below:.2%}, from which no trial of its kind and no luck within the "
            "noise leads to the best"
        )
