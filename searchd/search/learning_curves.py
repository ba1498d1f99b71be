"""Training loss against validation AP over a lineage of trials (MTPD 4.5, docs/papers.md 2.9).

A detector is evaluated where a trial of its lineage ends, and not after each epoch; so AP is known
at these epochs alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from searchd.domain.distillation_methods import MethodName

_SUM = "loss"
_METHODS = frozenset(MethodName)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialCurve:
    """One trial of a lineage."""

    trial: str
    losses: tuple[Mapping[str, float], ...]
    """Of each epoch: the mean of each term, weighted, and of their sum `loss`."""
    ap: float
    """At its end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochLoss:
    """One epoch of a curve."""

    epoch: int
    """From 1, over the whole lineage."""
    trial: str
    detection_loss: float


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochAp:
    """One evaluation of a curve."""

    epoch: int
    """After how many epochs of the whole lineage."""
    trial: str
    ap: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """A detector's way from its first epoch to its last."""

    losses: tuple[EpochLoss, ...]
    aps: tuple[EpochAp, ...]


def curve(stages: Sequence[TrialCurve]) -> Curve:
    """The curve of a lineage, from its base to its last trial."""
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
    """L_detect of an epoch: the detector's own terms, without those of distillation methods and of
    regularisation.

    The detector's terms have "loss" in their names, as mmdet gives them (loss_cls, s0.loss_bbox).
    """
    return sum(
        value
        for name, value in terms.items()
        if "loss" in name and name != _SUM and name.partition(".")[0] not in _METHODS
    )
