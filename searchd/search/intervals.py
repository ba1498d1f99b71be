"""Confidence intervals from the bootstrap over images. Pure.

The resamples of two detectors that were measured on the same images are the same, so that their
difference has an interval of its own: much of the variation over images is common to both.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from searchd.domain.errors import InvalidValueError

LEVEL = 0.95
"""Share of the resamples that an interval contains."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A bootstrap interval."""

    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        """Whether every value of the interval has the same sign."""
        return self.low > 0 or self.high < 0


def interval(resampled: Sequence[float]) -> Interval | None:
    """Return the interval of an AP.

    Args:
        resampled: AP of each resample of the images; below 0 where a resample has no objects.

    Returns:
        The percentiles at both ends of the `LEVEL` share; None if no resample has objects.
    """
    values = np.asarray(resampled, dtype=np.float64)
    return _percentiles(values[values >= 0])


def difference(first: Sequence[float], second: Sequence[float]) -> Interval | None:
    """Return the interval of the AP of one detector minus that of another one.

    Args:
        first: AP of the first detector on each resample, as in `interval`.
        second: AP of the second detector on the same resamples.

    Raises:
        InvalidValueError: The numbers of resamples differ.
    """
    if len(first) != len(second):
        raise InvalidValueError(
            f"a paired difference needs the same resamples, got {len(first)} and {len(second)}"
        )
    one, other = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    return _percentiles((one - other)[(one >= 0) & (other >= 0)])


def _percentiles(values: NDArray[np.float64]) -> Interval | None:
    if not len(values):
        return None
    tail = 100 * (1 - LEVEL) / 2
    low, high = np.percentile(values, [tail, 100 - tail])
    return Interval(float(low), float(high))
