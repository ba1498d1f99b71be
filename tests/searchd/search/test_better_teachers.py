"""Which teachers are better than a student, as far as their APs are known."""

import random
from dataclasses import replace
from typing import Any

import pytest

from searchd.domain.actions import PruneChannels
from searchd.domain.resolution import Resolution
from searchd.domain.subnet import Subnet, SubnetSpace
from searchd.domain.teacher import RegisteredTeacher, Teacher, TeacherAp, TeacherCandidates
from searchd.domain.trial import MutateTeacher, Proposal, TeacherPolicy, Train
from searchd.search.ask_tell import AskTell, Completion, replay
from searchd.search.better_teachers import (
    Comparison,
    ap_of,
    compare,
    no_better_teacher,
    too_weak,
)
from searchd.search.history import OperatingPoint, search_trials
from searchd.search.strategies.joint_detnas import JointDetNas, JointDetNasSettings
from searchd.search.strategies.random_search import RandomSearch
from searchd.search.teacher_aps import KnownAps
from tests.searchd.search.scripted import SPACE, STRATEGY, ask, completion, with_base

LARGE, SMALL = Resolution(96, 96), Resolution(64, 64)
STRONG, WEAK = RegisteredTeacher(teacher="strong"), RegisteredTeacher(teacher="weak")
FOUR = SubnetSpace(
    depths=((1, 2), (1,), (1,), (1,)),
    widths=((1.0,),) * 4,
    neck_channels=(16, 24),
    base_channels=8,
)
"""A space of four subnets."""


def measured(**aps: float) -> tuple[TeacherAp, ...]:
    return tuple(
        TeacherAp(teacher=RegisteredTeacher(teacher=name), ap=ap) for name, ap in aps.items()
    )


def of_subnets(space: SubnetSpace, ap: float) -> tuple[TeacherAp, ...]:
    return tuple(TeacherAp(teacher=subnet, ap=ap) for subnet in space.subnets())


def trained(
    ask_tell: AskTell, proposal: Proposal, ap: float, teacher_ap: float | None = None
) -> Completion:
    """The completion of a trial whose student has this AP at the largest resolution."""
    points = (
        OperatingPoint(resolution=SMALL, ap=ap / 2, macs=1e9),
        OperatingPoint(resolution=LARGE, ap=ap, macs=2e9),
    )
    return replace(completion(ask_tell, proposal, ap), points=points, teacher_ap=teacher_ap)


def search(strategy: JointDetNas | RandomSearch, base_ap: float = 0.5) -> AskTell:
    ask_tell = AskTell(strategy)
    ask_tell.tell(trained(ask_tell, ask(ask_tell), base_ap))
    return ask_tell


def strategy(
    measured: tuple[TeacherAp, ...] | None, *, taught: bool = False, **changes: Any
) -> JointDetNas:
    settings = JointDetNasSettings(min_channels=4, teach_by_weaker=taught)
    return replace(STRATEGY, settings=settings, measured=measured, max_trials=40, **changes)


def taught_by(ask_tell: AskTell, num: int, ap: float, teacher_ap: float | None = None) -> list[Any]:
    """Run a number of trials; return their teachers."""
    for _ in range(num):
        ask_tell.tell(trained(ask_tell, ask(ask_tell), ap, teacher_ap))
    return [trial.teacher for trial in search_trials(ask_tell.proposals)]


def comparison(student_ap: float, **aps: float) -> Comparison:
    return Comparison(
        student_ap=student_ap, aps={each.teacher: each.ap for each in measured(**aps)}
    )


def test_the_ap_of_a_student_is_that_at_the_largest_resolution() -> None:
    ask_tell = search(STRATEGY, base_ap=0.4)
    assert ap_of(ask_tell.completions[0]) == 0.4
    assert ap_of(with_base().completions[0]) is None  # it was not evaluated


def test_what_a_trial_measures_replaces_what_was_known_before() -> None:
    ask_tell = search(strategy((TeacherAp(teacher=SPACE.largest, ap=0.7),)))
    ask_tell.tell(trained(ask_tell, ask(ask_tell), 0.5, teacher_ap=0.6))
    known = KnownAps(
        (TeacherAp(teacher=SPACE.largest, ap=0.7),), ask_tell.history.completions.teacher_aps
    )
    assert known == {SPACE.largest: 0.6}


def test_nothing_is_compared_without_a_measured_teacher_or_student() -> None:
    base = search(STRATEGY).history.completions
    assert compare((), base, base[0]) is None
    unmeasured = with_base().history.completions
    assert compare(measured(strong=0.9), unmeasured, unmeasured[0]) is None


def test_an_equal_teacher_is_not_better_and_an_unmeasured_one_may_be() -> None:
    compared = comparison(0.5, weak=0.5, strong=0.51)
    assert not compared.admits(WEAK)
    assert compared.admits(STRONG)
    assert compared.admits(RegisteredTeacher(teacher="new"))


def test_a_draw_ends_with_the_best_if_no_draw_is_better() -> None:
    drawn = iter([WEAK, WEAK, STRONG])
    assert comparison(0.5, weak=0.4, strong=0.6).draw(lambda: next(drawn)) == STRONG
    assert comparison(0.7, weak=0.4, strong=0.6).draw(lambda: WEAK) == STRONG


def test_searches_without_recorded_aps_draw_as_before() -> None:
    """Of a search that started before APs were recorded, and of one where nothing is measured."""
    old, new = search(strategy(None)), search(strategy(()))
    taught = taught_by(old, 12, ap=0.9, teacher_ap=0.1)
    assert taught_by(new, 12, ap=0.9) == taught
    assert taught_by(search(strategy(of_subnets(SPACE, 0.95))), 12, ap=0.9) == taught


def test_trial_0_has_the_best_teacher_if_the_first_is_no_better_than_the_base() -> None:
    known = (TeacherAp(teacher=SPACE.largest, ap=0.45), TeacherAp(teacher=SPACE.smallest, ap=0.6))
    assert ask(search(strategy(known))).teacher == SPACE.smallest
    assert ask(search(strategy(known), base_ap=0.4)).teacher == SPACE.largest


def test_no_trial_has_a_teacher_that_is_no_better_while_there_is_a_better_one() -> None:
    known = (*of_subnets(SPACE, 0.4), *measured(weak=0.3, strong=0.8))
    searched = search(strategy(known, registered=(WEAK, STRONG), registered_share=0.1))
    assert set(taught_by(searched, 15, ap=0.5)) == {STRONG}


def test_a_student_that_is_edited_leaves_a_teacher_that_it_has_overtaken() -> None:
    known = (*of_subnets(SPACE, 0.55), TeacherAp(teacher=SPACE.smallest, ap=0.9))
    edits = JointDetNasSettings(
        min_channels=4, student_frozen_trials=0, student_probability=1, actions=("prune_channels",)
    )
    ask_tell = search(replace(strategy(known), settings=edits))
    assert taught_by(ask_tell, 2, ap=0.6) == [SPACE.largest, SPACE.smallest]
    assert isinstance(ask_tell.proposals[-1].change, PruneChannels)
    assert ask_tell.proposals[-1].parent == "0"


def test_a_teacher_that_a_trial_finds_to_be_weak_is_not_drawn_again() -> None:
    """All four subnets are weak, which only their trials find out; then the best teaches."""
    ask_tell = search(strategy((), space=FOUR, taught=True))
    aps = dict(zip(FOUR.subnets(), (0.1, 0.4, 0.3, 0.2), strict=True))
    taught: list[Subnet] = []
    for _ in range(10):
        proposal = ask(ask_tell)
        assert isinstance(proposal.teacher, Subnet)
        taught.append(proposal.teacher)
        ask_tell.tell(trained(ask_tell, proposal, 0.5, aps[proposal.teacher]))
    assert len(set(taught[:4])) == 4
    assert {aps[teacher] for teacher in taught[4:]} == {0.4}


@pytest.mark.parametrize("policy", [TeacherPolicy.MUTATE, TeacherPolicy.RANDOM])
def test_without_a_better_teacher_a_student_is_edited_and_trains_alone(
    policy: TeacherPolicy,
) -> None:
    weak = TeacherAp(teacher=SPACE.largest, ap=0.4)
    settings = JointDetNasSettings(min_channels=4, teacher_policy=policy)
    ask_tell = search(replace(strategy((weak,)), settings=settings), base_ap=0.5)

    assert taught_by(ask_tell, 4, ap=0.5) == [None] * 4

    first, *others = search_trials(ask_tell.proposals)
    assert isinstance(first.change, Train)
    assert not any(isinstance(trial.change, Train | MutateTeacher) for trial in others)
    assert replay(ask_tell.strategy, ask_tell.proposals, ask_tell.completions) == (
        ask_tell.proposals
    )


def test_a_student_that_fell_behind_is_taught_again() -> None:
    ask_tell = search(strategy((TeacherAp(teacher=SPACE.largest, ap=0.45),)), base_ap=0.5)
    alone, taught = taught_by(ask_tell, 2, ap=0.3)
    assert alone is None
    assert isinstance(taught, Subnet)


def test_a_registered_teacher_that_was_not_measured_may_be_better() -> None:
    weak = TeacherAp(teacher=SPACE.largest, ap=0.4)
    ask_tell = search(strategy((weak,), registered=(STRONG,), registered_share=0.5), base_ap=0.5)
    assert None not in taught_by(ask_tell, 4, ap=0.5)


def test_a_random_policy_draws_among_the_better_ones() -> None:
    known = (*of_subnets(SPACE, 0.4), *measured(weak=0.3, strong=0.8))
    settings = JointDetNasSettings(min_channels=4, teacher_policy=TeacherPolicy.RANDOM)
    at_random = replace(
        strategy(known, registered=(WEAK, STRONG), registered_share=0.1), settings=settings
    )
    assert set(taught_by(search(at_random), 10, ap=0.5)) == {STRONG}


@pytest.mark.parametrize(("num_better", "expected"), [(0, Subnet), (1, Subnet), (2, 2), (3, 3)])
def test_candidates_for_the_nearest_teacher_are_better(
    num_better: int, expected: int | type
) -> None:
    """With fewer than two there is no choice; with none the best teaches."""
    subnets = list(FOUR.subnets())
    known = tuple(
        TeacherAp(teacher=each, ap=0.9 if index < num_better else 0.1 + index / 100)
        for index, each in enumerate(subnets)
    )
    settings = JointDetNasSettings(
        min_channels=4,
        teacher_policy=TeacherPolicy.NEAREST,
        nearest_candidates=3,
        teach_by_weaker=True,
    )
    ask_tell = search(replace(strategy(known, space=FOUR), settings=settings))
    ask_tell.tell(trained(ask_tell, ask(ask_tell), 0.5))
    teaching = ask(ask_tell).teacher
    if isinstance(teaching, TeacherCandidates):
        assert len(teaching.candidates) == expected
        assert set(teaching.candidates) <= set(subnets[:num_better])
    else:
        assert expected is Subnet
        assert teaching == subnets[0 if num_better else 3]


def test_a_fixed_teacher_stays_and_so_does_everything_without_better_only() -> None:
    known = of_subnets(SPACE, 0.4)
    fixed = JointDetNasSettings(min_channels=4, teacher_policy=TeacherPolicy.FIXED)
    off = JointDetNasSettings(min_channels=4, better_only=False)
    searched = search(replace(strategy(known), settings=fixed))
    assert set(taught_by(searched, 8, ap=0.5)) == {SPACE.largest}
    without = taught_by(search(replace(strategy(known), settings=off)), 12, ap=0.5)
    assert without == taught_by(search(strategy(None)), 12, ap=0.5)


def test_a_search_with_measured_teachers_can_be_replayed() -> None:
    known = (*of_subnets(FOUR, 0.4), *measured(weak=0.3, strong=0.8))
    ask_tell = search(strategy(known, space=FOUR, registered=(WEAK, STRONG)))
    noise = random.Random(1)
    for _ in range(12):
        ask_tell.tell(trained(ask_tell, ask(ask_tell), noise.uniform(0.2, 0.9), noise.random()))
    replayed = replay(ask_tell.strategy, ask_tell.proposals, ask_tell.completions)
    assert replayed == ask_tell.proposals


@pytest.mark.parametrize(
    ("student_ap", "teacher", "expected"),
    [
        (0.55, STRONG, None),
        (
            0.74,
            STRONG,
            "none of the 2 measured teachers is above the student's AP of 74.0%; it trains under "
            "the best, 60.0%",
        ),
        (
            0.74,
            SPACE.largest,
            "none of the 2 measured teachers is above the student's AP of 74.0%; it trains under "
            "one that was not measured yet",
        ),
        (
            0.74,
            None,
            "none of the 2 measured teachers is above the student's AP of 74.0%; it trains without "
            "a teacher",
        ),
    ],
)
def test_users_are_informed_where_no_teacher_is_better(
    student_ap: float, teacher: Teacher | None, expected: str | None
) -> None:
    assert no_better_teacher(comparison(student_ap, weak=0.4, strong=0.6), teacher) == expected


def test_teachers_that_do_not_exceed_the_base_by_two_points_are_too_weak() -> None:
    assert too_weak(comparison(0.58, strong=0.6001), pool="teachers") is None
    found = too_weak(comparison(0.59, weak=0.4, strong=0.6), pool="teachers")
    assert found is not None
    assert found.startswith(
        "none of the 2 measured teachers exceeds the base by 2 points of AP, so teaching may cost "
        "more than it gains (best teacher 60.0%, base 59.0%); train the pool for longer (searchd "
        "pool extend teachers --epochs N) and name the new pool in the search, or register a "
        "better teacher (searchd teacher add)"
    )
    without = too_weak(comparison(0.59, strong=0.6), pool=None)
    assert without is not None
    assert "pool" not in without
