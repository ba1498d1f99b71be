"""Rearrange: moves a block over a stage border by changing strides (docs/papers.md 1.5 (4);
Joint-DetNAS A.1.2).

The order of the blocks stays, so every parameter is inherited unchanged. The block that becomes the
first of a stage gets stride 2, and the former first block stride 1. The function is not preserved:
the moved block runs at another resolution, and an inverted residual gains or loses its shortcut.
"""

from dataclasses import replace

from detection.build import Student
from detection.morphism.weights import join_blocks, split_blocks
from searchd.domain.actions import Move, Rearrange, can_rearrange
from searchd.domain.architecture import (
    Architecture,
    Block,
    BlockKind,
    Shortcut,
    implied_shortcut,
)
from searchd.domain.errors import IllegalActionError


def rearrange(student: Student, action: Rearrange) -> Student:
    """Move the first or last block of stage `action.stage` to the neighbouring stage.

    Raises:
        IllegalActionError: The stage would become empty, there is no such neighbour, or the level
            that the block leaves or joins would change its width.
    """
    architecture = student.detector.architecture
    if not can_rearrange(architecture, action.stage, action.move):
        raise IllegalActionError(
            f"{action.move} does not apply to stage {action.stage} of depths "
            f"{architecture.depths} and outputs {architecture.out_channels}: both stages must "
            "exist, keep a block, and keep their output channels"
        )
    blocks, others = split_blocks(student.weights, architecture)
    child = _move(architecture, action)
    return Student(
        detector=replace(student.detector, architecture=child),
        weights=join_blocks(blocks, others, child),
    )


def _move(architecture: Architecture, action: Rearrange) -> Architecture:
    kind = architecture.kind
    if action.move is Move.LAST_TO_NEXT:
        lower, upper = action.stage, action.stage + 1
        *before, moved = architecture.stages[lower - 1]
        entry, *after = architecture.stages[upper - 1]
        new_lower = (*before,)
        new_upper = (
            _with_stride(kind, moved, moved.out_channels, 2),
            _with_stride(kind, entry, moved.out_channels, 1),
            *after,
        )
    else:
        lower, upper = action.stage - 1, action.stage
        moved, entry, *after = architecture.stages[upper - 1]
        lower_blocks = architecture.stages[lower - 1]
        new_lower = (*lower_blocks, _with_stride(kind, moved, lower_blocks[-1].out_channels, 1))
        new_upper = (_with_stride(kind, entry, moved.out_channels, 2), *after)
    stages = list(architecture.stages)
    stages[lower - 1], stages[upper - 1] = new_lower, new_upper
    return replace(architecture, stages=tuple(stages))


def _with_stride(kind: BlockKind, block: Block, in_channels: int, stride: int) -> Block:
    """Return the block with another stride. A projection stays one; other shortcuts, which have no
    parameters, are those that the stride and widths imply."""
    if block.shortcut is Shortcut.PROJECTION:
        return replace(block, stride=stride)
    shortcut = implied_shortcut(kind, in_channels, block.out_channels, stride)
    return replace(block, stride=stride, shortcut=shortcut)
