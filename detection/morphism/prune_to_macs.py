"""Channel pruning to a target complexity, the first step of pipelines that prune and distil.

Joint-DetNAS Table 5, docs/papers.md 1.10: one ranking decides which channels are removed, and
bisection over the detector's counted MACs decides their number.
"""

from detection.build import Student
from detection.measurement.complexity import count
from detection.morphism.channel_pruning import prune_channels
from detection.morphism.errors import NothingToDo
from searchd.domain.actions import PruneChannels, prunable_groups
from searchd.domain.resolution import Resolution
from searchd.domain.trial import PruneToMacs

TOLERANCE = 0.02
"""Largest relative difference of the child's MACs from the target."""


def prune_to_macs(student: Student, change: PruneToMacs, resolution: Resolution) -> Student:
    """Remove the least important channels at once, so that the detector has the target MACs.

    Args:
        student: The parent.
        change: The target, and the smallest number of channels that a convolution keeps.
        resolution: Resolution at which MACs are counted.

    Raises:
        NothingToDo: The parent already has no more than the target, or no number of removable
            channels leads to within `TOLERANCE` of it.
    """
    parent_macs = count(student.detector, resolution).macs
    target = change.target(parent_macs)
    groups = prunable_groups(student.detector.architecture)
    fewer = sum(group.spare_units(change.min_channels) * group.unit for group in groups)
    more = 0
    while fewer - more > 1:  # `more` leaves too many MACs
        middle = (more + fewer) // 2
        if _macs(_without(student, middle, change.min_channels), resolution) > target:
            more = middle
        else:
            fewer = middle
    children = [_without(student, channels, change.min_channels) for channels in (more, fewer)]
    macs, nearest = min(
        ((_macs(child, resolution), child) for child in children),
        key=lambda found: abs(found[0] - target),
    )
    if nearest is student or abs(macs - target) > TOLERANCE * target:
        raise NothingToDo(
            f"the target is {target / 1e9:.4g} GMACs of {parent_macs / 1e9:.4g}; the nearest that "
            f"pruning channels with min_channels={change.min_channels} reaches is {macs / 1e9:.4g}"
        )
    return nearest


def _without(student: Student, channels: int, min_channels: int) -> Student:
    """Return the student without a number of channels; itself if no unit is that small."""
    if channels == 0:
        return student
    groups = prunable_groups(student.detector.architecture)
    fraction = channels / sum(group.channels for group in groups)
    try:
        action = PruneChannels(fraction=fraction, min_channels=min_channels)
        return prune_channels(student, action)
    except NothingToDo:
        return student


def _macs(student: Student, resolution: Resolution) -> float:
    return count(student.detector, resolution).macs
