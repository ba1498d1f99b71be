"""The results of a distillation: order, baselines, and the ranks of a study."""

import random

from searchd.domain.distillation_plan import Baseline, Choice, Plan, sample_teachers
from searchd.domain.trial import Proposal
from searchd.search.order_results import RankedOrder, order_results, stage_aps
from searchd.search.strategies.progressive_distillation import Progressive, make_plan, trials_of
from tests.searchd.search.scripted import SPACE, run, with_base

TEACHERS = sample_teachers(SPACE, 2, seed=0)
"""The teachers "largest" and "smallest"."""
BOTH = ("smallest", "largest")


def plan(*order: str, baselines: tuple[Baseline, ...] = (), study_up_to: int = 0) -> Plan:
    choices = [Choice(teacher=name, cost=None, reason="given") for name in order]
    return make_plan(TEACHERS, choices, study_up_to=study_up_to, baselines=baselines)


def proposed(of: Plan) -> list[Proposal]:
    ask_tell = with_base(Progressive(seed=7, plan=of))
    run(ask_tell, lambda _: 0.4, in_flight=1, order=random.Random(0))
    return ask_tell.proposals


def test_there_are_no_results_before_anything_is_trained() -> None:
    compared = (Baseline.NO_TEACHER,)
    results = order_results(plan(*BOTH, baselines=compared), compared, [], {})
    assert (results.base, results.order, results.orders, results.rank) == (None, None, (), None)
    assert results.baselines == {Baseline.NO_TEACHER: None}


def test_order_and_baselines_have_the_ap_after_their_last_stage() -> None:
    compared = (Baseline.DIRECT, Baseline.NO_TEACHER)
    made = plan(*BOTH, baselines=compared)
    # Proposed in the plan's order: the order's two stages, direct's two, and the controls.
    aps = {"base": 0.2, "0": 0.3, "1": 0.35, "2": 0.31, "3": 0.32, "control-1": 0.25}
    results = order_results(made, compared, proposed(made), aps)
    assert (results.base, results.order) == (0.2, 0.35)
    assert results.baselines == {Baseline.DIRECT: 0.32, Baseline.NO_TEACHER: None}


def test_every_order_of_a_study_has_a_rank_and_equal_ones_the_same() -> None:
    made = plan(*BOTH, study_up_to=2)
    by_stage = {
        ("smallest",): 0.3,
        ("smallest", "largest"): 0.35,
        ("largest",): 0.4,
        ("largest", "smallest"): 0.35,
    }
    trials = trials_of(made, proposed(made))
    aps = {trials[stage].name: ap for stage, ap in by_stage.items()}
    results = order_results(made, (), proposed(made), aps)
    assert results.orders == (
        RankedOrder(order=("largest",), ap=0.4, rank=1),
        RankedOrder(order=("smallest", "largest"), ap=0.35, rank=2),
        RankedOrder(order=("largest", "smallest"), ap=0.35, rank=2),
        RankedOrder(order=("smallest",), ap=0.3, rank=4),
    )
    assert results.rank == 2


def test_costs_that_rise_with_the_gain_have_a_tau_of_one() -> None:
    choices = [Choice(teacher=name, cost=None, reason="given") for name in BOTH]
    costs = {
        "student": {"smallest": 1.0, "largest": 4.0},
        "smallest": {"largest": 3.0},
        "largest": {"smallest": 2.0},
    }
    made = make_plan(TEACHERS, choices, study_up_to=2, baselines=(), costs=costs)
    gains = {
        ("smallest",): 0.31,  # +0.01
        ("smallest", "largest"): 0.35,  # +0.04
        ("largest",): 0.36,  # +0.06
        ("largest", "smallest"): 0.38,  # +0.02
    }
    trials = trials_of(made, proposed(made))
    aps = {trials[stage].name: ap for stage, ap in gains.items()}

    assert order_results(made, (), proposed(made), {"base": 0.3} | aps).cost_and_gain == 1.0
    assert order_results(made, (), [], {}).cost_and_gain is None
    assert order_results(plan(*BOTH), (), [], {"base": 0.3}).cost_and_gain is None


def test_order_that_was_not_completed_has_no_rank_but_the_others_have() -> None:
    made = plan(*BOTH, study_up_to=2)
    names = {stage: trial.name for stage, trial in trials_of(made, proposed(made)).items()}
    aps = {names[("largest",)]: 0.4}
    results = order_results(made, (), proposed(made), aps)
    assert (results.order, results.rank, len(results.orders)) == (None, None, 1)
    assert stage_aps(made, proposed(made), aps) == {("largest",): 0.4}


def test_order_of_one_teacher_is_not_compared_with_simultaneous_ones() -> None:
    compared = (Baseline.DIRECT, Baseline.MEAN_OF_LOSSES)
    made = plan("largest", baselines=compared)
    results = order_results(made, compared, proposed(made), {"base": 0.2, "0": 0.3})
    assert results.baselines == {Baseline.DIRECT: 0.3}
