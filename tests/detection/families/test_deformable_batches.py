"""A batch of any size passes the heads of VFNet and TOOD."""

import pytest
import torch

from detection.build import build_detector
from searchd.domain.architecture import preset
from searchd.domain.detector import Detector, Family


@pytest.mark.parametrize("family", [Family.VFNET, Family.TOOD])
def test_each_of_33_images_is_computed_as_alone(family: Family) -> None:
    torch.manual_seed(0)
    detector = Detector(
        architecture=preset("resnet18", base_channels=8),
        family=family,
        num_classes=2,
        neck_channels=8,
        tower_channels=8,
        tower_convs=1,
    )
    head = build_detector(detector).eval().bbox_head
    levels = [torch.randn(33, 8, side, side) for side in (8, 4, 2, 1, 1)]

    with torch.inference_mode():
        together = head(levels)
        alone = head([level[32:] for level in levels])

    for kind, other in zip(together, alone, strict=True):
        for level, one in zip(kind, other, strict=True):
            torch.testing.assert_close(level[32:], one, rtol=1e-4, atol=1e-5)
