"""What trials will take, estimated from earlier ones or by a formula."""

from dataclasses import replace
from typing import Any

import pytest

from searchd.domain.architecture import preset
from searchd.search.cost_model import (
    Images,
    Measured,
    Training,
    backbone_macs,
    backbone_params,
    forecast,
)

R18, R50 = preset("resnet18"), preset("resnet50")
TRAINING = Training(backbone=R18, has_teacher=True, on_gpu=True, mean_area=400 * 400, epochs=3)
IMAGES = Images(train=1000, validation=100)


def measured(epoch_s: float, rest_s: float = 5.0, **training: Any) -> Measured:
    return Measured(
        training=replace(TRAINING, **training),
        epoch_s=epoch_s,
        rest_s=rest_s,
        stored_bytes=1000,
    )


@pytest.mark.parametrize(
    ("backbone", "gmacs", "params"),
    [("resnet18", 1.81, 11.2e6), ("resnet50", 4.09, 23.5e6), ("mobilenet_v2", 0.30, 2.2e6)],
)
def test_macs_and_params_of_a_backbone_come_close_to_the_published_ones(
    backbone: str, gmacs: float, params: float
) -> None:
    """Shortcuts' projections and MobileNetV2's last layers are not counted."""
    assert backbone_macs(preset(backbone), 224 * 224) / 1e9 == pytest.approx(gmacs, rel=0.25)
    assert backbone_params(preset(backbone)) == pytest.approx(params, rel=0.25)


def test_trials_take_what_trials_alike_took() -> None:
    cost = forecast(TRAINING, [measured(100.0), measured(140.0), measured(110.0)], IMAGES)

    assert cost is not None
    assert (cost.basis, cost.seconds, cost.stored_bytes) == ("measured", 3 * 110 + 5, 1000)
    assert cost.explanation.startswith("3 earlier trials on this data set took 110 s per epoch")


def test_the_nearest_size_is_used_and_is_brought_to_this_one() -> None:
    near = measured(100.0, mean_area=TRAINING.mean_area / 2)
    far = measured(100.0, backbone=R50, mean_area=TRAINING.mean_area * 2)

    cost = forecast(TRAINING, [far, near], IMAGES)

    assert cost is not None
    assert cost.seconds == pytest.approx(3 * 200 + 5)


@pytest.mark.parametrize("other", [{"on_gpu": False}, {"has_teacher": False}])
def test_trials_of_another_kind_tell_nothing(other: dict[str, bool]) -> None:
    cost = forecast(TRAINING, [measured(100.0, **other)], IMAGES)

    assert cost is not None
    assert cost.basis == "estimate"
    assert cost.explanation.startswith("estimate: no trial of this kind")


def test_estimate_is_multiply_accumulates_over_speed() -> None:
    macs = 2.4 * backbone_macs(R18, 400 * 400)

    cost = forecast(TRAINING, [], IMAGES, evaluated_areas=[400 * 400])

    assert cost is not None
    assert cost.seconds == pytest.approx((3 * 1000 * 4.5 + 100) * macs / 5e12)
    alone = forecast(replace(TRAINING, has_teacher=False), [], IMAGES)
    assert alone is not None
    assert alone.seconds == pytest.approx(3 * 1000 * 3 * macs / 5e12)


def test_more_cores_are_faster() -> None:
    on_cpu = replace(TRAINING, on_gpu=False)

    one, four = (forecast(on_cpu, [], IMAGES, cpus=cpus) for cpus in (1, 4))

    assert one is not None
    assert four is not None
    assert one.seconds == pytest.approx(4 * four.seconds)


def test_nothing_is_known_without_the_data_set_or_the_detector() -> None:
    assert forecast(TRAINING, [], None) is None
    assert forecast(replace(TRAINING, backbone=None), [], IMAGES) is None


def test_loaded_detector_is_compared_by_the_images_alone() -> None:
    cost = forecast(replace(TRAINING, backbone=None), [measured(100.0)], None)

    assert cost is not None
    assert cost.seconds == 305.0
