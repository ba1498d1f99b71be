"""Add-layer: append a block that starts as the identity (papers.md 1.5 (3); paper A.1.2).

The last BN's weight and bias are zero, so the block adds zero to its input, which is not negative:
the detector's function is unchanged, in train mode too.
"""

from dataclasses import replace

import torch
from torch import Tensor, nn

from detection.backbones.architecture_backbone import KERNEL_SIZES
from detection.build import Student
from detection.morphism.weights import BlockWeights, join_blocks, split_blocks
from searchd.domain.actions import AddLayer
from searchd.domain.architecture import Block, BlockKind


def add_layer(student: Student, action: AddLayer, *, generator: torch.Generator) -> Student:
    """Append an identity block, as wide as the stage's last one, to stage `action.stage`."""
    architecture = student.detector.architecture
    stage = architecture.stages[action.stage - 1]
    added = Block(channels=stage[-1].channels, groups=stage[-1].groups)
    child = architecture.with_stage(action.stage, (*stage, added))

    blocks, others = split_blocks(student.weights, architecture)
    position = sum(architecture.depths[: action.stage])
    blocks.insert(position, identity_block(architecture.kind, added, generator=generator))
    return Student(
        detector=replace(student.detector, architecture=child),
        weights=join_blocks(blocks, others, child),
    )


def identity_block(kind: BlockKind, block: Block, *, generator: torch.Generator) -> BlockWeights:
    """Weights of a block that has as many inputs as outputs and adds zero."""
    weights: BlockWeights = {}
    inputs = block.out_channels
    for conv, (outputs, kernel_size) in enumerate(
        zip(block.channels, KERNEL_SIZES[kind], strict=True)
    ):
        groups = block.groups if conv == kind.strided_conv else 1
        shape = (outputs, inputs // groups, kernel_size, kernel_size)
        weights[f"conv{conv + 1}.weight"] = dirac(shape, groups, generator=generator)
        is_last = conv == kind.num_convs - 1
        weights |= _fresh_bn(f"bn{conv + 1}", outputs, gamma=0.0 if is_last else 1.0)
        inputs = outputs
    return weights


def dirac(shape: tuple[int, int, int, int], groups: int, *, generator: torch.Generator) -> Tensor:
    """A partial identity: in every group, output i copies input i while there is an input i.

    Outputs beyond the inputs, which a literal Dirac leaves at zero, are He-initialised: a zero row
    under a zero gamma (the last convolution) or a ReLU (the others) would never learn.

    Args:
        shape: C_out x C_in/groups x k x k.
        groups: Groups of the convolution.
        generator: Draws the He rows.
    """
    weight = torch.empty(shape)
    nn.init.kaiming_normal_(weight, mode="fan_out", nonlinearity="relu", generator=generator)
    units = nn.init.dirac_(torch.empty(shape), groups)
    has_unit = units.flatten(1).any(dim=1)
    weight[has_unit] = units[has_unit]
    return weight


def _fresh_bn(name: str, channels: int, *, gamma: float) -> BlockWeights:
    return {
        f"{name}.weight": torch.full((channels,), gamma),
        f"{name}.bias": torch.zeros(channels),
        f"{name}.running_mean": torch.zeros(channels),
        f"{name}.running_var": torch.ones(channels),
        f"{name}.num_batches_tracked": torch.tensor(0),
    }
