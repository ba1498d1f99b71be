"""The columns of a Pareto front."""

from collections.abc import Callable, Mapping

from api.schemas import Point
from cli.output import giga, mega, percent
from cli.resources.search_report import with_interval
from searchd.domain.score import Cost

_ON_DEVICE: Mapping[str, Callable[[Point], object]] = {
    "MS PREDICTED": lambda p: _milliseconds(p.evaluation.cost),
    "MS ON DEVICE": lambda p: _milliseconds(p.evaluation.device_latency_s),
}


def columns(cost: Cost) -> dict[str, Callable[[Point], object]]:
    """Return the columns of the front of a search, by what the search counts as cost."""
    return {
        "TRIAL": lambda p: p.trial_id,
        "ROLE": lambda p: p.role,
        "RESOLUTION": lambda p: p.evaluation.resolution,
        "AP %": lambda p: percent(p.evaluation.ap),
        "AP50 %": lambda p: percent(p.evaluation.ap50),
        "TEST AP %": lambda p: with_interval(p.test),
        "GMACS": lambda p: giga(p.evaluation.macs),
        "M PARAMS": lambda p: mega(p.params),
        "LATENCY MS": lambda p: f"{1000 * p.evaluation.latency_s:.1f}",
        **(_ON_DEVICE if cost is Cost.LATENCY else {}),
        "SCORE %": lambda p: percent(p.evaluation.score, 2),
    }


def _milliseconds(seconds: float | None) -> str | None:
    return None if seconds is None else f"{1000 * seconds:.2f}"
