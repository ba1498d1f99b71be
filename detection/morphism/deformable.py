"""Makes convolutions of a searched backbone deformable (DCNv2, docs/papers.md 1.10)."""

from collections.abc import Collection
from dataclasses import replace

import torch

from detection.build import Student
from detection.morphism.weights import OFFSETS, BlockWeights, join_blocks, split_blocks
from searchd.domain.architecture import NUM_STAGES, Block, BlockKind
from searchd.domain.errors import InvalidValueError

KERNEL_AREA = 9
"""Number of positions that a 3x3 convolution samples."""


def with_deformable_convs(student: Student, stages: Collection[int]) -> Student:
    """Make the strided 3x3 convolution of every block of these stages (1 to 4) deformable.

    Weights are inherited, and the detector computes the same: offsets start at zero and the mask at
    sigmoid(0) = 1/2, for which the kernel is doubled.

    Raises:
        InvalidValueError: There is no such stage, or the blocks are inverted residuals.
    """
    unknown = sorted(set(stages) - set(range(1, NUM_STAGES + 1)))
    if unknown:
        raise InvalidValueError(f"stages={unknown} must lie between 1 and {NUM_STAGES}")
    architecture = student.detector.architecture
    child = replace(
        architecture,
        stages=tuple(
            tuple(replace(b, deformable=b.deformable or stage in stages) for b in blocks)
            for stage, blocks in enumerate(architecture.stages, start=1)
        ),
    )
    blocks, others = split_blocks(student.weights, architecture)
    upgraded = [
        _upgrade(weights, child.kind, now.block)
        if now.block.deformable and not was.block.deformable
        else weights
        for was, now, weights in zip(
            architecture.placed_blocks(), child.placed_blocks(), blocks, strict=True
        )
    ]
    return Student(
        detector=replace(student.detector, architecture=child),
        weights=join_blocks(upgraded, others, child),
    )


def _upgrade(weights: BlockWeights, kind: BlockKind, block: Block) -> BlockWeights:
    conv = f"conv{kind.strided_conv + 1}"
    kernel = weights[f"{conv}.weight"]  # C_out x C_in/groups x 3 x 3
    offsets = zero_offsets(conv, kernel.shape[1] * block.groups)
    return weights | {f"{conv}.weight": 2 * kernel} | offsets


def zero_offsets(conv: str, in_channels: int) -> BlockWeights:
    """Return the offset weights of a new deformable 3x3 convolution with one deformable group.

    They are zero: two coordinates and one mask value for each of 9 positions, 27 x C_in x 3 x 3.
    """
    return {
        f"{conv}.{OFFSETS}.weight": torch.zeros(3 * KERNEL_AREA, in_channels, 3, 3),
        f"{conv}.{OFFSETS}.bias": torch.zeros(3 * KERNEL_AREA),
    }
