"""Blocks of every shortcut and the backbone made of them (docs/papers.md 1.4, 1.5)."""

import ast
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from mmcv.ops import ModulatedDeformConv2dPack
from mmdet.models.backbones import MobileNetV2, ResNet

from detection.backbones import ArchitectureBackbone, architecture_backbone
from detection.backbones.architecture_backbone import ResidualBlock
from detection.families.config import backbone_config
from searchd.domain.architecture import Architecture, preset

BLOCK = {"channels": [6, 8], "stride": 1, "shortcut": "identity", "groups": 1}
STRIDED = {**BLOCK, "stride": 2, "shortcut": "subsample"}


def test_subsample_shortcut_takes_every_second_pixel_of_an_odd_sized_input() -> None:
    block = ResidualBlock(
        "basic", 8, channels=[6, 8], stride=2, shortcut="subsample", groups=1
    ).eval()
    torch.nn.init.zeros_(block.last_bn.weight)
    x = torch.rand(2, 8, 7, 5)

    with torch.no_grad():
        out = block(x)

    assert torch.equal(out, x[:, :, [0, 2, 4, 6]][:, :, :, [0, 2, 4]])


def test_block_is_relu_of_main_path_plus_projection() -> None:
    torch.manual_seed(0)
    block: Any = ResidualBlock(
        "bottleneck", 4, channels=[6, 8, 10], stride=2, shortcut="projection", groups=2
    ).eval()
    x = torch.randn(1, 4, 8, 8)

    with torch.no_grad():
        main = torch.relu(block.bn1(block.conv1(x)))
        main = torch.relu(block.bn2(block.conv2(main)))
        main = block.bn3(block.conv3(main))
        expected = torch.relu(main + block.downsample[1](block.downsample[0](x)))
        out = block(x)

    assert out.shape == (1, 10, 4, 4)
    torch.testing.assert_close(out, expected, rtol=0, atol=0)
    assert (block.conv2.groups, block.conv2.stride, block.conv1.stride) == (2, (2, 2), (1, 1))


def test_fresh_blocks_pass_their_input_on() -> None:
    backbone = ArchitectureBackbone("basic", 8, [[BLOCK], [STRIDED], [STRIDED], [STRIDED]])
    backbone.init_weights()

    assert all(torch.all(layer[0].bn2.weight == 0) for layer in layers(backbone))
    assert all(torch.all(layer[0].bn1.weight == 1) for layer in layers(backbone))
    assert torch.all(backbone.bn1.weight == 1)


@pytest.mark.parametrize(
    ("kind", "shortcut", "message"),
    [
        ("basic", "none", "use identity or projection or subsample"),
        ("inverted_residual", "projection", "use identity or none"),
    ],
)
def test_shortcut_of_another_kind_is_refused_by_name(
    kind: Any, shortcut: str, message: str
) -> None:
    blocks = [[{**BLOCK, "shortcut": shortcut}]]

    with pytest.raises(ValueError, match=f"'{shortcut}' is not built for {kind} blocks; {message}"):
        ArchitectureBackbone(kind, 8, blocks)


def test_inverted_residual_is_linear_with_a_depthwise_convolution_between_two_1x1() -> None:
    torch.manual_seed(0)
    block: Any = ResidualBlock(
        "inverted_residual", 4, channels=[6, 4], stride=1, shortcut="identity", groups=1
    ).eval()
    torch.nn.init.constant_(block.bn1.bias, 5.0)  # so that ReLU6 cuts
    x = torch.randn(1, 4, 8, 8)

    with torch.no_grad():
        main = block.bn1(block.conv1(x)).clamp(0, 6)
        main = block.bn2(block.conv2(main)).clamp(0, 6)
        expected = x + block.bn3(block.conv3(main))
        out = block(x)

    torch.testing.assert_close(out, expected, rtol=0, atol=0)
    assert out.min() < 0
    assert (block.conv2.groups, block.conv2.weight.shape) == (6, (6, 1, 3, 3))


def test_inverted_residual_without_shortcut_is_its_main_path() -> None:
    block: Any = ResidualBlock(
        "inverted_residual", 4, channels=[6, 4], stride=2, shortcut="none", groups=1
    ).eval()
    torch.nn.init.zeros_(block.bn3.weight)
    torch.nn.init.constant_(block.bn3.bias, -2.0)

    out = block(torch.randn(1, 4, 7, 5))

    assert torch.equal(out, torch.full((1, 4, 4, 3), -2.0))


def test_mobilenet_computes_what_mmdets_does_with_its_weights() -> None:
    torch.manual_seed(0)
    theirs = MobileNetV2(out_indices=(1, 2, 4, 6))
    theirs.eval()
    ours = mobilenet(base_channels=32).eval()
    # Same tensors in the same order; theirs ends with a convolution that no FPN reads.
    weights = [v for k, v in theirs.state_dict().items() if not k.startswith("conv2.")]
    keys = list(ours.state_dict())
    ours.load_state_dict(dict(zip(keys, weights, strict=True)))

    with torch.no_grad():
        x = torch.randn(1, 3, 64, 96)
        features = ours(x)

        for mine, other in zip(features, theirs(x), strict=True):
            torch.testing.assert_close(mine, other, rtol=0, atol=1e-5)
    assert [tuple(f.shape[1:]) for f in features] == [
        (24, 16, 24),
        (32, 8, 12),
        (96, 4, 6),
        (320, 2, 3),
    ]


def test_deformable_resnet_computes_what_mmdets_does_with_its_weights() -> None:
    torch.manual_seed(0)
    theirs = ResNet(
        50,
        base_channels=8,
        stem_channels=8,
        dcn={"type": "DCNv2", "deform_groups": 1},
        stage_with_dcn=(False, False, False, True),
        norm_eval=False,
    )
    for module in theirs.modules():
        if isinstance(module, ModulatedDeformConv2dPack):
            torch.nn.init.normal_(module.conv_offset.weight, 0.0, 0.1)
    plain = preset("resnet50", base_channels=8)
    last = tuple(replace(block, deformable=True) for block in plain.stages[3])
    ours = build(plain.with_stage(4, last))
    ours.load_state_dict(theirs.state_dict(), strict=True)
    ours.eval()
    theirs.eval()

    with torch.no_grad():
        x = torch.randn(1, 3, 64, 96)
        for mine, other in zip(ours(x), theirs(x), strict=True):
            torch.testing.assert_close(mine, other, rtol=0, atol=1e-5)


def test_fresh_mobilenet_lets_its_input_through() -> None:
    torch.manual_seed(0)
    backbone = mobilenet(base_channels=8)
    backbone.init_weights()

    features = backbone(torch.randn(2, 3, 64, 96))

    assert all(feature.std() > 0.1 for feature in features)


def test_fresh_deformable_convolutions_sample_on_the_grid() -> None:
    basic = {**BLOCK, "deformable": True}
    backbone = ArchitectureBackbone("basic", 8, [[basic], [STRIDED], [STRIDED], [STRIDED]])
    backbone.init_weights()

    conv = layers(backbone)[0][0].conv1
    assert torch.count_nonzero(conv.conv_offset.weight) == 0
    assert torch.count_nonzero(conv.conv_offset.bias) == 0
    # He, fan-out: standard deviation sqrt(2 / (6 * 9)).
    assert conv.weight.std().item() == pytest.approx((2 / 54) ** 0.5, rel=0.15)


def test_the_file_needs_nothing_of_this_project_so_that_it_can_be_exported() -> None:
    tree = ast.parse(Path(architecture_backbone.__file__).read_text())
    roots = {
        (node.module or "").split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
    } | {
        alias.name.split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
    }

    assert roots == {"collections", "typing", "torch", "mmcv", "mmdet", "mmengine"}


def mobilenet(*, base_channels: int) -> ArchitectureBackbone:
    return build(preset("mobilenet_v2", base_channels=base_channels))


def build(architecture: Architecture) -> ArchitectureBackbone:
    config = backbone_config(architecture)
    assert config.pop("type") == "ArchitectureBackbone"
    return ArchitectureBackbone(**config)


def layers(backbone: ArchitectureBackbone) -> list[Any]:
    return [backbone.get_submodule(f"layer{number}") for number in (1, 2, 3, 4)]
