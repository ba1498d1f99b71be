"""Kendall's rank correlation. Pure."""

from collections.abc import Sequence

import numpy as np


def kendalls_tau(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Return Kendall's tau-b of two series: the pairs that both order alike, less those that they
    order differently, over all pairs, with ties left out of the denominator.

    Args:
        first: At least two numbers.
        second: As many numbers, each beside that of `first`.

    Returns:
        A number in [-1, 1]. None if there are fewer than two numbers, or a series is constant.
    """
    signs = [_signs(series) for series in (first, second)]
    pairs = [float((sign**2).sum()) for sign in signs]
    if not all(pairs):
        return None
    return float((signs[0] * signs[1]).sum() / np.sqrt(pairs[0] * pairs[1]))


def _signs(series: Sequence[float]) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """Return for every two members the sign of their difference."""
    values = np.asarray(series, dtype=np.float64)
    return np.sign(values[:, None] - values[None, :])
