"""Training loss and validation AP over a lineage of trials (MTPD 4.5, docs/papers.md 2.9).

A detector is evaluated at the end of each trial of its lineage and not after each epoch, so AP is
known only at these epochs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from searchd.domain.distillation_methods import MethodName
from searchd.search.history import OperatingPoint

_SUM = "loss"
_METHODS = frozenset(MethodName)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialCurve:
    """One trial of a lineage."""

    trial: str
    losses: tuple[Mapping[str, float], ...]
    """For each epoch the mean of each weighted term, and of their sum `loss`."""
    points: tuple[OperatingPoint, ...]
    """Its evaluations, at least one."""

    @property
    def ap(self) -> float:
        """The AP after its last epoch, at the largest resolution."""
        return max(self.points, key=lambda point: point.resolution.area).ap


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochLoss:
    """One epoch of a curve."""

    epoch: int
    """The number of the epoch in the whole lineage, from 1."""
    trial: str
    detection_loss: float


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochAp:
    """One evaluation of a curve."""

    epoch: int
    """The number of epochs of the whole lineage before it."""
    trial: str
    ap: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """The learning curve of a detector from its first epoch to its last."""

    losses: tuple[EpochLoss, ...]
    aps: tuple[EpochAp, ...]


def curve(stages: Sequence[TrialCurve]) -> Curve:
    """Return the curve of a lineage, from its base to its last trial."""
    losses: list[EpochLoss] = []
    aps = []
    for stage in stages:
        for terms in stage.losses:
            losses.append(
                EpochLoss(
                    epoch=len(losses) + 1,
                    trial=stage.trial,
                    detection_loss=detection_loss(terms),
                )
            )
        aps.append(EpochAp(epoch=len(losses), trial=stage.trial, ap=stage.ap))
    return Curve(losses=tuple(losses), aps=tuple(aps))


def detection_loss(terms: Mapping[str, float]) -> float:
    """Return L_detect of an epoch: the sum of the detector's own terms, without those of
    distillation methods and of regularisation.

    The detector's terms have "loss" in their names, as mmdet gives them (loss_cls, s0.loss_bbox).
    """
    return sum(
        value
        for name, value in terms.items()
        if "loss" in name and name != _SUM and name.partition(".")[0] not in _METHODS
    )
