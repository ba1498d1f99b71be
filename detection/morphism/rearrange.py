"""Rearrange: moves a block over a stage border by changing strides (docs/papers.md 1.5 (4);
Joint-DetNAS A.1.2).

The order of the blocks stays, so every parameter is inherited unchanged. The block that becomes the
first of a stage gets stride 2, and the former first block stride 1. The function is not preserved:
the moved block runs at another resolution, and an inverted residual gains or loses its shortcut.

Two options of the action add parameters: a projection of the moved block, and a new lateral of the
level whose width changes.
"""

from dataclasses import replace

import torch
from torch import Tensor, nn

from detection.build import Student
from detection.morphism.add_layer import fresh_bn
from detection.morphism.weights import (
    PROJECTION_BN,
    PROJECTION_CONV,
    BlockWeights,
    join_blocks,
    output_readers,
    split_blocks,
)
from searchd.domain.actions import Move, Rearrange, can_rearrange
from searchd.domain.architecture import (
    Architecture,
    Block,
    BlockKind,
    Shortcut,
    implied_shortcut,
)
from searchd.domain.errors import IllegalActionError


def rearrange(
    student: Student, action: Rearrange, *, generator: torch.Generator | None = None
) -> Student:
    """Move the first or last block of stage `action.stage` to the neighbouring stage.

    Args:
        student: The parent.
        action: The move.
        generator: Generator of the weights of a new lateral; None: torch's global one.

    Raises:
        IllegalActionError: The stage would become empty, there is no such neighbour, or the level
            that the block leaves or joins would change its width.
    """
    architecture = student.detector.architecture
    reinit = action.reinit_lateral
    if not can_rearrange(architecture, action.stage, action.move, reinit_lateral=reinit):
        raise IllegalActionError(
            f"{action.move} does not apply to stage {action.stage} of depths "
            f"{architecture.depths} and outputs {architecture.out_channels}: both stages must "
            "exist, keep a block, and keep their output channels"
        )
    blocks, others = split_blocks(student.weights, architecture)
    child = _move(architecture, action)
    for placed, weights in zip(child.placed_blocks(), blocks, strict=True):
        if (
            placed.block.shortcut is Shortcut.PROJECTION
            and f"{PROJECTION_CONV}.weight" not in weights
        ):
            weights |= _identity_projection(placed.block.out_channels)
    level = action.stage if action.move is Move.LAST_TO_NEXT else action.stage - 1
    for reader in output_readers(student.detector.family, level):
        width = child.out_channels[level - 1]
        if others[reader].shape[1] != width:
            others[reader] = _new_lateral(others[reader], width, generator)
    return Student(
        detector=replace(student.detector, architecture=child),
        weights=join_blocks(blocks, others, child),
    )


def _identity_projection(channels: int) -> BlockWeights:
    """Return a 1x1 convolution and BN that copy their input."""
    kernel = nn.init.dirac_(torch.empty(channels, channels, 1, 1))
    return {f"{PROJECTION_CONV}.weight": kernel} | fresh_bn(PROJECTION_BN, channels, gamma=1.0)


def _new_lateral(lateral: Tensor, width: int, generator: torch.Generator | None) -> Tensor:
    """Return the weights of a lateral of another input width, as mmdet's FPN starts."""
    drawn = torch.empty(lateral.shape[0], width, *lateral.shape[2:])
    return nn.init.xavier_uniform_(drawn, generator=generator)


def _move(architecture: Architecture, action: Rearrange) -> Architecture:
    kind = architecture.kind
    if action.move is Move.LAST_TO_NEXT:
        lower, upper = action.stage, action.stage + 1
        *before, moved = architecture.stages[lower - 1]
        entry, *after = architecture.stages[upper - 1]
        new_lower = (*before,)
        new_upper = (
            _with_stride(kind, moved, before[-1].out_channels, 2, action),
            _with_stride(kind, entry, moved.out_channels, 1, action),
            *after,
        )
    else:
        lower, upper = action.stage - 1, action.stage
        moved, entry, *after = architecture.stages[upper - 1]
        lower_blocks = architecture.stages[lower - 1]
        width = lower_blocks[-1].out_channels
        new_lower = (*lower_blocks, _with_stride(kind, moved, width, 1, action))
        new_upper = (_with_stride(kind, entry, moved.out_channels, 2, action), *after)
    stages = list(architecture.stages)
    stages[lower - 1], stages[upper - 1] = new_lower, new_upper
    return replace(architecture, stages=tuple(stages))


def _with_stride(
    kind: BlockKind, block: Block, in_channels: int, stride: int, action: Rearrange
) -> Block:
    """Return the block with another stride. A projection stays one; other shortcuts, which have no
    parameters, are those that the stride and widths imply, or a projection if it is asked for."""
    if block.shortcut is Shortcut.PROJECTION:
        return replace(block, stride=stride)
    shortcut = implied_shortcut(kind, in_channels, block.out_channels, stride)
    if action.projection and shortcut is Shortcut.SUBSAMPLE:
        shortcut = Shortcut.PROJECTION
    return replace(block, stride=stride, shortcut=shortcut)
