"""Progressive distillation: a tree of stages; each may run once its parent has succeeded."""

import random
from dataclasses import replace

from searchd.domain.distillation_plan import Baseline, Choice, Plan, sample_teachers
from searchd.domain.teacher import SimultaneousTeachers
from searchd.domain.trial import Proposal, Train, TrainSwept, TrialRole
from searchd.search.ask_tell import AskTell, Finished, Wait, replay
from searchd.search.strategies.progressive_distillation import (
    Progressive,
    make_plan,
    rank_among_orders,
    trials_of,
)
from tests.searchd.search.scripted import SPACE, ask, completion, run, with_base

TEACHERS = sample_teachers(SPACE, 3, seed=0)
"""largest, smallest, sampled-1."""
ALIKE = {
    name: replace(teacher, neck_channels=TEACHERS["largest"].neck_channels)
    for name, teacher in TEACHERS.items()
}
"""The same with necks of one width, whose features can be averaged."""
ORDER = [Choice(teacher=name, cost=None, reason="given") for name in ("smallest", "largest")]


def plan(*baselines: Baseline, study_up_to: int = 0) -> Plan:
    return make_plan(TEACHERS, ORDER, study_up_to=study_up_to, baselines=baselines)


def strategy(of: Plan | None) -> Progressive:
    return Progressive(seed=7, plan=of)


COMPARED = strategy(plan(Baseline.DIRECT, Baseline.NO_TEACHER))


def score(_: Proposal) -> float:
    return 0.4


def test_plan_of_an_order_has_one_stage_for_each_teacher() -> None:
    assert plan().stages == (("smallest",), ("smallest", "largest"))
    assert plan().order == ("smallest", "largest")


def test_baselines_have_as_many_stages_as_the_order() -> None:
    assert plan(Baseline.DIRECT, Baseline.NO_TEACHER).stages == (
        ("smallest",),
        ("smallest", "largest"),
        ("largest",),
        ("largest", "largest"),
        (None,),
        (None, None),
    )


def test_study_trains_each_prefix_once() -> None:
    stages = plan(Baseline.DIRECT, study_up_to=2).stages
    # 3 orders of one teacher, 6 of two; of the direct baseline only the second stage is new.
    assert len(stages) == len(set(stages)) == 3 + 6 + 1
    assert stages[-1] == ("largest", "largest")


def test_simultaneous_baselines_teach_by_all_teachers_of_the_order_in_every_stage() -> None:
    baselines = (Baseline.MEAN_OF_LOSSES, Baseline.AVERAGE_FEATURES)
    made = make_plan(ALIKE, ORDER, baselines=baselines)
    assert made.stages[2:] == (
        ("mean_of_losses",),
        ("mean_of_losses", "mean_of_losses"),
        ("average_features",),
        ("average_features", "average_features"),
    )
    assert made.teachers["mean_of_losses"] == SimultaneousTeachers(
        teachers=(ALIKE["smallest"], ALIKE["largest"]), definition="mean_of_losses"
    )
    assert [stage for stage in made.stages if made.is_order(stage)] == [
        ("smallest",),
        ("smallest", "largest"),
    ]


def test_order_of_one_teacher_has_no_simultaneous_baseline() -> None:
    made = make_plan(TEACHERS, ORDER[:1], baselines=(Baseline.MEAN_OF_LOSSES, Baseline.NO_TEACHER))
    assert made.stages == (("smallest",), (None,))
    assert list(made.teachers) == ["largest", "smallest", "sampled-1"]


def test_features_of_necks_of_different_width_are_not_averaged() -> None:
    assert TEACHERS["smallest"].neck_channels != TEACHERS["largest"].neck_channels
    together = (Baseline.MEAN_OF_LOSSES, Baseline.AVERAGE_FEATURES)
    assert set(plan(*together).teachers) - set(TEACHERS) == {"mean_of_losses"}


def test_each_stage_continues_from_the_one_before_under_its_teacher() -> None:
    ask_tell = with_base(COMPARED)

    finished = run(ask_tell, score, in_flight=1, order=random.Random(0))

    assert finished == Finished("progressive: 6 stages", succeeded=True)
    small, large = TEACHERS["smallest"], TEACHERS["largest"]
    assert [(p.name, p.parent, p.teacher) for p in ask_tell.proposals[1:]] == [
        ("0", "base", small),
        ("1", "0", large),
        ("2", "base", large),
        ("3", "2", large),
        ("control-1", "base", None),
        ("control-2", "control-1", None),
    ]
    assert {p.change for p in ask_tell.proposals} == {Train()}


def test_every_stage_whose_parent_has_succeeded_may_be_in_flight() -> None:
    ask_tell = with_base(COMPARED)
    first = [ask(ask_tell) for _ in range(3)]
    assert [p.parent for p in first] == ["base"] * 3
    assert ask_tell.ask() == Wait("the stages that the others inherit from are running")
    ask_tell.tell(completion(ask_tell, first[1], 0.4))
    assert ask(ask_tell).parent == first[1].name


def test_seed_of_a_stage_does_not_depend_on_what_ended_first() -> None:
    seeds = []
    for order in (1, 2, 3):
        ask_tell = with_base(COMPARED)
        run(ask_tell, score, in_flight=3, order=random.Random(order))
        assert isinstance(COMPARED.plan, Plan)
        trials = trials_of(COMPARED.plan, ask_tell.proposals)
        seeds.append({stage: trial.seed for stage, trial in trials.items()})
        assert len(set(seeds[-1].values())) == 6
    assert seeds[0] == seeds[1] == seeds[2]


def test_decisions_can_be_replayed() -> None:
    ask_tell = with_base(COMPARED)
    run(ask_tell, score, in_flight=2, order=random.Random(3))
    assert replay(COMPARED, ask_tell.proposals, ask_tell.completions) == ask_tell.proposals


def test_interrupted_search_resumes_where_it_was() -> None:
    whole = with_base(COMPARED)
    run(whole, score, in_flight=1, order=random.Random(0))
    cut = AskTell(COMPARED, list(whole.proposals[:3]), list(whole.completions[:3]))
    run(cut, score, in_flight=1, order=random.Random(0))
    assert cut.proposals == whole.proposals


def test_stages_below_one_that_failed_are_skipped() -> None:
    ask_tell = with_base(COMPARED)
    finished = run(
        ask_tell,
        lambda p: None if p.name == "0" else 0.4,
        in_flight=2,
        order=random.Random(0),
    )
    assert finished == Finished(
        "progressive: 5 stages; 1 more were skipped because an earlier stage failed", succeeded=True
    )
    assert len(ask_tell.proposals) == 1 + 5


def test_it_fails_when_no_stage_with_a_teacher_succeeds() -> None:
    ask_tell = with_base(COMPARED)
    finished = run(
        ask_tell,
        lambda p: 0.4 if p.role is TrialRole.CONTROL else None,
        in_flight=1,
        order=random.Random(0),
    )
    assert not finished.succeeded
    assert finished.reason.endswith("but no trial succeeded")


def test_without_a_plan_nothing_is_proposed_but_the_base() -> None:
    ask_tell = with_base(strategy(None))
    assert ask_tell.ask() == Wait("the teachers are not chosen yet")
    ask_tell.strategy = replace(COMPARED, plan=plan())
    assert ask(ask_tell).teacher == TEACHERS["smallest"]


def test_order_is_ranked_among_trained_orders_without_the_baselines() -> None:
    studied = plan(Baseline.DIRECT, Baseline.NO_TEACHER, study_up_to=2)
    aps = dict.fromkeys(studied.stages, 0.3) | {
        ("smallest", "largest"): 0.35,
        ("sampled-1", "largest"): 0.36,
        ("largest", "largest"): 0.9,
        (None, None): 0.9,
    }
    assert rank_among_orders(studied, aps) == (2, 9)
    del aps["smallest", "largest"]
    assert rank_among_orders(studied, aps) is None


WEIGHT = "distillation.methods.fgd.weight"
TENFOLD, HUNDREDFOLD = (TrainSwept(field=WEIGHT, value=value) for value in (10.0, 100.0))
SWEPT = replace(strategy(plan(Baseline.NO_TEACHER)), swept=(TENFOLD, HUNDREDFOLD))


def test_a_sweep_trains_the_order_with_each_value_and_baselines_once() -> None:
    ask_tell = with_base(SWEPT)

    finished = run(ask_tell, score, in_flight=1, order=random.Random(0))

    assert finished == Finished("progressive: 8 stages", succeeded=True)
    assert [(p.name, p.parent, p.change) for p in ask_tell.proposals[1:]] == [
        ("0", "base", Train()),
        ("1", "0", Train()),
        ("control-1", "base", Train()),
        ("control-2", "control-1", Train()),
        ("2", "base", TENFOLD),
        ("3", "2", TENFOLD),
        ("4", "base", HUNDREDFOLD),
        ("5", "4", HUNDREDFOLD),
    ]


def test_values_of_a_sweep_have_the_same_teachers_and_seeds() -> None:
    ask_tell = with_base(SWEPT)
    run(ask_tell, score, in_flight=3, order=random.Random(1))
    assert isinstance(SWEPT.plan, Plan)

    courses = [
        [(p.teacher, p.seed) for p in trials_of(SWEPT.plan, ask_tell.proposals, swept).values()]
        for swept in (TENFOLD, HUNDREDFOLD)
    ]

    as_submitted = trials_of(SWEPT.plan, ask_tell.proposals)
    order = [as_submitted[stage] for stage in (("smallest",), ("smallest", "largest"))]
    assert courses == [[(p.teacher, p.seed) for p in order]] * 2


def test_a_value_whose_training_fails_leaves_the_others() -> None:
    ask_tell = with_base(SWEPT)
    finished = run(
        ask_tell,
        lambda p: None if (p.parent, p.change) == ("base", TENFOLD) else 0.4,
        in_flight=2,
        order=random.Random(0),
    )
    assert finished == Finished(
        "progressive: 7 stages; 1 more were skipped because an earlier stage failed", succeeded=True
    )


def test_decisions_of_a_sweep_can_be_replayed() -> None:
    ask_tell = with_base(SWEPT)
    run(ask_tell, score, in_flight=3, order=random.Random(3))
    assert replay(SWEPT, ask_tell.proposals, ask_tell.completions) == ask_tell.proposals
