"""Channel pruning to a target of MACs (docs/papers.md 1.10)."""

import pytest

from detection.build import Student
from detection.measurement.complexity import count
from detection.measurement.workload import workload_of
from detection.morphism import NothingToDo
from detection.morphism.channel_pruning import prune_channels
from detection.morphism.prune_to_macs import prune_to_macs
from searchd.domain.actions import PruneChannels, prunable_groups
from searchd.domain.architecture import Architecture
from searchd.domain.latency_table import ANY_KIND, LatencyTable, Layer, MeasuredLayer
from searchd.domain.resolution import Resolution
from searchd.domain.score import Cost
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


TABLE = LatencyTable(
    layers=(
        MeasuredLayer(layer=Layer(inputs=8, outputs=8, kernel=3, height=8, width=8), seconds=1e-4),
        MeasuredLayer(layer=Layer(inputs=64, outputs=64, height=16, width=16), seconds=1e-3),
    ),
    lines={ANY_KIND: (0.0, 1e-9, 1e-9)},
    factors={"layers": 1.0, "faster_rcnn": 1e-3},
)


def predicted(student: Student) -> float:
    return TABLE.seconds(workload_of(student.detector, SIZE))


def test_a_target_of_latency_is_reached_by_the_table() -> None:
    parent = make_student(BASIC)
    wanted = 0.97 * predicted(parent)
    change = PruneToMacs(latency_s=wanted, cost=Cost.LATENCY, min_channels=1)

    child = prune_to_macs(parent, change, SIZE, TABLE)

    assert 0.9 * wanted <= predicted(child) <= 1.02 * wanted


def test_a_target_of_latency_that_is_out_of_reach_is_named_in_milliseconds() -> None:
    change = PruneToMacs(latency_s=1e-9, cost=Cost.LATENCY, min_channels=1)
    with pytest.raises(NothingToDo, match="the target is 1e-06 ms of "):
        prune_to_macs(make_student(BASIC), change, SIZE, TABLE)


def test_channels_stay_multiples_while_a_target_is_reached() -> None:
    parent = make_student(BASIC)
    change = PruneToMacs(fraction=0.95, min_channels=1, round_to=2)

    child = prune_to_macs(parent, change, SIZE)

    before, after = (
        [group.channels for group in prunable_groups(student.detector.architecture)]
        for student in (parent, child)
    )
    assert before != after
    assert all(new == old or new % 2 == 0 for old, new in zip(before, after, strict=True))
