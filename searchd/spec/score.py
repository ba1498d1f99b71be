"""The score of a search, and what it counts as cost."""

from typing import Self

from pydantic import Field, model_validator

from searchd.domain.accuracy import ApKind
from searchd.domain.resolution import Resolution
from searchd.domain.score import Cost
from searchd.spec.base import Name, ResolutionText, Spec


class ScoreSpec(Spec):
    """The score H(S, r) = AP * [(C/C_base) * (R/R_base)^beta]^(-alpha), docs/papers.md 1.3, which
    AP it is of, and what the search counts as cost C."""

    accuracy: ApKind = ApKind.BOX_AP
    """Which AP the score is of, and the Pareto front, the target and the report: box_ap (of boxes),
    or mask_ap (of masks; needs a family that finds masks, such as mask_rcnn)."""
    alpha: float = Field(default=0.4, ge=0)
    """Exponent alpha of the score: how strongly complexity lowers it; with 0, the score is AP."""
    beta: float = Field(default=0.8, ge=0)
    """Exponent beta of the score: how strongly the area of the input counts as complexity."""
    base_resolution: ResolutionText = Resolution(1333, 800)
    """Base resolution R_base, "WxH" in pixels, at which the costs C and C_base are counted too."""
    cost: Cost = Cost.MACS
    """What counts as cost, in the score, the Pareto front and the choice of detectors to finish:
    macs (multiply-accumulates), params (parameters), or latency (the time of one batch on
    `device`)."""
    device: Name | None = None
    """Name of the registered device whose latency is the cost. Give it if and only if `cost` is
    latency."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.cost is Cost.LATENCY and self.device is None:
            raise ValueError(
                "cost: latency needs a device; register one (searchd device add NAME), and give "
                "device: NAME"
            )
        if self.cost is not Cost.LATENCY and self.device is not None:
            raise ValueError(
                f"device={self.device!r} has no effect on cost: {self.cost}; leave it out, or give "
                "cost: latency"
            )
        return self
