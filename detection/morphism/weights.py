"""Splits a student's state_dict into blocks in forward order, and joins them again."""

import re
from collections.abc import Iterable, Mapping

from torch import Tensor

from searchd.domain.architecture import NUM_STAGES, Architecture, PlacedBlock
from searchd.domain.detector import Family

BlockWeights = dict[str, Tensor]
"""A block's tensors by local name: conv1.weight, bn1.running_mean, downsample.0.weight."""

PROJECTION_CONV = "downsample.0"
PROJECTION_BN = "downsample.1"
OFFSETS = "conv_offset"
"""Name of the part of a deformable convolution that computes its offsets, as in
conv2.conv_offset.weight."""
BN_VECTORS = ("weight", "bias", "running_mean", "running_var")
"""Tensors of a BN with one number per channel."""

_BLOCK_KEY = re.compile(r"backbone\.layer(\d+)\.(\d+)\.(.+)")


def split_blocks(
    weights: Mapping[str, Tensor], architecture: Architecture
) -> tuple[list[BlockWeights], dict[str, Tensor]]:
    """Return each block's weights in forward order, and all tensors that belong to no block."""
    by_place: dict[tuple[int, int], BlockWeights] = {
        place_of(placed): {} for placed in architecture.placed_blocks()
    }
    others: dict[str, Tensor] = {}
    for key, tensor in weights.items():
        match = _BLOCK_KEY.fullmatch(key)
        if match is None:
            others[key] = tensor
        else:
            by_place[int(match[1]), int(match[2])][match[3]] = tensor
    return list(by_place.values()), others


def join_blocks(
    blocks: Iterable[BlockWeights], others: Mapping[str, Tensor], architecture: Architecture
) -> dict[str, Tensor]:
    """Join blocks: the inverse of `split_blocks`. The n-th weights become the n-th block."""
    joined = dict(others)
    for placed, block in zip(architecture.placed_blocks(), blocks, strict=True):
        prefix = f"backbone.layer{placed.stage}.{placed.index}."
        joined.update({prefix + name: tensor for name, tensor in block.items()})
    return joined


def place_of(placed: PlacedBlock) -> tuple[int, int]:
    """Return (stage 1-4, block index), by which actions name blocks."""
    return placed.stage, placed.index


def output_readers(family: Family, stage: int) -> tuple[str, ...]:
    """Return the names of weights outside the backbone that read a stage's output (stage 1 to 4).

    They are C x C_stage x k x k: the FPN's 1x1 lateral convolution, if the family reads the stage,
    and RetinaNet's P6.
    """
    first = 1 if family.two_stage else 2  # one-stage families start at C3
    readers = [f"neck.lateral_convs.{stage - first}.conv.weight"] if stage >= first else []
    if family is Family.RETINANET and stage == NUM_STAGES:
        readers.append("neck.fpn_convs.3.conv.weight")
    return tuple(readers)
