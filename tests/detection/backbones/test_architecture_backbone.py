"""Blocks of every shortcut and the backbone made of them (papers.md 1.4, 1.5)."""

import ast
from pathlib import Path
from typing import Any

import pytest
import torch

from detection.backbones import ArchitectureBackbone, architecture_backbone
from detection.backbones.architecture_backbone import ResidualBlock

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


def test_unknown_shortcut_is_refused_by_name() -> None:
    blocks = [[{**BLOCK, "shortcut": "none"}]]

    with pytest.raises(ValueError, match="'none' is not built"):
        ArchitectureBackbone("basic", 8, blocks)


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

    assert roots == {"collections", "typing", "torch", "mmdet", "mmengine"}


def layers(backbone: ArchitectureBackbone) -> list[Any]:
    return [backbone.get_submodule(f"layer{number}") for number in (1, 2, 3, 4)]
