"""Fits the lookup table of a device to what was measured there."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

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
    """Return factors of at least 0 with the least squared error.

    Args:
        values: n x m, a row for each equation.
        wanted: n.
    """
    scale = np.maximum(np.abs(values).max(axis=0), 1e-300)
    found, _ = nnls(values / scale, wanted)
    return np.asarray(found / scale, dtype=np.float64)


def _line(layers: Sequence[MeasuredLayer]) -> Line:
    values = np.array([[1.0, each.layer.macs, each.layer.numbers] for each in layers])
    call, mac, number = _relative_fit(values, [each.seconds for each in layers])
    return call, mac, number


def _relative_fit(values: _Array, seconds: Sequence[float]) -> list[float]:
    scaled = values / np.array(seconds)[:, None]
    return [float(factor) for factor in nonnegative_fit(scaled, np.ones(len(seconds)))]
