"""Landscapes of known curvature, and detectors that are left as they were."""

from collections.abc import Sequence

import pytest
import torch
from torch import nn

from detection.analysis.loss_landscape import (
    LossLandscape,
    detection_loss,
    filter_normalised,
    loss_landscape,
)
from detection.data.batches import Batch
from searchd.domain.detector import Family, MmdetDetector
from searchd.domain.errors import InvalidValueError
from tests.detection.distillation.conftest import tiny
from tests.detection.mmdet.random_models import build_mmdet


def quadratic(curvature: float, scale: float = 1.0) -> LossLandscape:
    """Of curvature/2 * |W - W*|^2 / scale^2 around its minimum W*, whose two rows have norm 5 and
    13 times the scale; bias and BN are in the loss as well, and would show if they were moved."""
    linear, norm = nn.Linear(2, 2).double(), nn.BatchNorm1d(2).double()
    minimum = scale * torch.tensor([[3.0, 4.0], [5.0, 12.0]], dtype=torch.float64)
    with torch.no_grad():
        linear.weight.copy_(minimum)
    bias = linear.bias.detach().clone()

    @torch.no_grad()
    def loss() -> float:
        moved = [(linear.weight - minimum) / scale]
        moved += [1000 * (linear.bias - bias), 1000 * (norm.weight - 1)]
        return curvature / 2 * float(torch.cat([each.flatten() for each in moved]).square().sum())

    found = loss_landscape(nn.Sequential(linear, norm), loss, num_points=5)
    assert torch.equal(linear.weight, minimum)
    return found


def test_along_an_axis_the_loss_is_the_quadratics() -> None:
    """Each direction is as long as the weight: |W*|^2 = 25 + 169 = 194."""
    found = quadratic(curvature=2.0)
    assert found.coordinates == (-1.0, -0.5, 0.0, 0.5, 1.0)
    assert found.centre == 0
    assert [row[2] for row in found.losses] == pytest.approx([194, 48.5, 0, 48.5, 194])
    assert found.losses[2] == pytest.approx([194, 48.5, 0, 48.5, 194])


def test_mean_increase_is_that_of_the_grid() -> None:
    """The mixed terms cancel out: the mean of a^2 + b^2 over the grid is 2 * 0.5."""
    found = quadratic(curvature=2.0)
    assert found.mean_increase == pytest.approx(194)
    assert found.max_increase == max(loss for row in found.losses for loss in row)
    assert found.max_increase >= 2 * 194  # some corner, where the mixed term is not negative


def test_curvature_scales_the_landscape_and_the_scale_of_the_weights_does_not() -> None:
    assert quadratic(6.0).mean_increase == pytest.approx(3 * quadratic(2.0).mean_increase)
    assert quadratic(2.0, scale=7.0).mean_increase == pytest.approx(quadratic(2.0).mean_increase)


def test_every_filter_of_a_direction_has_the_norm_of_the_weights() -> None:
    weight = torch.randn(3, 4, 3, 3)
    weight[1] = 0
    direction = filter_normalised(weight, torch.Generator().manual_seed(0))
    torch.testing.assert_close(direction.flatten(1).norm(dim=1), weight.flatten(1).norm(dim=1))
    assert not torch.allclose(direction[0], weight[0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_points": 4}, "num_points=4 must be odd"),
        ({"num_points": 1}, "num_points=1 must be odd"),
        ({"extent": 0}, "extent=0 must be positive"),
    ],
)
def test_grids_without_a_centre_are_refused(options: dict[str, int], message: str) -> None:
    with pytest.raises(InvalidValueError, match=message):
        loss_landscape(nn.Linear(1, 1), lambda: 0.0, **options)


def test_a_loss_that_is_not_finite_is_an_error_and_the_weights_are_restored() -> None:
    model = nn.Linear(2, 2)
    before = model.weight.detach().clone()
    with pytest.raises(InvalidValueError, match=r"inf at \(-1, -1\).*smaller extent"):
        loss_landscape(model, lambda: float("inf"), num_points=3)
    assert torch.equal(model.weight, before)


@pytest.mark.parametrize("family", list(Family))
def test_a_detector_of_any_family_is_left_as_it_was(
    family: Family, batches: Sequence[Batch]
) -> None:
    torch.manual_seed(0)
    model = tiny("resnet18", 16, family).eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    generator = torch.get_rng_state()

    found = loss_landscape(model, lambda: detection_loss(model, batches, 3), num_points=3)

    assert found.centre == detection_loss(model, batches, 3) > 0
    assert found.mean_increase != 0
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), generator)
    assert not any(module.training for module in model.modules())


def test_detection_loss_of_equal_weights_is_equal_and_of_other_draws_another(
    batches: Sequence[Batch],
) -> None:
    torch.manual_seed(0)
    model = tiny("resnet18", 16)
    model.train_cfg.rpn.sampler.num = 16
    assert detection_loss(model, batches, 1) == detection_loss(model, batches, 1)
    assert detection_loss(model, batches, 1) != detection_loss(model, batches, 2)


def test_detection_loss_is_the_mean_over_images(batches: Sequence[Batch]) -> None:
    torch.manual_seed(0)
    model = tiny("resnet18", 16, Family.FCOS)
    each = [detection_loss(model, [batch]) for batch in batches]
    assert detection_loss(model, batches) == pytest.approx(sum(each) / 2)


def test_a_detector_whose_losses_exist_in_train_mode_only_has_one(
    batches: Sequence[Batch],
) -> None:
    """DINO, whose queries with noise are made in train mode."""
    torch.manual_seed(0)
    model = build_mmdet(
        MmdetDetector(
            config="dino-4scale_r50_8xb2-12e_coco",
            num_classes=4,
            options={
                "backbone.depth": 18,
                "neck.in_channels": [128, 256, 512],
                "encoder.num_layers": 1,
                "decoder.num_layers": 1,
                "num_queries": 20,
                "dn_cfg.group_cfg.num_dn_queries": 4,
            },
        )
    )
    assert detection_loss(model, batches[:1]) > 0
