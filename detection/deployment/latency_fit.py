"""Fits the lookup table of a device to what was measured there."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from searchd.domain.latency_table import ANY_KIND, LatencyTable, Line, MeasuredLayer, Workload

_Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredDetector:
    """A whole detector that was measured."""

    workload: Workload
    seconds: float
    """Median seconds for one batch."""


def fit(layers: Sequence[MeasuredLayer], detectors: Sequence[MeasuredDetector]) -> LatencyTable:
    """Fit a table, by least squares of relative errors, so that what is small counts as much.

    Args:
        layers: The measured layers; not empty.
        detectors: Whole detectors, two or more of each family.
    """
    kinds = {each.layer.similar_to for each in layers}
    lines = {
        kind: _line([each for each in layers if each.layer.similar_to == kind]) for kind in kinds
    }
    table = LatencyTable(layers=tuple(layers), lines={**lines, ANY_KIND: _line(layers)})
    rows = [table.terms(each.workload) for each in detectors]
    names = list(dict.fromkeys(name for row in rows for name in row))
    values = np.array([[row.get(name, 0.0) for name in names] for row in rows])
    factors = _relative_fit(values, [each.seconds for each in detectors])
    return LatencyTable(
        layers=table.layers, lines=table.lines, factors=dict(zip(names, factors, strict=True))
    )


def nonnegative_fit(values: _Array, wanted: _Array) -> _Array:
    """Return factors of at least 0 with the least squared error (Lawson and Hanson).

    Args:
        values: n x m, a row for each equation.
        wanted: n.
    """
    scale = np.maximum(np.abs(values).max(axis=0), 1e-300)
    scaled, num = values / scale, values.shape[1]
    used: NDArray[np.bool_] = np.zeros(num, dtype=np.bool_)
    found: _Array = np.zeros(num)
    for _ in range(3 * num):
        gradient = scaled.T @ (wanted - scaled @ found)
        gradient[used] = -np.inf
        if used.all() or gradient.max() <= 1e-10:
            break
        used[int(gradient.argmax())] = True
        found = _solved(scaled, wanted, used, found)
        used = found > 0
    return np.asarray(found / scale, dtype=np.float64)


def _line(layers: Sequence[MeasuredLayer]) -> Line:
    values = np.array([[1.0, each.layer.macs, each.layer.numbers] for each in layers])
    call, mac, number = _relative_fit(values, [each.seconds for each in layers])
    return call, mac, number


def _relative_fit(values: _Array, seconds: Sequence[float]) -> list[float]:
    scaled = values / np.array(seconds)[:, None]
    return [float(factor) for factor in nonnegative_fit(scaled, np.ones(len(seconds)))]


def _solved(values: _Array, wanted: _Array, used: NDArray[np.bool_], start: _Array) -> _Array:
    """Return the best factors of the used columns, without those that would be negative."""
    used = used.copy()
    while True:
        best: _Array = np.zeros(len(used))
        best[used] = np.linalg.lstsq(values[:, used], wanted, rcond=None)[0]
        negative = used & (best <= 0)
        if not negative.any():
            return best
        moved = start[negative] / (start[negative] - best[negative])
        start = start + float(moved.min()) * (best - start)
        used &= start > 1e-15
