"""What VFNet and TOOD read between cells is what mmcv's deformable convolution reads."""

import pytest
import torch
from mmcv.ops import deform_conv2d
from torch import Tensor

from detection.deployment.sampled_heads import sampled, shifted, star

MAP = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])


@pytest.mark.parametrize(
    ("x", "y", "value"),
    [
        (0.0, 0.0, 1.0),
        (0.5, 0.5, 2.5),
        (1.0, 0.25, 2.5),
        (-0.5, 0.0, 0.5),  # half of it is outside, where all is 0
        (1.25, 1.0, 3.0),
        (-1.0, 0.0, 0.0),
        (5.0, -7.0, 0.0),
    ],
)
def test_a_map_is_read_between_its_cells_and_is_0_outside(x: float, y: float, value: float) -> None:
    places = torch.tensor([x, y]).view(1, 1, 2, 1, 1).expand(1, 1, 2, 2, 2)

    assert sampled(MAP, places)[0, 0, 0, 0].item() == pytest.approx(value, abs=1e-6)


def test_a_star_is_the_corners_the_middles_of_the_sides_and_the_centre() -> None:
    distances = torch.tensor([1.0, 2.0, 3.0, 4.0]).view(1, 4, 1, 1).expand(1, 4, 1, 2)

    places = star(distances)[0, :, :, 0, 1]  # of the second cell, whose centre is at (1, 0)

    assert places.tolist() == [
        [0, -2],
        [1, -2],
        [4, -2],
        [0, 0],
        [1, 0],
        [4, 0],
        [0, 4],
        [1, 4],
        [4, 4],
    ]


def test_sides_of_boxes_are_read_as_by_a_deformable_convolution() -> None:
    generator = torch.Generator().manual_seed(0)
    boxes = torch.rand(2, 4, 5, 7, generator=generator)
    boxes[:, 2:] += 3  # so that no box is turned around
    offsets = torch.rand(2, 8, 5, 7, generator=generator) - 0.5

    found = shifted(boxes, offsets)

    inside = (slice(None), slice(None), slice(1, -1), slice(1, -1))
    torch.testing.assert_close(found[inside], by_mmcv(boxes, offsets)[inside])


def test_a_box_that_would_be_turned_around_stays_as_it_is() -> None:
    boxes = torch.tensor([0.0, 0.0, 2.0, 2.0]).view(1, 4, 1, 1).expand(1, 4, 1, 2).clone()
    boxes[..., 1] += 5
    offsets = torch.zeros(1, 8, 1, 2)
    offsets[0, 1, 0, 0] = 1.0  # the left side of the first box is read from the second one

    found = shifted(boxes, offsets)

    assert by_mmcv(boxes, offsets)[0, :, 0, 0].tolist() == [5, 0, 2, 2]
    assert found[0, :, 0, 0].tolist() == [0, 0, 2, 2]
    assert found[0, :, 0, 1].tolist() == [5, 5, 7, 7]


def by_mmcv(boxes: Tensor, offsets: Tensor) -> Tensor:
    """What mmdet's TOOD samples, before it looks at the boxes."""
    found: Tensor = deform_conv2d(boxes, offsets, boxes.new_ones(4, 1, 1, 1), 1, 0, 1, 4, 4)
    return found
