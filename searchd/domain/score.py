"""The score that hill climbing maximises (Joint-DetNAS 3.1.4; decisions in docs/papers.md 1.3)."""

from enum import StrEnum

from searchd.domain.errors import InvalidValueError
from searchd.domain.resolution import Resolution


class Cost(StrEnum):
    """What a search counts as the cost of a detector: in its score, its fronts, and where channels
    are pruned to a target.

    Attributes:
        MACS: Multiply-accumulates of one image.
        PARAMS: Parameters of the whole detector.
        LATENCY: Seconds of one batch on a device, as the device's lookup table predicts them.
    """

    MACS = "macs"
    PARAMS = "params"
    LATENCY = "latency"


def score(
    *,
    ap: float,
    macs: float,
    base_macs: float,
    resolution: Resolution,
    base_resolution: Resolution,
    alpha: float = 0.4,
    beta: float = 0.8,
) -> float:
    """Return H(S, r) = AP * [(C / C_base) * (R / R_base)^beta]^(-alpha).

    C and C_base are both counted at the base resolution, because R is a separate factor; R is the
    input area in pixels. H has the unit of `ap`. The base at its own resolution scores its AP.

    Args:
        ap: AP of the student at `resolution`, at least 0.
        macs: C, the student's multiply-accumulates at `base_resolution`, or what the search counts
            instead (`Cost`).
        base_macs: C_base, the same of the base detector.
        resolution: r, the resolution at which `ap` was measured.
        base_resolution: The resolution with area R_base.
        alpha: Weight of complexity. 0: the score is the AP (0.1 for a large base in the paper).
        beta: Weight of the input area relative to the MACs.

    Raises:
        InvalidValueError: `macs` or `base_macs` is not positive, or `ap` is negative.
    """
    if macs <= 0 or base_macs <= 0:
        raise InvalidValueError(f"macs={macs} and base_macs={base_macs} must be positive")
    if ap < 0:
        raise InvalidValueError(f"ap={ap} must be at least 0")
    area_ratio = resolution.area / base_resolution.area
    return float(ap * ((macs / base_macs) * area_ratio**beta) ** -alpha)
