"""The score that hill climbing maximises (Joint-DetNAS 3.1.4; decisions in docs/papers.md 1.3)."""

from searchd.domain.errors import InvalidValueError
from searchd.domain.resolution import Resolution


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
    """H(S, r) = AP * [(C / C_base) * (R / R_base)^beta]^(-alpha).

    C and C_base are counted at one resolution, the base's, because R enters by itself; R is the
    area in pixels. H has the unit of `ap`, and the base at its own resolution scores its AP.

    Args:
        ap: mAP of the student at `resolution`, at least 0.
        macs: C, the student's multiply-accumulates at `base_resolution`.
        base_macs: C_base, the base detector's at `base_resolution`.
        resolution: r, at which `ap` was measured.
        base_resolution: R_base.
        alpha: Weight of complexity; 0 leaves the AP alone (0.1 for a large base in the paper).
        beta: Weight of the input area inside complexity.

    Raises:
        InvalidValueError: `macs` or `base_macs` is not positive, or `ap` is negative.
    """
    if macs <= 0 or base_macs <= 0:
        raise InvalidValueError(f"macs={macs} and base_macs={base_macs} must be positive")
    if ap < 0:
        raise InvalidValueError(f"ap={ap} must be at least 0")
    area_ratio = resolution.area / base_resolution.area
    return float(ap * ((macs / base_macs) * area_ratio**beta) ** -alpha)
