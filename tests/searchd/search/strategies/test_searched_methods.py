"""Searches that also search their distillation methods: what trials have, change and inherit."""

import random
from collections import Counter
from dataclasses import replace

import pytest

from searchd.domain.distillation_methods import MethodName
from searchd.domain.method_set import MethodSet, MutateMethods, WeightedMethod
from searchd.domain.teacher import RegisteredTeacher
from searchd.domain.trial import (
    MutateTeacher,
    Proposal,
    TeacherPolicy,
    Train,
    TrialRole,
)
from searchd.search.ask_tell import AskTell, replay
from searchd.search.history import search_trials
from searchd.search.method_genes import MethodGenes
from searchd.search.strategies.joint_detnas import JointDetNas
from tests.searchd.search.scripted import STRATEGY, rising, run, with_base

SGFI = WeightedMethod(name=MethodName.SGFI, weight=1.0)
CWD = WeightedMethod(name=MethodName.CWD, weight=5.0)
PKD = WeightedMethod(name=MethodName.PKD, weight=6.0)
START = MethodSet(methods=(SGFI,))
GENES = MethodGenes(
    start=START, allowed=(SGFI, CWD, PKD), factors=(0.5, 1.0, 2.0), max_methods=2, probability=0.5
)
SEARCHED = replace(STRATEGY, genes=GENES, max_trials=60, patience=60, control=False)


def searched(strategy: JointDetNas = SEARCHED) -> AskTell:
    """A search run to its end, one trial at a time."""
    ask_tell = with_base(strategy)
    run(ask_tell, rising, in_flight=1, order=random.Random(0))
    return ask_tell


def with_policy(policy: TeacherPolicy) -> JointDetNas:
    return replace(SEARCHED, settings=replace(SEARCHED.settings, teacher_policy=policy))


def kinds(ask_tell: AskTell, first: int = 6) -> Counter[str]:
    """How often each kind of change was proposed, by trials from number `first` on."""
    later = [each for each in search_trials(ask_tell.proposals) if each.number >= first]
    known = {MutateTeacher: "teacher", MutateMethods: "methods", Train: "train"}
    return Counter(known.get(type(each.change), "student") for each in later)


def methods_of(ask_tell: AskTell, name: str | None) -> MethodSet:
    """The methods that children of a trial inherit."""
    return next(p.methods for p in ask_tell.proposals if p.name == name) or START


def test_trial_0_has_the_methods_of_the_start_and_the_base_none() -> None:
    base, first, *_ = searched().proposals
    assert (base.methods, first.methods, first.change) == (None, START, Train())


def test_a_trial_has_its_parents_methods_with_the_edit_of_its_change() -> None:
    ask_tell = searched()
    edits = 0
    for trial in search_trials(ask_tell.proposals):
        before = methods_of(ask_tell, trial.parent)
        if isinstance(trial.change, MutateMethods):
            edits += 1
            assert trial.methods == trial.change.applied_to(before) != before
        else:
            assert trial.methods == before
    assert edits > 10


def test_a_trial_that_mutates_the_methods_keeps_its_parents_teacher() -> None:
    ask_tell = searched()
    by_name = {each.name: each for each in ask_tell.proposals}
    for trial in search_trials(ask_tell.proposals):
        parent = by_name[trial.parent or ""]
        if isinstance(trial.change, MutateMethods) and parent.role is TrialRole.SEARCH:
            assert trial.teacher == parent.teacher


def test_student_teacher_and_methods_share_the_trials_by_their_probabilities() -> None:
    long = replace(SEARCHED, max_trials=406, patience=500)
    found = kinds(searched(replace(long, genes=replace(GENES, probability=0.25))))
    shares = {kind: found[kind] / 400 for kind in ("student", "teacher", "methods")}
    assert sum(shares.values()) == pytest.approx(1)
    assert shares["student"] == pytest.approx(0.5, abs=0.07)
    assert shares["methods"] == pytest.approx(0.125, abs=0.05)


def test_the_first_trials_leave_the_student_as_it_is() -> None:
    assert kinds(searched(replace(SEARCHED, max_trials=6)), first=1).keys() <= {
        "teacher",
        "methods",
    }


@pytest.mark.parametrize(
    "strategy",
    [
        with_policy(TeacherPolicy.FIXED),
        replace(SEARCHED, space=None, registered=(RegisteredTeacher(teacher="t-1"),)),
    ],
    ids=["fixed", "one registered"],
)
def test_where_all_trials_have_one_teacher_the_methods_change_instead(
    strategy: JointDetNas,
) -> None:
    ask_tell = searched(strategy)
    assert len({each.teacher for each in search_trials(ask_tell.proposals)}) == 1
    assert kinds(ask_tell, first=1).keys() == {"student", "methods"}
    assert kinds(ask_tell, first=1)["methods"] > 10


@pytest.mark.parametrize("policy", list(TeacherPolicy))
def test_every_policy_replays_with_searched_methods(policy: TeacherPolicy) -> None:
    ask_tell = with_base(replace(with_policy(policy), confirm=True, finish=2, noise_seeds=2))
    noise = random.Random(1)
    run(ask_tell, lambda _: noise.random(), in_flight=3, order=random.Random(2))
    decided = replay(ask_tell.strategy, ask_tell.proposals, ask_tell.completions)
    assert decided == ask_tell.proposals


def test_repetitions_confirmations_and_finishes_have_the_methods_of_their_trial() -> None:
    strategy = replace(SEARCHED, confirm=True, finish=2, noise_seeds=2, control=True)
    ask_tell = with_base(strategy)
    noise = random.Random(1)
    run(ask_tell, lambda _: noise.random(), in_flight=1, order=random.Random(2))
    found = {role: [p for p in ask_tell.proposals if p.role is role] for role in TrialRole}
    assert [each.methods for each in found[TrialRole.NOISE]] == [START]
    for confirmation in found[TrialRole.CONFIRMATION]:
        assert confirmation.methods == methods_of(ask_tell, str(confirmation.number))
    for finish in found[TrialRole.FINISH]:
        assert finish.methods == methods_of(ask_tell, finish.parent)
    assert found[TrialRole.CONFIRMATION]
    assert found[TrialRole.FINISH]
    assert {each.methods for each in found[TrialRole.CONTROL]} == {None}


def test_a_search_without_genes_proposes_no_methods() -> None:
    ask_tell = searched(replace(SEARCHED, genes=None))
    assert {each.methods for each in ask_tell.proposals} == {None}
    assert "methods" not in kinds(ask_tell)


def test_proposals_depend_on_nothing_but_seed_and_history() -> None:
    def proposed(strategy: JointDetNas) -> list[Proposal]:
        return searched(strategy).proposals

    assert proposed(SEARCHED) == proposed(SEARCHED)
    assert proposed(SEARCHED) != proposed(replace(SEARCHED, seed=8))
