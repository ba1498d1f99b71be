"""Layer pruning: removes the block with the smallest weights (docs/papers.md 1.5 (2);
Joint-DetNAS 3.3)."""

from dataclasses import replace

from detection.build import Student
from detection.morphism.errors import NothingToDo
from detection.morphism.weights import OFFSETS, BlockWeights, join_blocks, place_of, split_blocks
from searchd.domain.actions import LayerImportance, PruneLayer, removable_blocks


def prune_layer(student: Student, action: PruneLayer) -> Student:
    """Remove the least important removable block. All others are inherited unchanged.

    Blocks are ranked over the whole backbone; `searchd.domain.actions.removable_blocks` says which
    can be removed.

    Raises:
        NothingToDo: No block can be removed.
    """
    architecture = student.detector.architecture
    removable = removable_blocks(architecture)
    if not removable:
        raise NothingToDo(
            "no block is removable: each has no identity shortcut, is alone in its stage, or was "
            "added or moved by the last actions"
        )
    blocks, others = split_blocks(student.weights, architecture)
    by_place = dict(zip(map(place_of, architecture.placed_blocks()), blocks, strict=True))
    removed = min(removable, key=lambda place: block_importance(by_place[place], action.importance))

    stage, index = removed
    blocks_of_stage = architecture.stages[stage - 1]
    child = architecture.with_stage(stage, blocks_of_stage[:index] + blocks_of_stage[index + 1 :])
    del by_place[removed]
    return Student(
        detector=replace(student.detector, architecture=child),
        weights=join_blocks(by_place.values(), others, child),
    )


def block_importance(weights: BlockWeights, importance: LayerImportance) -> float:
    """Return the mean or sum of |w| over the weights of a block's convolutions, without offsets.

    The paper says "L1 norm"; the mean is the default, since a sum grows with the number of
    parameters and would always choose a block of the first stages (docs/papers.md 1.5 (2)).
    """
    # Accumulated in double precision: the sum of a wide block's weights is large.
    kernels = [
        tensor.double().abs()
        for name, tensor in weights.items()
        if tensor.dim() == 4 and OFFSETS not in name
    ]
    total = sum(kernel.sum().item() for kernel in kernels)
    if importance is LayerImportance.L1_SUM:
        return total
    return total / sum(kernel.numel() for kernel in kernels)
