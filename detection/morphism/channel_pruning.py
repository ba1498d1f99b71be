"""Channel pruning: network slimming on the backbone (docs/papers.md 1.5 (1); Joint-DetNAS 3.3,
A.3).

Channels are ranked over the whole backbone, by default by |gamma|
(`detection.morphism.channel_importance`). A ResNeXt loses whole groups. If gamma and beta of the
removed channels are zero, the detector's function is unchanged.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from detection.build import Student
from detection.morphism.channel_importance import ranked
from detection.morphism.channel_slices import narrowed, selected, slice_weights, units_kept
from detection.morphism.errors import NothingToDo
from detection.morphism.weights import join_blocks
from searchd.domain.actions import ChannelGroup, PruneChannels, prunable_groups


def prune_channels(
    student: Student, action: PruneChannels, importances: Sequence[Tensor] | None = None
) -> Student:
    """Remove the least important `action.fraction` of all prunable channels and inherit the rest.

    Channels whose group is down to `action.min_channels` stay, and the next ones in the ranking are
    removed instead. So the fraction is exact (to the nearest channel; with grouped convolutions to
    less than one of their groups, with `action.round_to` to less than one multiple) unless every
    group ends at the minimum.

    Args:
        student: The parent.
        action: How much is removed.
        importances: For each of the `prunable_groups` the importance of its units, (num_units,).
            None: that of `action.importance`, which then must need no images.

    Raises:
        NothingToDo: Every group is at the minimum, or the fraction is less than the smallest
            removable unit: half a channel, or a group of a grouped convolution.
    """
    architecture = student.detector.architecture
    groups = prunable_groups(architecture)
    if importances is None:
        importances = ranked(student, action.importance)
    kept = choose(
        groups, importances, action.fraction, action.min_channels, round_to=action.round_to
    )
    masks = units_kept(groups, kept, architecture)
    blocks, others = slice_weights(student.weights, masks, student.detector, selected)
    child = narrowed(architecture, masks)
    return Student(
        detector=replace(student.detector, architecture=child),
        weights=join_blocks(blocks, others, child),
    )


def choose(
    groups: Sequence[ChannelGroup],
    importances: Sequence[Tensor],
    fraction: float,
    min_channels: int,
    *,
    round_to: int = 1,
) -> list[Tensor]:
    """Choose the units of each group that stay, by one ranking over all groups.

    Units are removed in steps, which leave a multiple of `round_to` channels. A step is ranked by
    the mean importance of its units.

    Args:
        groups: The prunable groups; a unit is a channel, or a group of a grouped convolution.
        importances: For each group the importance of its units, shape (num_units,). The least
            important units are removed.
        fraction: Share of all channels to remove, in (0, 1). Exceeded only by rounding to a
            channel.
        min_channels: Smallest number of channels that a group keeps.
        round_to: See `PruneChannels.round_to`.

    Returns:
        For each group the indices of the units that stay, ascending.

    Raises:
        NothingToDo: No unit can be removed.
    """
    num_channels = sum(group.channels for group in groups)
    budget = round(fraction * num_channels)
    steps = [
        (importance, i, units)
        for i, group in enumerate(groups)
        for importance, units in _steps(group, importances[i], min_channels, round_to)
    ]
    if not steps:
        raise NothingToDo(
            f"everything prunable is down to min_channels={min_channels} channels, or to the last "
            "two groups of a grouped convolution"
        )
    smallest = min(len(units) * groups[i].unit for _, i, units in steps)
    if round_to > 1:
        budget = max(budget, smallest)
    if budget < smallest:
        piece = "one channel" if smallest == 1 else f"a group of {smallest} channels"
        raise NothingToDo(
            f"{fraction:.2%} of {num_channels} prunable channels is less than {piece}"
        )

    stays = [torch.ones(group.num_units, dtype=torch.bool) for group in groups]
    # Stable, so that units of equal importance are removed in forward order. The steps of a group
    # come in order, and once one does not fit into the budget, no later one of the group does.
    for _, i, units in sorted(steps, key=lambda step: step[0]):
        channels = len(units) * groups[i].unit
        if channels <= budget:
            stays[i][units] = False
            budget -= channels
    return [group.nonzero().flatten() for group in stays]


def _steps(
    group: ChannelGroup, importances: Tensor, min_channels: int, round_to: int
) -> Iterator[tuple[float, Tensor]]:
    """Yield the units that may be removed from a group, least important first, in steps after each
    of which a multiple of `round_to` channels is left, with the mean importance of each step."""
    spare, step = group.spare_units(min_channels, round_to), group.step(round_to)
    order = importances.argsort(stable=True)
    start, end = 0, group.num_units % step or step
    while end <= spare:
        units = order[start:end]
        yield float(importances[units].mean()), units
        start, end = end, end + step
