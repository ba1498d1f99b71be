"""The supernet against static detectors."""

import random
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from detection.build import load_student
from elastic_pool.supernet import Supernet, extract
from searchd.domain.errors import InvalidValueError
from searchd.domain.subnet import Subnet
from searchd.spec import PretrainedSpec
from tests.elastic_pool.tiny import (
    TINY_SPACE,
    largest_difference,
    make_images,
    make_supernet,
    raw_outputs,
)

pytestmark = pytest.mark.timeout(60)  # real detectors are built

SUBNETS = (
    TINY_SPACE.largest,
    TINY_SPACE.smallest,
    *(TINY_SPACE.sample(random.Random(seed)) for seed in range(6)),
)


@pytest.fixture(scope="module")
def supernet() -> Supernet:
    return make_supernet()


@pytest.mark.parametrize("subnet", SUBNETS, ids=str)
def test_subnet_equals_its_extracted_detector(supernet: Supernet, subnet: Subnet) -> None:
    static = load_student(extract(supernet, subnet)).eval()
    with torch.no_grad(), supernet.active(subnet) as elastic:
        inside = raw_outputs(elastic, make_images())
        outside = raw_outputs(static, make_images())
    assert largest_difference(inside, outside) < 1e-5
    assert float(outside[-1].abs().mean()) > 1e-4  # not all zero


def test_subnet_equals_its_extracted_detector_when_training(supernet: Supernet) -> None:
    static = load_student(extract(supernet, TINY_SPACE.smallest))
    supernet.detector.train()
    with torch.no_grad(), supernet.active(TINY_SPACE.smallest) as elastic:
        inside = raw_outputs(elastic, make_images())
    supernet.detector.eval()
    assert largest_difference(inside, raw_outputs(static, make_images())) < 1e-5


def test_subnets_differ_from_each_other(supernet: Supernet) -> None:
    with torch.no_grad():
        with supernet.active(TINY_SPACE.largest) as elastic:
            large = raw_outputs(elastic, make_images())[-1]
        with supernet.active(TINY_SPACE.smallest) as elastic:
            small = raw_outputs(elastic, make_images())[-1]
    assert float((large - small).abs().max()) > 1e-3


def test_activation_ends_when_the_context_fails(supernet: Supernet) -> None:
    with torch.no_grad():
        before = raw_outputs(supernet.detector, make_images())
        with (
            pytest.raises(RuntimeError, match="trouble"),
            supernet.active(TINY_SPACE.largest),
            supernet.active(TINY_SPACE.smallest),
        ):
            raise RuntimeError("trouble")
        after = raw_outputs(supernet.detector, make_images())
    assert largest_difference(before, after) == 0


def test_gradients_reach_the_active_slices_only() -> None:
    supernet = make_supernet()
    with supernet.active(TINY_SPACE.smallest) as elastic:
        _sum(raw_outputs(elastic, make_images())).backward()
    parameters = dict(supernet.detector.named_parameters())
    conv = parameters["backbone.layer2.0.conv2.weight"].grad  # 24 x 24, of which 16 x 16 active
    assert conv is not None
    assert float(conv[:16, :16].abs().sum()) > 0
    assert float(conv[16:].abs().sum()) == float(conv[:, 16:].abs().sum()) == 0
    assert parameters["backbone.layer2.1.conv1.weight"].grad is None  # second block is skipped
    first_fc = parameters["roi_head.bbox_head.shared_fcs.0.weight"].grad  # 32 x (24 * 7 * 7)
    assert first_fc is not None
    assert float(first_fc[:, : 16 * 49].abs().sum()) > 0
    assert float(first_fc[:, 16 * 49 :].abs().sum()) == 0


def test_training_a_narrow_subnet_leaves_the_supernets_statistics_alone() -> None:
    supernet = make_supernet()
    supernet.detector.train()
    layer4 = supernet.detector.backbone.layer4[0].bn1
    before = layer4.running_mean.clone()
    with supernet.active(TINY_SPACE.smallest) as elastic:
        raw_outputs(elastic, make_images())
    assert torch.equal(layer4.running_mean, before)
    raw_outputs(supernet.detector, make_images())
    assert not torch.equal(layer4.running_mean, before)


def test_weights_are_those_of_the_largest_static_detector(supernet: Supernet) -> None:
    largest = extract(supernet, TINY_SPACE.largest)
    assert list(largest.weights) == list(supernet.weights())
    other = make_supernet(seed=1)
    other.load(largest.weights)
    assert all(torch.equal(value, other.weights()[name]) for name, value in largest.weights.items())


def test_extracted_weights_are_copies(supernet: Supernet) -> None:
    weights = extract(supernet, TINY_SPACE.largest).weights
    weights["backbone.conv1.weight"].zero_()
    assert float(supernet.weights()["backbone.conv1.weight"].abs().sum()) > 0


def test_subnet_outside_the_space_is_refused(supernet: Supernet) -> None:
    alien = Subnet(depths=(9, 1, 1, 1), widths=(1.0,) * 4, neck_channels=16)
    with pytest.raises(InvalidValueError, match="depth_1=9"):
        extract(supernet, alien)
    with pytest.raises(InvalidValueError, match="depth_1=9"), supernet.active(alien):
        pass


def _sum(tensors: list[Tensor]) -> Tensor:
    return torch.stack([tensor.sum() for tensor in tensors]).sum()


def test_every_layer_of_the_detector_is_elastic_or_has_no_channels(supernet: Supernet) -> None:
    plain = [
        name
        for name, module in supernet.detector.named_modules()
        if type(module) in (nn.Conv2d, nn.BatchNorm2d, nn.Linear)
    ]
    assert plain == []


def test_supernet_starts_from_a_pretrained_backbone_as_far_as_it_fits(tmp_path: Path) -> None:
    supernet = make_supernet()
    before = {name: value.clone() for name, value in supernet.weights().items()}
    stored = {
        name.removeprefix("backbone."): torch.full_like(value, 0.5)
        for name, value in before.items()
        if name.startswith("backbone.") and "layer1.1." not in name  # without that block
    }
    save_file(stored | {"fc.weight": torch.ones(2, 2)}, tmp_path / "resnet.safetensors")

    notes = supernet.start_from(PretrainedSpec(file=tmp_path / "resnet.safetensors"))

    after = supernet.weights()
    assert all(torch.equal(after[f"backbone.{name}"], value) for name, value in stored.items())
    others = [name for name in before if name.removeprefix("backbone.") not in stored]
    assert all(torch.equal(after[name], before[name]) for name in others)
    num = sum(name.startswith("backbone.") for name in before)
    assert notes[0].startswith(f"{len(stored)} of {num} tensors of the backbone are those of")
    assert "of this backbone only, and untrained: layer1.1.conv1.weight" in notes[1]
