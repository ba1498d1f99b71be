"""NMS and RoIAlign in torch alone compute what mmcv's operators compute."""

import pytest
import torch

from detection.deployment.operators import CUSTOM, LEFT_OUT
from detection.deployment.torch_operators import TORCH_ONLY


@pytest.mark.parametrize("max_kept", [5, 1000])
def test_nms_keeps_the_boxes_that_mmcv_keeps(max_kept: int) -> None:
    torch.manual_seed(0)
    corners = torch.rand(2, 200, 2) * 60
    boxes = torch.cat([corners, corners + torch.rand(2, 200, 2) * 40], dim=-1)
    boxes[0, 3, 2:] = boxes[0, 3, :2]  # without area
    scores = torch.rand(2, 200)
    scores[1, 50:] = LEFT_OUT

    kept = TORCH_ONLY.kept_by_nms(boxes, scores, 0.5, max_kept)

    assert torch.equal(kept, CUSTOM.kept_by_nms(boxes, scores, 0.5, max_kept))
    assert kept[0].sum() > 4
    assert not kept[1, 50:].any()


def test_an_image_without_candidates_keeps_none() -> None:
    scores = torch.full((1, 7), LEFT_OUT)

    assert not TORCH_ONLY.kept_by_nms(torch.rand(1, 7, 4), scores, 0.5, 10).any()


def test_regions_have_the_features_that_mmcv_pools() -> None:
    torch.manual_seed(0)
    levels = [torch.rand(2, 5, 40, 30), torch.rand(2, 5, 20, 15)]
    start = torch.rand(60, 2) * 130 - 20  # some begin outside
    regions = torch.cat([start, start + torch.rand(60, 2) ** 3 * 150], dim=1)
    regions[0] = torch.tensor([5.0, 5.0, 5.0, 5.0])  # without area
    images, numbers = torch.arange(60) % 2, torch.arange(60) // 30
    arguments = (levels, regions, images, numbers, [4, 8], 7)

    pooled = TORCH_ONLY.pooled_regions(*arguments)

    torch.testing.assert_close(pooled, CUSTOM.pooled_regions(*arguments), rtol=1e-4, atol=1e-5)
    assert pooled.shape == (60, 5, 7, 7)
