import pytest

from searchd.domain.resolution import Resolution
from searchd.search.history import OperatingPoint
from searchd.search.learning_curves import (
    Curve,
    EpochAp,
    EpochLoss,
    TrialCurve,
    curve,
    detection_loss,
)


def point(resolution: str, ap: float) -> OperatingPoint:
    return OperatingPoint(resolution=Resolution.parse(resolution), macs=1e9, ap=ap)


def test_detection_loss_leaves_out_distillation_regularisation_and_the_sum() -> None:
    terms = {
        "loss_rpn_cls": 0.5,
        "s0.loss_bbox": 0.25,
        "ckd": 4.0,
        "icd.aux_loss": 8.0,
        "bn_l1": 16.0,
        "loss": 28.75,
    }
    assert detection_loss(terms) == pytest.approx(0.75)


def test_epochs_count_over_the_lineage_and_ap_is_that_of_the_largest_resolution() -> None:
    found = curve(
        [
            TrialCurve(
                trial="base",
                losses=({"loss_cls": 2.0}, {"loss_cls": 1.0}),
                points=(point("96x96", 0.3), point("128x64", 0.1)),
            ),
            TrialCurve(
                trial="0",
                losses=({"loss_cls": 0.5, "ckd": 3.0},),
                points=(point("64x64", 0.2), point("96x96", 0.4)),
            ),
        ]
    )
    assert found == Curve(
        losses=(
            EpochLoss(epoch=1, trial="base", detection_loss=2.0),
            EpochLoss(epoch=2, trial="base", detection_loss=1.0),
            EpochLoss(epoch=3, trial="0", detection_loss=0.5),
        ),
        aps=(EpochAp(epoch=2, trial="base", ap=0.3), EpochAp(epoch=3, trial="0", ap=0.4)),
    )


def test_a_loaded_base_has_an_ap_before_any_epoch() -> None:
    found = curve([TrialCurve(trial="base", losses=(), points=(point("96x96", 0.3),))])
    assert (found.losses, found.aps[0].epoch) == ((), 0)
