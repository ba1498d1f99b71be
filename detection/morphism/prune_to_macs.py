"""Channel pruning to a target cost, the first step of pipelines that prune and distil.

Joint-DetNAS Table 5, docs/papers.md 1.10: one ranking decides which channels are removed, and
bisection over the detector's MACs, or what a search counts instead, decides their number.
"""

from collections.abc import Sequence

from torch import Tensor

from detection.build import Student
from detection.measurement.cost import cost_of
from detection.morphism.channel_importance import Taylor, ranked
from detection.morphism.channel_pruning import prune_channels
from detection.morphism.errors import NothingToDo
from searchd.domain.actions import PruneChannels, prunable_groups
from searchd.domain.latency_table import LatencyTable
from searchd.domain.resolution import Resolution
from searchd.domain.score import Cost
from searchd.domain.trial import PruneToMacs

TOLERANCE = 0.02
"""Largest relative difference of the child's cost from the target."""
STEP_TOLERANCE = 0.1
"""The same below a target of latency, or with channels in multiples: the cost falls in steps."""
_UNITS = {Cost.MACS: (1e9, "GMACs"), Cost.PARAMS: (1e6, "M parameters"), Cost.LATENCY: (1e-3, "ms")}
"""The unit in which a message shows a cost: its size, and its name."""


def prune_to_macs(
    student: Student,
    change: PruneToMacs,
    resolution: Resolution,
    table: LatencyTable | None = None,
    taylor: Taylor | None = None,
) -> Student:
    """Remove the least important channels at once, so that the detector has the target cost.

    Args:
        student: The parent.
        change: The target, and the smallest number of channels that a convolution keeps.
        resolution: Resolution at which the cost is counted.
        table: Of the device whose latency is the cost; None for another cost.
        taylor: Ranks channels by images; needed for that importance alone.

    Raises:
        NothingToDo: The parent already has no more than the target, or no number of removable
            channels leads to within `TOLERANCE` of it, or `STEP_TOLERANCE` below it.
    """

    def cost(of: Student) -> float:
        return cost_of(change.cost, of.detector, resolution, table)

    parent_cost = cost(student)
    target = change.target(parent_cost)
    groups = prunable_groups(student.detector.architecture)
    spare = [group.spare_units(change.min_channels, change.round_to) for group in groups]
    fewer = sum(units * group.unit for units, group in zip(spare, groups, strict=True))
    importances = ranked(student, change.importance, taylor)
    more = 0
    while fewer - more > 1:  # `more` leaves too high a cost
        middle = (more + fewer) // 2
        if cost(_without(student, middle, change, importances)) > target:
            more = middle
        else:
            fewer = middle
    children = [_without(student, each, change, importances) for each in (more, fewer)]
    nearest = min(children, key=lambda child: _distance(cost(child), target, change))
    reached = cost(nearest)
    if nearest is student or _distance(reached, target, change) > TOLERANCE:
        size, unit = _UNITS[change.cost]
        raise NothingToDo(
            f"the target is {target / size:.4g} {unit} of {parent_cost / size:.4g}; the nearest "
            f"that pruning channels with min_channels={change.min_channels} reaches is "
            f"{reached / size:.4g}"
        )
    return nearest


def _distance(cost: float, target: float, change: PruneToMacs) -> float:
    """Return the relative distance from the target. What is below it counts less where the cost
    falls in steps."""
    distance = cost / target - 1
    if distance < 0 and (change.cost is Cost.LATENCY or change.round_to > 1):
        return -distance * TOLERANCE / STEP_TOLERANCE
    return abs(distance)


def _without(
    student: Student, channels: int, change: PruneToMacs, importances: Sequence[Tensor]
) -> Student:
    """Return the student without a number of channels; itself if no unit is that small."""
    if channels == 0:
        return student
    groups = prunable_groups(student.detector.architecture)
    fraction = channels / sum(group.channels for group in groups)
    try:
        action = PruneChannels(
            fraction=fraction, min_channels=change.min_channels, round_to=change.round_to
        )
        return prune_channels(student, action, importances)
    except NothingToDo:
        return student
