"""evolve: chains of actions, inheritance and protection (docs/papers.md 1.5)."""

import random
from itertools import chain

import pytest
import torch
from mmdet.structures import DetDataSample

from detection.build import Student, load_student
from detection.morphism import NothingToDo, evolve
from detection.morphism.weights import output_readers
from searchd.domain.actions import (
    ACTION_KINDS,
    Action,
    ActionKind,
    AddLayer,
    Move,
    PruneChannels,
    PruneLayer,
    Rearrange,
    legal_actions,
)
from searchd.domain.detector import Family
from tests.detection.morphism.students import (
    ARCHITECTURES,
    BASIC,
    BLOCK_KINDS,
    BOTTLENECK,
    image,
    make_student,
)

pytestmark = pytest.mark.timeout(60)  # real detectors are trained

CHAINS = [
    *((family, name) for family in Family for name in BLOCK_KINDS),
    *((Family.FASTER_RCNN, name) for name in ARCHITECTURES if name not in BLOCK_KINDS),
]


@pytest.mark.parametrize(("family", "name"), CHAINS)
def test_fifty_legal_actions_leave_a_detector_that_runs(family: Family, name: str) -> None:
    seed = CHAINS.index((family, name))  # another chain for each
    rng, generator = random.Random(seed), torch.Generator().manual_seed(seed)
    base = student = make_student(ARCHITECTURES[name], family=family)
    carried_out: list[ActionKind] = []

    for _ in range(50):
        action = draw(student, rng)
        try:
            child = evolve(student, action, generator=generator)
        except NothingToDo:
            continue
        assert_untouched_tensors_are_identical(student, child, action)
        student = child
        carried_out.append(action.kind)

    assert len(carried_out) >= 40
    assert set(carried_out) == set(ACTION_KINDS)
    assert student.detector.architecture != base.detector.architecture
    assert_all_but_blocks_and_their_readers_is_inherited(base, student)
    assert_predicts(student)


def test_added_block_is_protected_from_the_next_two_actions() -> None:
    # A Dirac block's mean |w| is far below that of every other block.
    student = evolve_all(make_student(BASIC), AddLayer(stage=3))
    assert protection(student) == [[0, 0], [0, 0], [0, 0, 2], [0, 0]]

    first = evolve_all(student, PruneLayer())
    assert protection(first) == [[0, 0], [0, 0], [0, 0, 1], [0]]
    second = evolve_all(first, PruneLayer())
    assert protection(second) == [[0, 0], [0, 0], [0, 0], [0]]
    added = second.weights["backbone.layer3.1.conv1.weight"]
    assert added is student.weights["backbone.layer3.2.conv1.weight"]

    third = evolve_all(second, PruneLayer())
    assert third.detector.architecture.depths == (2, 2, 1, 1)


@pytest.mark.parametrize(
    ("action", "expected"),
    [
        (AddLayer(stage=1), [[0, 0, 2], [0, 0], [0, 0], [0, 0]]),
        (Rearrange(stage=2, move=Move.LAST_TO_NEXT), [[0, 0], [0], [2, 0, 0], [0, 0]]),
        (PruneChannels(fraction=0.1, min_channels=2), [[0, 0], [0, 0], [0, 0], [0, 0]]),
    ],
)
def test_only_the_added_or_moved_block_is_protected(
    action: Action, expected: list[list[int]]
) -> None:
    assert protection(evolve_all(make_student(BOTTLENECK), action)) == expected


def test_block_that_moves_back_is_protected_where_it_arrives() -> None:
    student = evolve_all(
        make_student(BASIC),
        AddLayer(stage=4),
        Rearrange(stage=1, move=Move.LAST_TO_NEXT),
        Rearrange(stage=2, move=Move.FIRST_TO_PREVIOUS),
    )

    assert protection(student) == [[0, 2], [0, 0], [0, 0], [0, 0, 0]]


def test_evolving_changes_neither_the_parent_nor_the_global_generator() -> None:
    parent = make_student(BOTTLENECK)
    before = {name: tensor.clone() for name, tensor in parent.weights.items()}
    detector, state = parent.detector, torch.get_rng_state()

    for action in chain.from_iterable(legal(parent).values()):
        evolve(parent, action, generator=torch.Generator().manual_seed(0))

    assert parent.detector == detector
    assert all(torch.equal(parent.weights[name], before[name]) for name in before)
    assert torch.equal(torch.get_rng_state(), state)


def test_same_generator_state_gives_the_same_child() -> None:
    parent = make_student(BOTTLENECK)

    children = [evolve_all(parent, AddLayer(stage=2), AddLayer(stage=4)) for _ in range(2)]

    assert children[0].detector == children[1].detector
    for name, tensor in children[0].weights.items():
        assert torch.equal(tensor, children[1].weights[name])


def test_another_seed_gives_a_child_of_the_same_architecture() -> None:
    parent = make_student(BOTTLENECK)

    for action in chain.from_iterable(legal(parent).values()):
        one, other = (
            evolve(parent, action, generator=torch.Generator().manual_seed(seed)) for seed in (1, 2)
        )
        assert one.detector == other.detector


def legal(student: Student) -> dict[ActionKind, tuple[Action, ...]]:
    return legal_actions(
        student.detector.architecture, prune_fraction=0.05, min_channels=3, max_depth=4
    )


def draw(student: Student, rng: random.Random) -> Action:
    """Uniform over the kinds, then over the kind's actions, as the search draws."""
    found = legal(student)
    return rng.choice(found[rng.choice(sorted(found))])


def evolve_all(student: Student, *actions: Action) -> Student:
    generator = torch.Generator().manual_seed(0)
    for action in actions:
        student = evolve(student, action, generator=generator)
    return student


def protection(student: Student) -> list[list[int]]:
    return [[b.protected_for for b in stage] for stage in student.detector.architecture.stages]


def assert_untouched_tensors_are_identical(parent: Student, child: Student, action: Action) -> None:
    """Channel pruning cuts shapes; every other action only drops or adds whole blocks."""
    if isinstance(action, PruneChannels):
        for name, tensor in child.weights.items():
            if tensor.shape == parent.weights[name].shape:
                assert torch.equal(tensor, parent.weights[name])
        return
    inherited = {id(tensor) for tensor in parent.weights.values()}
    new = [name for name, tensor in child.weights.items() if id(tensor) not in inherited]
    if isinstance(action, AddLayer):
        index = child.detector.architecture.depths[action.stage - 1] - 1
        assert all(name.startswith(f"backbone.layer{action.stage}.{index}.") for name in new)
    else:
        assert new == []


def assert_all_but_blocks_and_their_readers_is_inherited(base: Student, student: Student) -> None:
    cut = {key for stage in (1, 2, 3, 4) for key in output_readers(base.detector.family, stage)}
    for key, tensor in base.weights.items():
        if not key.startswith("backbone.layer") and key not in cut:
            assert student.weights[key] is tensor, key


def assert_predicts(student: Student) -> None:
    model = load_student(student).eval()
    sample = DetDataSample(
        metainfo={"img_shape": (64, 96), "ori_shape": (64, 96), "scale_factor": (1.0, 1.0)}
    )
    with torch.no_grad():
        predicted = model(image(), [sample], mode="predict")[0].pred_instances
    assert predicted.bboxes.shape[1] == 4
    assert torch.isfinite(predicted.bboxes).all()
    assert torch.isfinite(predicted.scores).all()
