"""evolve: chains of actions, inheritance and protection (papers.md 1.5, JD-08)."""

import random
from itertools import chain

import pytest
import torch
from mmdet.structures import DetDataSample

from detection.build import Student, load_student
from detection.morphism import NothingToDo, evolve
from searchd.domain.actions import (
    Action,
    ActionKind,
    AddLayer,
    Move,
    PruneChannels,
    PruneLayer,
    Rearrange,
    legal_actions,
)
from searchd.domain.architecture import Architecture
from tests.detection.morphism.students import (
    BASIC,
    BOTTLENECK,
    GROUPED,
    REARRANGED,
    image,
    make_student,
)


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("architecture", [BASIC, BOTTLENECK, GROUPED, REARRANGED])
def test_fifty_legal_actions_leave_a_detector_that_runs(
    architecture: Architecture, seed: int
) -> None:
    rng, generator = random.Random(seed), torch.Generator().manual_seed(seed)
    base = student = make_student(architecture)
    carried_out = 0

    for _ in range(50):
        action = draw(student, rng)
        try:
            child = evolve(student, action, generator=generator)
        except NothingToDo:
            continue
        assert_untouched_tensors_are_identical(student, child, action)
        student = child
        carried_out += 1

    assert carried_out >= 40
    for name, tensor in base.weights.items():
        if name.startswith(("rpn_head.", "roi_head.", "neck.fpn_convs.", "backbone.conv1")):
            assert torch.equal(student.weights[name], tensor)
    assert_predicts(student)


def test_every_kind_of_action_is_drawn_by_the_chains() -> None:
    rng = random.Random(0)
    kinds = {draw(make_student(BASIC), rng).kind for _ in range(20)}

    assert kinds == {"prune_channels", "prune_layer", "add_layer", "rearrange"}


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
    load_student(child)
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
