"""Joint-DetNAS: which pair a trial continues from, and what it changes."""

import random
from dataclasses import replace
from typing import Any

from searchd.domain.actions import ACTION_KINDS, PruneChannels
from searchd.domain.subnet import Subnet, genes
from searchd.domain.teacher import RegisteredTeacher, TeacherCandidates
from searchd.domain.trial import (
    MutateTeacher,
    Proposal,
    TeacherPolicy,
    Train,
    TrialRole,
    describe_change,
)
from searchd.search.ask_tell import AskTell
from searchd.search.history import ranking, search_trials
from searchd.search.strategies.joint_detnas import JointDetNasSettings
from tests.searchd.search.scripted import SPACE, STRATEGY, ask, chosen_of, rising, run, with_base

REGISTERED = (RegisteredTeacher(teacher="t-1"), RegisteredTeacher(teacher="t-2"))
RECORDED = [
    ("0", "base", "train", "d2-2-2-2 w1.5/1.5/1.5/1.5 n24", 1515981520),
    ("1", "base", "mutate the teacher", "d2-2-2-2 w1.5/1.5/1.5/1.5 n16", 885100828),
    ("2", "1", "mutate the teacher", "d2-1-1-2 w1.5/1.5/1.5/1.5 n16", 1972722387),
    ("3", "2", "mutate the teacher", "d1-1-2-2 w1.5/1/1.5/1.5 n16", 63189639),
    ("4", "2", "mutate the teacher", "d2-1-1-2 w1.5/1.5/1.5/1 n16", 1069713423),
    ("5", "2", "mutate the teacher", "d2-1-1-1 w1.5/1/1.5/1.5 n16", 1610244911),
    ("6", "2", "mutate the teacher", "d2-1-2-2 w1.5/1.5/1.5/1.5 n16", 16704518),
    ("7", "3", "prune 5% of channels", "d1-1-2-2 w1.5/1/1.5/1.5 n16", 1654999349),
    ("8", "4", "move stage 2's last layer to stage 3", "d2-1-1-2 w1.5/1.5/1.5/1 n16", 1969368433),
    ("9", "7", "mutate the teacher", "d2-1-1-2 w1.5/1/1.5/1 n16", 110822382),
    ("10", "3", "mutate the teacher", "d1-2-2-2 w1.5/1/1.5/1.5 n16", 391795146),
    ("11", "7", "move stage 3's last layer to stage 4", "d1-1-2-2 w1.5/1/1.5/1.5 n16", 567915877),
    ("12", "8", "mutate the teacher", "d2-1-1-2 w1/1.5/1.5/1 n16", 1769439261),
    ("13", "8", "mutate the teacher", "d2-2-1-2 w1.5/1.5/1.5/1 n16", 115391374),
]
"""Of a search with two trials in flight, before there were other strategies."""


def settings(**changes: Any) -> JointDetNasSettings:
    return replace(STRATEGY.settings, **changes)


def with_policy(policy: TeacherPolicy) -> AskTell:
    """A search run to its end."""
    strategy = replace(
        STRATEGY,
        settings=settings(teacher_policy=policy),
        max_trials=40,
        patience=40,
        control=False,
    )
    ask_tell = with_base(strategy)
    run(ask_tell, rising, in_flight=1, order=random.Random(0))
    return ask_tell


def test_proposals_are_those_that_were_recorded() -> None:
    ask_tell = with_base(replace(STRATEGY, max_trials=14, patience=14, control=False))
    noise = random.Random(3)

    run(ask_tell, lambda _: noise.random(), in_flight=2, order=random.Random(5))

    assert [
        (p.name, p.parent, describe_change(p.change), str(p.teacher), p.seed)
        for p in search_trials(ask_tell.proposals)
    ] == RECORDED


def test_trial_0_is_the_base_under_the_largest_teacher() -> None:
    trial = ask(with_base())
    assert (trial.name, trial.parent, trial.change) == ("0", "base", Train())
    assert trial.teacher == SPACE.largest


def test_trials_1_to_5_mutate_the_teacher_only_also_while_none_has_completed() -> None:
    ask_tell = with_base()
    trials = [ask(ask_tell) for _ in range(6)]
    assert [t.change for t in trials[1:]] == [MutateTeacher()] * 5
    assert [t.parent for t in trials] == ["base"] * 6
    assert all(t.teacher != SPACE.largest for t in trials[1:])


def test_both_student_and_teacher_change_after_the_frozen_trials() -> None:
    ask_tell = with_base(replace(STRATEGY, max_trials=60, patience=60))
    run(ask_tell, rising, in_flight=1, order=random.Random(0))
    kinds = {t.change.kind for t in ask_tell.proposals if t.number > 5}
    assert kinds == {
        "mutate_teacher",
        "prune_channels",
        "prune_layer",
        "add_layer",
        "rearrange",
        "train",  # controls
    }


def test_parent_is_sampled_from_the_top_k_with_the_best_most_often() -> None:
    ask_tell = with_base(
        replace(STRATEGY, max_trials=400, patience=400, settings=settings(top_k=3), control=False)
    )
    scores = {0: 0.5, 1: 0.4, 2: 0.45, 3: 0.1}
    run(ask_tell, lambda p: scores.get(p.number, 0.01), in_flight=1, order=random.Random(0))
    parents = [t.parent for t in ask_tell.proposals if t.number >= 4]
    counts = [parents.count(name) for name in ("0", "2", "1")]
    assert sum(counts) == len(parents)  # nothing below the top 3
    assert counts == sorted(counts, reverse=True)
    assert 0.44 < counts[0] / len(parents) < 0.56  # rank 1 of 3 has probability 1/2


def test_child_inherits_the_parents_teacher_when_the_student_changes() -> None:
    ask_tell = with_base(replace(STRATEGY, max_trials=40, patience=40))
    run(ask_tell, rising, in_flight=1, order=random.Random(0))
    by_name = {p.name: p for p in ask_tell.proposals}
    edits = [p for p in ask_tell.proposals if isinstance(p.change, PruneChannels)]
    assert edits
    for edit in edits:
        assert edit.parent is not None
        assert edit.teacher == by_name[edit.parent].teacher


def test_teacher_is_mutated_when_no_action_is_legal() -> None:
    ask_tell = with_base(
        replace(
            STRATEGY,
            settings=settings(
                actions=("prune_channels",), min_channels=512, student_probability=1.0
            ),
            max_trials=20,
        )
    )
    run(ask_tell, rising, in_flight=1, order=random.Random(0))
    changes = {p.change for p in ask_tell.proposals if p.number > 0 and p.role is TrialRole.SEARCH}
    assert changes == {MutateTeacher()}


def test_search_converges_after_patience_trials_without_a_better_score() -> None:
    ask_tell = with_base(replace(STRATEGY, max_trials=100, patience=4, control=False))
    finished = run(
        ask_tell, lambda p: 0.9 if p.number == 2 else 0.1, in_flight=1, order=random.Random(0)
    )
    assert finished.reason == "converged: 4 trials in a row without a better score"
    assert len(ask_tell.proposals) == 1 + 7


def test_another_seed_gives_another_search() -> None:
    one, two = with_base(), with_base(replace(STRATEGY, seed=8))
    run(one, rising, in_flight=1, order=random.Random(0))
    run(two, rising, in_flight=1, order=random.Random(0))
    assert one.proposals != two.proposals


def test_hill_climbing_finds_the_optimum_of_a_landscape() -> None:
    # The score counts how many genes of the teacher have their smallest value; 9 is the optimum.
    small = genes(SPACE.smallest)

    def landscape(proposal: Proposal) -> float:
        assert proposal.teacher is not None
        assert isinstance(proposal.teacher, Subnet)
        return float(sum(genes(proposal.teacher)[g] == value for g, value in small.items()))

    ask_tell = with_base(
        replace(
            STRATEGY,
            max_trials=100,
            patience=100,
            settings=settings(student_probability=0.0),
            control=False,
        )
    )
    run(ask_tell, landscape, in_flight=2, order=random.Random(1))
    assert ranking(ask_tell.completions)[0].score == 9.0


def test_fixed_teacher_is_the_largest_and_every_step_edits_the_student() -> None:
    trials = search_trials(with_policy(TeacherPolicy.FIXED).proposals)

    assert {p.teacher for p in trials} == {SPACE.largest}
    assert trials[0].change == Train()
    assert {p.change.kind for p in trials[1:]} == set(ACTION_KINDS)


def test_student_under_a_fixed_teacher_is_trained_further_when_no_action_is_legal() -> None:
    ask_tell = with_base(
        replace(
            STRATEGY,
            settings=settings(
                teacher_policy=TeacherPolicy.FIXED, actions=("prune_channels",), min_channels=512
            ),
            control=False,
        )
    )
    run(ask_tell, rising, in_flight=1, order=random.Random(0))
    assert {p.change for p in ask_tell.proposals} == {Train()}


def test_random_teacher_is_drawn_anew_for_every_trial_also_one_that_edits_the_student() -> None:
    ask_tell = with_policy(TeacherPolicy.RANDOM)
    trials = search_trials(ask_tell.proposals)
    by_name = {p.name: p for p in ask_tell.proposals}

    assert {p.change.kind for p in trials} == {*ACTION_KINDS, "train"}
    assert [p.change.kind for p in trials[:6]] == ["train"] * 6  # the student is frozen
    teachers = {p.teacher for p in trials}
    assert len(teachers) > 30  # of 40, out of 512
    kept = [p.name for p in trials[1:] if p.parent and p.teacher == by_name[p.parent].teacher]
    assert kept == []


def test_a_step_that_does_not_edit_the_student_has_candidates_to_take_the_nearest_of() -> None:
    trials = search_trials(with_policy(TeacherPolicy.NEAREST).proposals)

    assert trials[0].teacher == SPACE.largest
    further = [p for p in trials[1:] if isinstance(p.change, Train)]
    assert [p.number for p in further[:5]] == [1, 2, 3, 4, 5]  # the student is frozen
    assert {p.change.kind for p in trials} == {*ACTION_KINDS, "train"}
    for each in further:
        assert isinstance(each.teacher, TeacherCandidates)
        assert len(each.teacher.candidates) == 4
    assert len({p.teacher for p in further}) == len(further)  # drawn anew


def test_an_edited_student_stays_with_the_teacher_that_was_chosen_for_its_parent() -> None:
    ask_tell = with_policy(TeacherPolicy.NEAREST)
    trials = search_trials(ask_tell.proposals)
    teachers = {c.proposal.name: c.teacher for c in ask_tell.completions}
    by_name = {p.name: p for p in trials}

    edits = [p for p in trials[1:] if not isinstance(p.change, Train)]
    of_choosers = [p for p in edits if isinstance(by_name[p.parent or ""].change, Train)]
    assert len(of_choosers) > 3
    assert len({p.teacher for p in of_choosers}) > 1
    for edit in edits:
        assert edit.parent is not None
        assert edit.teacher == teachers[edit.parent]
        parent = by_name[edit.parent].teacher
        assert edit.teacher == (
            chosen_of(parent) if isinstance(parent, TeacherCandidates) else parent
        )


def test_there_are_as_many_candidates_as_are_wanted() -> None:
    strategy = replace(
        STRATEGY, settings=settings(teacher_policy=TeacherPolicy.NEAREST, nearest_candidates=7)
    )
    ask_tell = with_base(strategy)
    ask(ask_tell)
    teacher = ask(ask_tell).teacher
    assert isinstance(teacher, TeacherCandidates)
    assert len(teacher.candidates) == 7


def test_a_pool_and_registered_teachers_are_mixed() -> None:
    both = replace(STRATEGY, registered=REGISTERED, max_trials=40, patience=40, control=False)
    ask_tell = with_base(both)
    run(ask_tell, rising, in_flight=2, order=random.Random(0))
    first, *others = search_trials(ask_tell.proposals)
    assert first.teacher == SPACE.largest
    changed = [each.teacher for each in others if isinstance(each.change, MutateTeacher)]
    registered = [each for each in changed if isinstance(each, RegisteredTeacher)]
    assert set(registered) == set(REGISTERED)
    assert 0.3 < len(registered) / len(changed) < 0.7
    for proposal in others:
        parent = next(p for p in ask_tell.proposals if p.name == proposal.parent)
        if isinstance(proposal.change, MutateTeacher):
            assert proposal.teacher != parent.teacher
        elif parent.teacher is not None:
            assert proposal.teacher == parent.teacher, "edits keep the teacher"


def test_one_registered_teacher_alone_teaches_every_trial() -> None:
    alone = replace(STRATEGY, space=None, registered=REGISTERED[:1], max_trials=20, control=False)
    ask_tell = with_base(alone)
    run(ask_tell, rising, in_flight=1, order=random.Random(0))
    searched = search_trials(ask_tell.proposals)
    assert {each.teacher for each in searched} == {REGISTERED[0]}
    assert not any(isinstance(each.change, MutateTeacher) for each in searched)
    assert any(isinstance(each.change, PruneChannels) for each in searched)
