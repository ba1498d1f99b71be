"""Builds what the report of a search says about latency."""

from collections.abc import Iterator, Sequence
from statistics import median

from api.schemas.reports import ReportedLatencies, ReportedLatency
from searchd.domain.score import Cost
from searchd.domain.trial import TrialRole
from searchd.search.macs_and_latency import TimedTrial, order_agreement, source
from searchd.store.models import EvaluationRow, SearchRow, TrialRow

_COMPARED = (TrialRole.BASE, TrialRole.SEARCH, TrialRole.FINISH)


def latencies(search: SearchRow, rows: Sequence[TrialRow]) -> ReportedLatencies | None:
    """Return MACs and latency of the base, the search trials and the finished detectors, at the
    largest resolution; None without any.

    Args:
        search: The search.
        rows: Its scored trials, with their evaluations.
    """
    found = [(row, _largest(row)) for row in rows if row.role in _COMPARED and row.evaluations]
    if not found:
        return None
    timed = [
        TimedTrial(trial=row.name, macs=at.macs, latency_s=_latency(search, at))
        for row, at in found
    ]
    errors = [abs(error) for _, at in found for error in _error(search, at)]
    return ReportedLatencies(
        source=source(search.spec.score.device),
        resolution=found[0][1].resolution,
        tau=order_agreement(timed),
        prediction_error=median(errors) if errors else None,
        detectors=[
            ReportedLatency(
                trial=each.trial,
                macs=each.macs,
                latency_s=each.latency_s,
                device_latency_s=at.device_latency_s,
            )
            for each, (_, at) in zip(timed, found, strict=True)
        ],
    )


def note(search: SearchRow, base: EvaluationRow, best: EvaluationRow) -> str | None:
    """Return how long base and best take on the device of a search by latency, in a sentence; None
    for another search."""
    device = search.spec.score.device
    if device is None:
        return None
    both = base.device_latency_s is not None and best.device_latency_s is not None
    one, other = ((each.device_latency_s if both else each.cost) or 0.0 for each in (best, base))
    how = "measured" if both else "predicted, since they were not measured there"
    return (
        f"On device {device} the best takes {1000 * one:.3g} ms at {best.resolution}, and the base "
        f"{1000 * other:.3g} ms at {base.resolution} ({how})."
    )


def _largest(row: TrialRow) -> EvaluationRow:
    return max(row.evaluations, key=lambda each: each.resolution.area)


def _latency(search: SearchRow, at: EvaluationRow) -> float:
    is_predicted = search.spec.score.cost is Cost.LATENCY
    return at.cost if is_predicted and at.cost is not None else at.latency_s


def _error(search: SearchRow, at: EvaluationRow) -> Iterator[float]:
    """Yield the relative error of a prediction, if there is one and it was measured."""
    if at.device_latency_s is not None:
        yield _latency(search, at) / at.device_latency_s - 1
