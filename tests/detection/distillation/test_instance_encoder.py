"""A query tells the class, roughly where, and roughly how large, and does not give the box away."""

import math

import pytest
import torch
from torch import Tensor

from detection.distillation.instance_encoder import (
    InstanceEncoder,
    descriptors,
    shifted_centres,
)


def one(
    *, label: int = 0, x: float = 0.5, y: float = 0.5, width: float = 1, height: float = 1
) -> tuple[Tensor, Tensor, Tensor]:
    """The first arguments of `descriptors` for one instance of one image."""
    return (
        torch.tensor([[label]]),
        torch.tensor([[[x, y]]]),
        torch.tensor([[[width, height]]]),
    )


def test_descriptor_of_coco_has_346_channels() -> None:
    encoder = InstanceEncoder(80)

    assert descriptors(*one(), 80).shape == (1, 1, 346)
    assert [tuple(layer.weight.shape) for layer in encoder.perceptron.layers] == [
        (256, 346),
        (256, 256),
        (256, 256),
    ]
    assert encoder(*one()).shape == (1, 1, 256)


def test_descriptor_starts_with_the_class() -> None:
    assert descriptors(*one(label=2), 4)[0, 0, :4].tolist() == [0, 0, 1, 0]


@pytest.mark.parametrize(
    ("size_px", "scale"),
    [
        (0, 0),
        (8, 0),
        (63.9, 0),
        (64, 1),
        (127, 1),
        (128, 2),
        (256, 3),
        (511, 3),
        (512, 4),
        (4e3, 4),
    ],
)
def test_descriptor_ends_with_the_scales_of_width_and_height(size_px: float, scale: int) -> None:
    ending = descriptors(*one(width=size_px, height=100), 4)[0, 0, -10:].tolist()

    assert ending[:5] == [float(i == scale) for i in range(5)]
    assert ending[5:] == [0, 1, 0, 0, 0]


def test_descriptor_holds_sinusoids_of_y_and_x() -> None:
    found = descriptors(*one(x=0.3, y=0.8), 4)[0, 0, 4:260].tolist()

    expected = [
        (math.sin, math.cos)[i % 2](2 * math.pi * share / 10000 ** (2 * (i // 2) / 128))
        for share in (0.8, 0.3)
        for i in range(128)
    ]
    assert found == pytest.approx(expected, abs=1e-5)


def test_centres_move_by_up_to_three_tenths_of_the_sides() -> None:
    torch.manual_seed(0)
    boxes = torch.tensor([0.2, 0.1, 0.6, 0.2]).expand(1, 4000, 4)

    moves = (shifted_centres(boxes)[0] - torch.tensor([0.4, 0.15])) / torch.tensor([0.4, 0.1])

    assert moves.abs().max() <= 0.3 + 1e-6
    assert moves.amax(dim=0).min() > 0.29
    assert moves.amin(dim=0).max() < -0.29
    assert moves.mean(dim=0).abs().max() < 0.01
    assert abs(float(torch.corrcoef(moves.T)[0, 1])) < 0.05
