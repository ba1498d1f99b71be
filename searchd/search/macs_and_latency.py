"""MACs against latency of a search's detectors: whether fewer MACs were also less time. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class TimedTrial:
    """The detector of a trial at one resolution."""

    trial: str
    """The trial's name."""
    macs: float
    latency_s: float
    """Seconds, from the same source for all trials that are compared."""


def order_agreement(trials: Sequence[TimedTrial]) -> float | None:
    """Return Kendall's tau of MACs and latency: 1 if they order the detectors alike, -1 if in
    reverse. None with fewer than two detectors, or if all are equal."""
    from searchd.search.rank_correlation import (
        kendalls_tau,  # numpy, which commands need not wait for
    )

    return kendalls_tau([each.macs for each in trials], [each.latency_s for each in trials])


def source(device: str | None) -> str:
    """Return where the latencies of a search's trials are from, in words.

    Args:
        device: Name of the device whose latency the search counts; None if it counts another cost.
    """
    if device is None:
        return "measured in torch beside the trials"
    return f"predicted for device {device}"
