"""Applies an action to a student: f_evolve of Joint-DetNAS, from an architecture with weights to a
new architecture with inherited weights."""

from dataclasses import replace

import torch

from detection.build import Student
from detection.morphism.add_layer import add_layer
from detection.morphism.channel_importance import Taylor, ranked
from detection.morphism.channel_pruning import prune_channels
from detection.morphism.layer_pruning import prune_layer
from detection.morphism.rearrange import rearrange
from searchd.domain.actions import (
    PROTECTED_ACTIONS,
    Action,
    AddLayer,
    Move,
    PruneChannels,
    PruneLayer,
    Rearrange,
)
from searchd.domain.architecture import Architecture


def evolve(
    student: Student,
    action: Action,
    *,
    generator: torch.Generator,
    taylor: Taylor | None = None,
) -> Student:
    """Apply one action to a student (docs/papers.md 1.5).

    Deterministic given the student, the action and the generator's state. Tensors that the action
    does not change are shared with the parent: treat the weights of a `Student` as read-only.

    Args:
        student: The parent.
        action: The action to apply.
        generator: Generator of the weights of new channels, on the CPU.
        taylor: Ranks channels by images; needed by actions with this importance alone.

    Raises:
        NothingToDo: The action is legal, but nothing is left that it could change.
        IllegalActionError: The action does not apply to the parent's architecture.
    """
    child = _act(student, action, generator, taylor)
    architecture = _protect(child.detector.architecture, _fresh_block(child, action))
    return replace(child, detector=replace(child.detector, architecture=architecture))


def _act(
    student: Student, action: Action, generator: torch.Generator, taylor: Taylor | None
) -> Student:
    match action:
        case PruneChannels():
            return prune_channels(student, action, ranked(student, action.importance, taylor))
        case PruneLayer():
            return prune_layer(student, action)
        case AddLayer():
            return add_layer(student, action, generator=generator)
        case Rearrange():
            return rearrange(student, action, generator=generator)


def _fresh_block(child: Student, action: Action) -> tuple[int, int] | None:
    """Return (stage 1-4, block index) of the block that the action added or moved; None if none."""
    depths = child.detector.architecture.depths
    match action:
        case AddLayer():
            return action.stage, depths[action.stage - 1] - 1
        case Rearrange(move=Move.LAST_TO_NEXT):
            return action.stage + 1, 0
        case Rearrange():
            return action.stage - 1, depths[action.stage - 2] - 1
        case _:
            return None


def _protect(architecture: Architecture, fresh: tuple[int, int] | None) -> Architecture:
    """Protect the fresh block from removal, and count one action for every other block."""
    stages = tuple(
        tuple(
            replace(
                block,
                protected_for=PROTECTED_ACTIONS
                if (stage, index) == fresh
                else max(0, block.protected_for - 1),
            )
            for index, block in enumerate(blocks)
        )
        for stage, blocks in enumerate(architecture.stages, start=1)
    )
    return replace(architecture, stages=stages)
