"""How well the scores of short trials rank detectors as longer training does. Pure.

A search compares detectors after few epochs. Whether that finds those that are best at the end is
measured once by a benchmark, whose result is shipped, and by every search on the detectors that it
finishes.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from searchd.search.rank_correlation import kendalls_tau

FEWEST = 3
"""Smallest number of finished detectors whose ranking is compared."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Benchmark:
    """The result of the shipped benchmark, `python -m benchmarks.fidelity`."""

    tau: float
    """Kendall's tau of the scores after the short and after the long training, in [-1, 1]."""
    low: float
    """Lower end of the 95 % interval of tau over the choice of architectures."""
    high: float
    """Upper end of that interval."""
    architectures: int
    data: str
    short_epochs: int
    """Epochs of a trial."""
    more_epochs: int
    """Epochs of the training that follows it."""

    @property
    def sentence(self) -> str:
        """What was measured, and on what, in a sentence."""
        return (
            f"In the shipped benchmark, scores after {self.short_epochs} epochs ranked "
            f"{self.architectures} architectures on {self.data} as scores after "
            f"{self.more_epochs} more did with a Kendall's tau of {self.tau:.2f} (95 % interval "
            f"{self.low:.2f} to {self.high:.2f}; 1: the same ranking, 0: chance); on your data it "
            "can differ."
        )


BENCHMARK = Benchmark(**json.loads(Path(__file__).with_name("short_trials.json").read_text()))
"""Written by `python -m benchmarks.gain --table` from the benchmark's results."""


def tau_of_finished(scores: Sequence[tuple[float, float]]) -> float | None:
    """Return how well a search's trials ranked the detectors that it finished.

    Args:
        scores: Of each finished detector, the score of its trial and the score after finishing.

    Returns:
        Kendall's tau in [-1, 1]. None if there are fewer than `FEWEST`, or all scores are equal.
    """
    if len(scores) < FEWEST:
        return None
    short, finished = zip(*scores, strict=True)
    return kendalls_tau(short, finished)


def finished_sentence(tau: float, detectors: int) -> str:
    """Say how well the trials ranked the finished detectors."""
    return (
        f"Trials ranked the {detectors} finished detectors as finishing did with a Kendall's tau "
        f"of {tau:.2f} (1: the same ranking, 0: chance, -1: the opposite). Few detectors tell "
        "little."
    )
