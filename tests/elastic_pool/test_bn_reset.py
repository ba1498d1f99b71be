"""BN reset against exact statistics."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from detection.build import load_student
from elastic_pool.bn_reset import reset_bn
from elastic_pool.supernet import extract
from searchd.domain.errors import InvalidValueError
from tests.elastic_pool.tiny import TINY_SPACE, make_images, make_supernet


def make_subnet() -> Any:
    return load_student(extract(make_supernet(), TINY_SPACE.smallest)).eval()


def test_statistics_equal_numpys_weighted_by_batch_size() -> None:
    detector = make_subnet()
    batches = [make_images(seed=1, num=3), make_images(seed=2, num=1)]
    with torch.no_grad():
        x = [detector.backbone.conv1(batch).numpy().astype(np.float64) for batch in batches]
    reset_bn(detector, batches)
    mean = (3 * x[0].mean((0, 2, 3)) + 1 * x[1].mean((0, 2, 3))) / 4
    var = (3 * x[0].var((0, 2, 3)) + 1 * x[1].var((0, 2, 3))) / 4
    bn = detector.backbone.bn1
    np.testing.assert_allclose(bn.running_mean.numpy(), mean, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(bn.running_var.numpy(), var, rtol=1e-5)


def test_deep_layers_see_what_they_see_in_training() -> None:
    detector, images = make_subnet(), make_images(num=4)
    reset_bn(detector, [images])
    seen: list[torch.Tensor] = []
    bn = detector.backbone.layer4[0].bn3
    hook = bn.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        detector.train().extract_feat(images)
    hook.remove()
    # the training pass moved the mean a tenth of the way to the batch's, where it already was
    np.testing.assert_allclose(
        bn.running_mean.numpy(), seen[0].mean((0, 2, 3)).numpy(), rtol=1e-4, atol=1e-5
    )


def test_one_batch_makes_eval_equal_training_mode() -> None:
    detector, images = make_subnet(), make_images(num=4)
    reset_bn(detector, [images])
    with torch.no_grad():
        inference = detector.eval().extract_feat(images)
        training = detector.train().extract_feat(images)
    torch.testing.assert_close(inference, training, rtol=1e-3, atol=1e-3)


def test_affine_weights_and_mode_stay() -> None:
    detector = make_subnet()
    affine = {name: value.clone() for name, value in detector.named_parameters()}
    statistics = detector.backbone.layer3[0].bn2.running_var.clone()
    reset_bn(detector, [make_images()])
    assert all(torch.equal(value, affine[name]) for name, value in detector.named_parameters())
    assert not torch.equal(detector.backbone.layer3[0].bn2.running_var, statistics)
    norms = [m for m in detector.modules() if isinstance(m, nn.BatchNorm2d)]
    assert not any(norm.training or norm._forward_pre_hooks for norm in norms)


def test_reset_is_refused_without_images() -> None:
    with pytest.raises(InvalidValueError, match="at least one image"):
        reset_bn(make_subnet(), [])
