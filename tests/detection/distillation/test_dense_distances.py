"""Distances between two predictions of dense heads."""

import numpy as np
import pytest
import torch

from detection.distillation.dense_distances import quality_focal_loss


@pytest.mark.parametrize("focus", [1.0, 2.0])
def test_quality_focal_loss_equals_numpy(focus: float) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(2, 2, 5, 4, generator=generator, dtype=torch.float64)

    found = quality_focal_loss(logits[0], logits[1], focus)

    p, q = 1 / (1 + np.exp(-logits[0].numpy())), 1 / (1 + np.exp(-logits[1].numpy()))
    entropy = -q * np.log(p) - (1 - q) * np.log(1 - p)
    expected = float((np.abs(p - q) ** focus * entropy).sum())
    assert float(found) == pytest.approx(expected, rel=1e-9)
