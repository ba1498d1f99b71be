"""Channel pruning to a target of MACs (docs/papers.md 1.10)."""

import pytest

from detection.measurement.complexity import count
from detection.morphism import NothingToDo
from detection.morphism.channel_pruning import prune_channels
from detection.morphism.prune_to_macs import prune_to_macs
from searchd.domain.actions import PruneChannels, prunable_groups
from searchd.domain.architecture import Architecture
from searchd.domain.resolution import Resolution
from searchd.domain.trial import PruneToMacs
from tests.detection.morphism.students import BASIC, BLOCK_KINDS, image, make_student, outputs

pytestmark = pytest.mark.timeout(60)  # real detectors are trained

SIZE = Resolution(96, 64)


@pytest.mark.parametrize("architecture", BLOCK_KINDS.values(), ids=BLOCK_KINDS)
def test_child_has_the_wanted_macs_within_2_percent_and_runs(
    architecture: Architecture,
) -> None:
    parent = make_student(architecture)
    wanted = 0.9 * count(parent.detector, SIZE).macs

    child = prune_to_macs(parent, PruneToMacs(fraction=0.9, min_channels=1), SIZE)

    assert count(child.detector, SIZE).macs == pytest.approx(wanted, rel=0.02)
    assert all(output.isfinite().all() for output in outputs(child, image()))


def test_target_may_be_absolute() -> None:
    parent = make_student(BASIC)
    wanted = round(0.85 * count(parent.detector, SIZE).macs)
    child = prune_to_macs(parent, PruneToMacs(macs=wanted, min_channels=1), SIZE)
    assert count(child.detector, SIZE).macs == pytest.approx(wanted, rel=0.02)


def test_the_same_channels_go_as_when_their_fraction_is_given() -> None:
    parent = make_student(BASIC)
    child = prune_to_macs(parent, PruneToMacs(fraction=0.8, min_channels=1), SIZE)
    before, after = (
        sum(group.channels for group in prunable_groups(student.detector.architecture))
        for student in (parent, child)
    )

    fraction = (before - after) / before
    expected = prune_channels(parent, PruneChannels(fraction=fraction, min_channels=1))

    assert child.detector == expected.detector
    for name, value in expected.weights.items():
        assert value.equal(child.weights[name]), name


@pytest.mark.parametrize(
    "change",
    [
        PruneToMacs(fraction=0.01, min_channels=1),  # the heads alone have more
        PruneToMacs(fraction=0.7, min_channels=512),  # nothing may go
        PruneToMacs(macs=1e12),  # the parent has fewer
    ],
)
def test_target_out_of_reach_leaves_nothing_to_do(change: PruneToMacs) -> None:
    with pytest.raises(NothingToDo, match="the target is .* GMACs of .*; the nearest"):
        prune_to_macs(make_student(BASIC), change, SIZE)
