"""Add-layer: append a block that starts as the identity (docs/papers.md 1.5 (3);
Joint-DetNAS A.1.2).

The last BN's weight and bias are zero, so the block adds zero to its input. The input is not
negative or, between inverted residuals, passes no ReLU. So the detector's function is unchanged, in
train mode too.
"""

from dataclasses import replace

import torch
from torch import Tensor, nn

from detection.backbones.architecture_backbone import KERNEL_SIZES
from detection.build import Student
from detection.morphism.deformable import zero_offsets
from detection.morphism.weights import BlockWeights, join_blocks, split_blocks
from searchd.domain.actions import AddLayer
from searchd.domain.architecture import Block, BlockKind


def add_layer(student: Student, action: AddLayer, *, generator: torch.Generator) -> Student:
    """Append an identity block to stage `action.stage`.

    It has the widths and groups of the stage's last block, and is deformable if that block is.
    """
    architecture = student.detector.architecture
    stage = architecture.stages[action.stage - 1]
    last = stage[-1]
    added = Block(channels=last.channels, groups=last.groups, deformable=last.deformable)
    child = architecture.with_stage(action.stage, (*stage, added))

    blocks, others = split_blocks(student.weights, architecture)
    position = sum(architecture.depths[: action.stage])
    blocks.insert(position, identity_block(architecture.kind, added, generator=generator))
    return Student(
        detector=replace(student.detector, architecture=child),
        weights=join_blocks(blocks, others, child),
    )


def identity_block(kind: BlockKind, block: Block, *, generator: torch.Generator) -> BlockWeights:
    """Return the weights of a block with as many inputs as outputs that adds zero."""
    weights: BlockWeights = {}
    inputs = block.out_channels
    widths = kind.conv_channels(block.channels)
    for conv, (outputs, kernel_size, groups) in enumerate(
        zip(widths, KERNEL_SIZES[kind], kind.conv_groups(block), strict=True)
    ):
        name = f"conv{conv + 1}"
        shape = (outputs, inputs // groups, kernel_size, kernel_size)
        weights[f"{name}.weight"] = dirac(shape, groups, generator=generator)
        if block.deformable and conv == kind.strided_conv:
            weights |= zero_offsets(name, inputs)
        is_last = conv == kind.num_convs - 1
        weights |= fresh_bn(f"bn{conv + 1}", outputs, gamma=0.0 if is_last else 1.0)
        inputs = outputs
    return weights


def dirac(shape: tuple[int, int, int, int], groups: int, *, generator: torch.Generator) -> Tensor:
    """Return a partial identity: in every group, output i copies input i as long as both exist.

    Outputs beyond the inputs, which a literal Dirac leaves at zero, are He-initialised: a zero row
    before a zero gamma (the last convolution) or a ReLU (the others) would never learn. Columns of
    inputs beyond the outputs are He-initialised too: the layers that compute these inputs would get
    no gradient otherwise.

    Args:
        shape: C_out x C_in/groups x k x k.
        groups: Number of groups of the convolution.
        generator: Generator of the He weights.
    """
    drawn = torch.empty(shape)
    nn.init.kaiming_normal_(drawn, mode="fan_out", nonlinearity="relu", generator=generator)
    units = nn.init.dirac_(torch.empty(shape), groups)
    copies = units.sum(dim=(2, 3)) > 0  # C_out x C_in/groups, bool
    copied = copies.any(dim=1)[:, None] & copies.any(dim=0)[None, :]
    return torch.where(copied[:, :, None, None], units, drawn)


def fresh_bn(name: str, channels: int, *, gamma: float) -> BlockWeights:
    """Return the tensors of a BN that has seen no data, with this weight of every channel."""
    return {
        f"{name}.weight": torch.full((channels,), gamma),
        f"{name}.bias": torch.zeros(channels),
        f"{name}.running_mean": torch.zeros(channels),
        f"{name}.running_var": torch.ones(channels),
        f"{name}.num_batches_tracked": torch.tensor(0),
    }
