"""Groups of parameters: what is trained, at which rate, with which weight decay."""

from typing import Any

import pytest
import torch
from mmdet.models.backbones import SSDVGG, MobileNetV2, ResNet, SwinTransformer
from torch import nn

from detection.backbone_stages import batch_norms, freeze, parameter_stages
from detection.build import build_detector
from detection.optimizers import ScheduledOptimizer, parameter_groups, with_batch_size
from searchd.domain.architecture import preset
from searchd.domain.detector import Detector, Family
from searchd.domain.errors import InvalidValueError
from searchd.spec import TrainingSpec


def model(family: Family = Family.FASTER_RCNN, backbone: str = "resnet18") -> Any:
    torch.manual_seed(0)
    return build_detector(
        Detector(
            architecture=preset(backbone, base_channels=8),
            num_classes=3,
            family=family,
            neck_channels=8,
            head_channels=16,
            tower_channels=16,
            tower_convs=1,
        )
    )


def spec(**values: Any) -> TrainingSpec:
    return TrainingSpec.model_validate(values)


def rates_of(built: Any, settings: TrainingSpec) -> dict[str, float]:
    """The learning rate of each parameter at the first step, by its name."""
    optimizer = ScheduledOptimizer(parameter_groups(built, (), settings), settings, 10)
    optimizer.set_rate(0)
    rates = {
        id(parameter): group["lr"]
        for group in optimizer.optimizer.param_groups
        for parameter in group["params"]
    }
    return {name: rates[id(p)] for name, p in built.named_parameters() if id(p) in rates}


def decays_of(built: Any, settings: TrainingSpec) -> dict[str, float]:
    decays = {
        id(parameter): group["weight_decay"]
        for group in ScheduledOptimizer(
            parameter_groups(built, (), settings), settings, 10
        ).optimizer.param_groups
        for parameter in group["params"]
    }
    return {name: decays[id(p)] for name, p in built.named_parameters()}


def test_by_default_all_parameters_are_one_group_in_their_order() -> None:
    built, adapter = model(), nn.Parameter(torch.zeros(2))

    (group,) = parameter_groups(built, [adapter], TrainingSpec())

    assert [id(p) for p in group.parameters] == [id(p) for p in (*built.parameters(), adapter)]
    assert (group.rate_factor, group.weight_decay) == (1.0, 1e-4)


def test_parameters_of_other_optimizers_and_frozen_ones_are_left_out() -> None:
    built = model()
    first, second, *rest = built.parameters()
    first.requires_grad_(False)

    (group,) = parameter_groups(built, (), TrainingSpec(), excluded={id(second)})

    assert [id(p) for p in group.parameters] == [id(p) for p in rest]


def test_layer_decay_falls_from_the_head_to_the_stem() -> None:
    rates = rates_of(model(), spec(learning_rate=1.0, layer_decay=0.5))

    assert rates["roi_head.bbox_head.fc_cls.weight"] == 1
    assert rates["neck.lateral_convs.0.conv.weight"] == 1
    assert rates["backbone.layer4.1.conv2.weight"] == 0.5
    assert rates["backbone.layer1.0.bn1.weight"] == 0.5**4
    assert rates["backbone.conv1.weight"] == rates["backbone.bn1.bias"] == 0.5**5


def test_the_factor_of_the_backbone_multiplies_its_layers() -> None:
    plain = rates_of(model(), spec(learning_rate=1.0, backbone_learning_rate_factor=0.1))
    both = spec(learning_rate=1.0, backbone_learning_rate_factor=0.1, layer_decay=0.5)

    assert {rate for name, rate in plain.items() if name.startswith("backbone.")} == {0.1}
    assert {rate for name, rate in plain.items() if not name.startswith("backbone.")} == {1.0}
    assert rates_of(model(), both)["backbone.conv1.weight"] == pytest.approx(0.1 * 0.5**5)


@pytest.mark.parametrize("family", [Family.FASTER_RCNN, Family.FCOS])
def test_norms_and_biases_have_their_own_weight_decay(family: Family) -> None:
    built = model(family)

    decays = decays_of(built, spec(optimizer="adamw", weight_decay=0.05, norm_weight_decay=0.0))

    norms = (nn.BatchNorm2d, nn.GroupNorm)
    free = {
        f"{path}.{name}"
        for path, module in built.named_modules()
        for name, _ in module.named_parameters(recurse=False)
        if isinstance(module, norms) or name == "bias"
    }
    assert {name for name, decay in decays.items() if decay == 0} == free
    assert {decay for name, decay in decays.items() if name not in free} == {0.05}
    assert set(decays_of(built, spec(weight_decay=0.3)).values()) == {0.3}


def test_adamw_takes_the_steps_of_torchs() -> None:
    ours, theirs = model(), model()
    settings = spec(optimizer="adamw", betas=(0.8, 0.99), norm_weight_decay=0.05, epochs=100)
    optimizer = ScheduledOptimizer(parameter_groups(ours, (), settings), settings, 100)
    reference = torch.optim.AdamW(
        theirs.parameters(), lr=1e-4, betas=(0.8, 0.99), weight_decay=0.05
    )

    for built, take in ((ours, optimizer.optimizer), (theirs, reference)):
        for parameter in built.parameters():
            parameter.grad = torch.ones_like(parameter)
        take.step()

    for found, expected in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=0)


def test_the_rate_grows_with_the_number_of_images() -> None:
    given = spec(learning_rate=0.02, batch_size=4)
    scaled = spec(learning_rate=0.02, batch_size=4, base_batch_size=16)

    assert with_batch_size(given, 4, 2).learning_rate == 0.02
    assert with_batch_size(scaled, 4, 2).learning_rate == pytest.approx(0.01)
    assert with_batch_size(scaled, 32, 1).learning_rate == pytest.approx(0.04)
    assert with_batch_size(spec(batch_size="auto"), 8, 1).batch_size == 8


@pytest.mark.parametrize("backbone", ["resnet18", "mobilenet_v2"])
def test_frozen_stages_are_the_stem_and_the_first_ones(backbone: str) -> None:
    built = model(backbone=backbone).backbone

    frozen = freeze(built, 2)

    still = {name for name, p in built.named_parameters() if not p.requires_grad}
    expected = ("conv1.", "bn1.", "stem_end.", "layer1.", "layer2.")
    assert still == {n for n, _ in built.named_parameters() if n.startswith(expected)}
    norms = {
        module
        for name, module in built.named_modules()
        if isinstance(module, nn.BatchNorm2d) and f"{name}.".startswith(expected)
    }
    assert set(frozen) & set(batch_norms(built)) == norms
    assert freeze(built, 0) == ()


@pytest.mark.parametrize(
    ("built", "frozen_stages"),
    [
        (lambda n: ResNet(18, frozen_stages=n), 2),
        (lambda n: MobileNetV2(frozen_stages=n), 3),
        (
            lambda n: SwinTransformer(
                embed_dims=12, depths=(1, 1, 1, 1), num_heads=(1, 1, 1, 1), frozen_stages=n
            ),
            2,
        ),
    ],
)
def test_mmdets_backbones_freeze_what_mmdet_freezes(built: Any, frozen_stages: int) -> None:
    ours, theirs = built(-1), built(frozen_stages)

    for each in (ours, theirs):
        each.train()
    for module in freeze(ours, frozen_stages):
        module.eval()

    assert {n for n, p in ours.named_parameters() if p.requires_grad} == {
        n for n, p in theirs.named_parameters() if p.requires_grad
    }
    norms = [
        {n for n, m in each.named_modules() if isinstance(m, nn.BatchNorm2d) and not m.training}
        for each in (ours, theirs)
    ]
    assert norms[0] == norms[1] or frozen_stages == 3  # mmdet's MobileNetV2 trains the stem's BN


def test_a_layer_after_the_last_stage_belongs_to_it() -> None:
    stages = parameter_stages(MobileNetV2())

    assert stages["conv1.conv.weight"] == 0
    assert {stage for name, stage in stages.items() if name.startswith("layer7.")} == {7}
    assert stages["conv2.conv.weight"] == 7


def test_a_backbone_without_known_stages_is_refused_only_if_they_matter() -> None:
    vgg = SSDVGG(depth=16, with_last_pool=False, ceil_mode=True)

    assert freeze(vgg, 0) == ()
    with pytest.raises(InvalidValueError, match="the stages of a SSDVGG are not known; leave out"):
        freeze(vgg, 1)
