"""The same point of an image is found at the same cell, whatever the two input sizes."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from detection.data.batches import Batch
from detection.data.coco import CocoSplit
from detection.data.shapes import make_shapes
from detection.data.views import make_views
from detection.distillation.alignment import aligned, to_other_input
from searchd.domain.resolution import Resolution


@pytest.fixture
def split(tmp_path: Path) -> CocoSplit:
    """Two images of 80 x 80 pixels."""
    return CocoSplit(make_shapes(tmp_path, num_train=2, num_validation=1, image_size=80).train)


def seen_at(split: CocoSplit, low: int, high: int) -> tuple[Batch, Batch]:
    sizes = {"low": Resolution(low, low), "high": Resolution(high, high)}
    views = make_views(split, [0, 1], sizes, flips=[False, True])
    return views["low"], views["high"]


def places(batch: Batch, stride: int) -> Tensor:
    """A map whose two channels are its cells' centres, x and y in pixels of the original image."""
    height, width = (-(-side // stride) for side in batch.inputs.shape[-2:])
    scale = batch.samples[0].scale_factor[0]
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return ((torch.stack([x, y]) + 0.5) * stride / scale).expand(len(batch.samples), -1, -1, -1)


@pytest.mark.parametrize("stride", [8, 16, 64])
@pytest.mark.parametrize(("low", "high"), [(200, 400), (200, 500), (200, 333), (333, 200)])
def test_every_cell_gets_what_its_own_place_has(
    split: CocoSplit, low: int, high: int, stride: int
) -> None:
    source, target = seen_at(split, low, high)
    theirs, wanted = places(source, stride), places(target, stride)

    found = aligned(theirs, source, wanted, target)

    # Beyond the outermost centres the map is continued, and so is not a ramp any more.
    torch.testing.assert_close(
        found, wanted.clamp(theirs.min(), theirs.max()), atol=1e-3, rtol=1e-4
    )


def test_an_object_is_at_the_same_cell_despite_different_paddings(split: CocoSplit) -> None:
    pixels = np.zeros((80, 80, 3), dtype=np.uint8)
    pixels[60:64, 68:72] = 255  # centre (70, 62)
    Image.fromarray(pixels).save(split.records[0].path)
    # Padded from 200 to 224 and from 480 to 480: the object is at 78 % and at 88 % of the width.
    source, target = seen_at(split, 200, 480)
    small, large = (functional.avg_pool2d(b.inputs[:, :1], 8) for b in (source, target))

    found = aligned(small, source, large, target)

    assert divmod(int(large[0].argmax()), 60) == (46, 52)  # 62 * 6 / 8 = 46.5, 70 * 6 / 8 = 52.5
    peak = divmod(int(found[0].argmax()), 60)
    assert max(abs(peak[0] - 46), abs(peak[1] - 52)) <= 1
    resized = functional.interpolate(small, size=large.shape[-2:], mode="bilinear")
    assert divmod(int(resized[0].argmax()), 60)[1] < 50


def test_without_padding_it_is_bilinear_interpolation(split: CocoSplit) -> None:
    source, target = seen_at(split, 64, 160)
    features = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    like = torch.zeros(2, 1, 20, 20)
    torch.testing.assert_close(
        aligned(features, source, like, target),
        functional.interpolate(features, size=(20, 20), mode="bilinear", align_corners=False),
    )


def test_maps_of_one_size_are_left_as_they_are(split: CocoSplit) -> None:
    batch, _ = seen_at(split, 200, 400)
    features = torch.randn(2, 3, 28, 28)
    assert aligned(features, batch, features.clone(), batch) is features


def test_gradient_reaches_the_features(split: CocoSplit) -> None:
    source, target = seen_at(split, 64, 128)
    features = torch.ones(2, 3, 8, 8, requires_grad=True)
    aligned(features, source, torch.zeros(2, 5, 16, 16), target).sum().backward()
    assert features.grad is not None
    # Every cell of the larger map is a weighted mean, so that their weights sum to their number.
    assert float(features.grad.sum()) == pytest.approx(2 * 3 * 16 * 16)


@pytest.mark.parametrize("high", [96, 80])
def test_the_gradient_equals_finite_differences(split: CocoSplit, high: int) -> None:
    source, target = seen_at(split, 64, high)
    features = torch.randn(2, 2, 2, 2, generator=torch.Generator().manual_seed(0)).double()
    like = torch.zeros(2, 1, -(-high // 32), -(-high // 32))

    assert torch.autograd.gradcheck(
        lambda f: aligned(f, source, like, target), features.requires_grad_()
    )


def test_regions_are_found_in_each_images_own_scale(split: CocoSplit) -> None:
    source, target = seen_at(split, 200, 480)
    wide = target.samples[1]
    wide.set_metainfo({"scale_factor": (12.0, 3.0)})  # 2.5 was the source's

    rois = torch.tensor([[1.0, 10, 20, 30, 40], [0.0, 10, 20, 30, 40]])

    found = to_other_input(rois, source, target)

    assert found.tolist() == [
        pytest.approx([1, 48, 24, 144, 48]),
        pytest.approx([0, 24, 48, 72, 96]),
    ]
