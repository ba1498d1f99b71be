"""Faster R-CNN's losses, gradients and random draws are mmdet's to the bit, with few waits."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from detection.build import build_detector
from detection.data.batches import Batch, make_batch
from detection.data.coco import CocoSplit
from detection.data.shapes import make_shapes
from detection.distillation.distiller import Distiller, pair_of
from detection.distillation.student import plain_losses, student_step
from detection.fewer_waits import fewer_waits
from detection.measurement.host_waits import counted_waits
from searchd.domain.architecture import preset
from searchd.domain.detector import Detector, Family
from searchd.domain.resolution import Resolution
from searchd.spec import DatasetSpec, MethodsSpec

pytestmark = pytest.mark.timeout(60)  # real detectors are trained

SIZE = Resolution(96, 96)


def model(family: Family = Family.FASTER_RCNN, neck_channels: int = 16) -> Any:
    torch.manual_seed(1)
    return build_detector(
        Detector(
            architecture=preset("resnet18", base_channels=8),
            num_classes=4,
            family=family,
            neck_channels=neck_channels,
            head_channels=32,
            mask_channels=8,
            tower_channels=16,
            tower_convs=1,
            anchor_scale=4.0,
            num_proposals=40,
            sampled_rois=32,
        )
    )


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> DatasetSpec:
    folder: Path = tmp_path_factory.mktemp("shapes")
    return make_shapes(folder, num_train=4, num_validation=1, image_size=96)


@pytest.fixture(scope="module")
def batch(data: DatasetSpec) -> Batch:
    flips = [False, True, False, True]
    return make_batch(CocoSplit(data.train), range(4), SIZE, flips, masks=True)


@pytest.fixture(scope="module")
def partly_empty(data: DatasetSpec, tmp_path_factory: pytest.TempPathFactory) -> Batch:
    """A batch whose second image has no objects, and whose third has anchors that are not valid."""
    content = json.loads(data.train.annotations.read_text())
    empty = content["images"][1]["id"]
    content["annotations"] = [a for a in content["annotations"] if a["image_id"] != empty]
    file = tmp_path_factory.mktemp("empty") / "train.json"
    file.write_text(json.dumps(content))
    split = CocoSplit(data.train.model_copy(update={"annotations": file}))
    made = make_batch(split, range(3), SIZE, [False, True, True])
    made.samples[2].set_metainfo({"pad_shape": (96, 64)})
    return made


def far_off(model: Any) -> None:
    """Let most proposals lie outside the images, so that nothing of them is left."""
    torch.nn.init.constant_(model.rpn_head.rpn_reg.bias, 3.0)


def untouched(model: Any) -> None:
    del model


def step(detector: Any, losses: Callable[[], dict[str, Tensor]]) -> dict[str, Any]:
    """Return losses, gradients and the random state of a step."""
    torch.manual_seed(5)
    found = losses()
    torch.stack(list(found.values())).sum().backward()
    gradients = {name: p.grad.clone() for name, p in detector.named_parameters()}
    detector.zero_grad()
    return {**found, **gradients, "random": torch.get_rng_state()}


@pytest.mark.parametrize("change", [untouched, far_off])
@pytest.mark.parametrize("images", ["batch", "partly_empty"])
def test_losses_gradients_and_draws_are_mmdets_to_the_bit(
    images: str, change: Callable[[Any], None], request: pytest.FixtureRequest
) -> None:
    given: Batch = request.getfixturevalue(images)
    detector = model()
    change(detector)
    expected = step(detector, lambda: plain_losses(detector, given))

    with fewer_waits(detector):
        found = step(detector, lambda: plain_losses(detector, given))

    assert expected["loss_bbox"] > 0
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


def test_distillation_is_the_same_to_the_bit(batch: Batch, data: DatasetSpec) -> None:
    student, teacher = model(), model(neck_channels=24)
    distiller = Distiller(
        MethodsSpec().methods, teacher, pair_of(student, teacher, CocoSplit(data.train))
    )

    def losses() -> dict[str, Tensor]:
        own = student_step(student, batch)
        return own.losses | distiller(own.taps)

    expected = step(student, losses)
    with fewer_waits(student, distiller.teachers):
        found = step(student, losses)

    torch.testing.assert_close(found, expected, rtol=0, atol=0)


@pytest.mark.parametrize("family", [f for f in Family if f is not Family.FASTER_RCNN])
def test_other_detectors_are_the_same_to_the_bit(family: Family, batch: Batch) -> None:
    detector = model(family)
    expected = step(detector, lambda: plain_losses(detector, batch))

    with fewer_waits(detector):
        found = step(detector, lambda: plain_losses(detector, batch))

    torch.testing.assert_close(found, expected, rtol=0, atol=0)


def test_nothing_is_left_replaced(batch: Batch) -> None:
    detector = model()
    before = {
        name: set(vars(module)) | {type(getattr(module, "bbox_coder", None))}
        for name, module in detector.named_modules()
    }

    with fewer_waits(detector):
        plain_losses(detector, batch)

    after = {
        name: set(vars(module)) | {type(getattr(module, "bbox_coder", None))}
        for name, module in detector.named_modules()
    }
    assert after == before


def test_a_step_of_four_images_waits_seven_times_instead_of_150(batch: Batch) -> None:
    detector = model()

    def waits() -> int:
        with counted_waits() as found:
            step(detector, lambda: plain_losses(detector, batch))
        return found.total()

    assert waits() > 120
    with fewer_waits(detector):
        step(detector, lambda: plain_losses(detector, batch))  # constants move to the device once
        assert waits() == 7  # the NMS of each image, two samplings, the pooling
