"""The columns of a Pareto front."""

from collections.abc import Callable, Mapping, Sequence

from api.schemas import Point
from cli.output import giga, mega, percent
from cli.resources.search_report import with_interval
from searchd.domain.accuracy import ApKind
from searchd.domain.score import Cost

_ON_DEVICE: Mapping[str, Callable[[Point], object]] = {
    "MS PREDICTED": lambda p: _milliseconds(p.evaluation.cost),
    "MS ON DEVICE": lambda p: _milliseconds(p.evaluation.device_latency_s),
}


def columns(cost: Cost, points: Sequence[Point]) -> dict[str, Callable[[Point], object]]:
    """Return the columns of the front of a search.

    Args:
        cost: What the search counts as cost.
        points: The points of the front.
    """
    has_masks = any(each.evaluation.mask_ap is not None for each in points)
    tested = next((each.test.accuracy for each in points if each.test), ApKind.BOX_AP)
    return {
        "TRIAL": lambda p: p.trial_id,
        "ROLE": lambda p: p.role,
        "RESOLUTION": lambda p: p.evaluation.resolution,
        "AP %": lambda p: percent(p.evaluation.ap),
        "AP50 %": lambda p: percent(p.evaluation.ap50),
        **({"MASK AP %": lambda p: percent(p.evaluation.mask_ap)} if has_masks else {}),
        f"TEST {tested.words.upper()} %": lambda p: with_interval(p.test),
        "GMACS": lambda p: giga(p.evaluation.macs),
        "M PARAMS": lambda p: mega(p.params),
        "LATENCY MS": lambda p: f"{1000 * p.evaluation.latency_s:.1f}",
        **(_ON_DEVICE if cost is Cost.LATENCY else {}),
        "SCORE %": lambda p: percent(p.evaluation.score, 2),
    }


def _milliseconds(seconds: float | None) -> str | None:
    return None if seconds is None else f"{1000 * seconds:.2f}"
