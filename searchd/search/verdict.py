"""Says in plain words what a search gained, from paired differences and their intervals. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from searchd.domain.accuracy import ApKind

if TYPE_CHECKING:  # it needs numpy, and a client of the API needs only the enum
    from searchd.search.intervals import Interval

LARGEST_SAVING_RATIO = 0.9
"""Largest MACs of the best over those of a reference that count as a saving."""


class Conclusion(StrEnum):
    """What a paired difference shows.

    Attributes:
        BETTER: The interval is above zero.
        WORSE: The interval is below zero.
        UNDECIDED: The interval contains zero, so that the difference may be chance.
        UNKNOWN: There is no interval.
    """

    BETTER = "better"
    WORSE = "worse"
    UNDECIDED = "undecided"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """The best detector against a reference, both at one resolution."""

    reference: str
    """The reference in words, such as "the base"."""
    resolution: str
    """The resolution, "WxH"."""
    ap: float
    """AP of the best minus that of the reference, in [-1, 1]."""
    accuracy: ApKind = ApKind.BOX_AP
    """Which AP it is."""
    interval: "Interval | None"
    """Interval of the difference; None if it was not measured."""
    macs_ratio: float
    """MACs of the best over those of the reference."""

    @property
    def conclusion(self) -> Conclusion:
        """What the difference shows."""
        return conclusion_of(self.interval)

    @property
    def sentence(self) -> str:
        """The difference as one sentence."""
        points = f"{100 * self.ap:+.1f} points of {self.accuracy.words}"
        macs = f"with {self.macs_ratio:.2f} x its MACs."
        if self.interval is None:
            return (
                f"Against {self.reference} at {self.resolution}: {points}, without an interval, "
                f"{macs}"
            )
        low, high = 100 * self.interval.low, 100 * self.interval.high
        verb = {
            Conclusion.BETTER: "is better than",
            Conclusion.WORSE: "is worse than",
            Conclusion.UNDECIDED: "cannot be distinguished from",
        }[self.conclusion]
        return (
            f"It {verb} {self.reference} at {self.resolution}: {points}, 95 % interval {low:+.1f} "
            f"to {high:+.1f}, {macs}"
        )


def conclusion_of(interval: "Interval | None") -> Conclusion:
    """Return what a difference with this interval shows; None: it was not measured."""
    if interval is None:
        return Conclusion.UNKNOWN
    if not interval.excludes_zero:
        return Conclusion.UNDECIDED
    return Conclusion.BETTER if interval.low > 0 else Conclusion.WORSE


def verdict(
    best: str,
    split: str,
    num_images: int | None,
    differences: Sequence[Difference],
    *,
    finished_from: str | None = None,
) -> str:
    """Return what the search gained, with the split that shows it.

    Args:
        best: Name of the trial that trained the best detector.
        split: "test" or "validation".
        num_images: Number of images of the split; None if nothing was measured after the search.
        differences: The best against the base first, then against the controls; each at the best
            resolution of the best, and at that of the reference if it is another.
        finished_from: Name of the search trial that the best was finished from; None if it was not
            finished.
    """
    images = "" if num_images is None else f" ({num_images} images)"
    chosen = "did not select" if split == "test" else "selected"
    data = f"Figures are of the {split} split{images}, which {chosen} the best detector."
    origin = "" if finished_from is None else f", a finishing training of trial {finished_from}"
    sentences = [
        f"The best detector is trial {best}{origin}.",
        *(each.sentence for each in differences),
    ]
    return " ".join([*sentences, _summary(split, differences), data])


def _summary(split: str, differences: Sequence[Difference]) -> str:
    """Return one sentence that states whether the search gained."""
    found = {each.conclusion for each in differences}
    if Conclusion.UNKNOWN in found or not differences:
        return "Without intervals, a gain cannot be told from chance."
    if Conclusion.WORSE in found:
        return "The search did not gain in AP: a reference is better."
    if found != {Conclusion.BETTER}:
        return "A gain in AP over every reference is not shown; " + _saving(differences)
    if split != "test":
        return "A part of this gain may be selection."
    if len({each.reference for each in differences}) == 1:
        return "The search gained; without a control, longer training may explain the gain."
    return "The search gained."


def _saving(differences: Sequence[Difference]) -> str:
    """Return the end of a sentence about a gain in AP that is not shown."""
    largest = max(each.macs_ratio for each in differences)
    if largest > LARGEST_SAVING_RATIO:
        return "more images narrow the intervals."
    return (
        f"nor is a loss, and the best needs only {largest:.2f} x the MACs of the references or "
        "less. More images narrow the intervals."
    )


def teacher_advice(better: int, taught: int, loss_fall: float | None) -> str | None:
    """Return what to change if too few teachers were better than their students.

    Args:
        better: Number of trials whose teacher had a higher AP than the student before the trial.
        taught: Number of trials with a teacher whose AP was compared.
        loss_fall: Relative fall of the pool's loss within its last phase; None if there is no pool,
            or its last phase has one epoch.

    Returns:
        None if no trial was compared, or at least half of the teachers were better.
    """
    if taught == 0 or 2 * better >= taught:
        return None
    text = (
        f"Teachers were better than their students in {better} of {taught} trials, and a weaker "
        "teacher cannot be expected to help. "
    )
    if loss_fall is not None and loss_fall > 0:
        return text + (
            "Train the pool longer: its loss still fell by "
            f"{100 * loss_fall:.0f} % in its last phase."
        )
    return text + "Register a stronger teacher, or train a pool with larger subnets."
