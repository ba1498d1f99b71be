"""What a sweep compares, and which of its values is the best."""

from searchd.domain.distillation_plan import Baseline, Choice, sample_teachers
from searchd.domain.trial import Proposal, Train, TrainSwept, TrialRole
from searchd.search.strategies.progressive_distillation import make_plan
from searchd.search.sweep_results import best_end, swept_ends
from tests.searchd.search.scripted import SPACE

TEACHERS = sample_teachers(SPACE, 2, seed=0)
BASELINES = (Baseline.NO_TEACHER, Baseline.MEAN_OF_LOSSES)
PLAN = make_plan(
    TEACHERS, [Choice(teacher="largest", cost=None, reason="given")], baselines=BASELINES
)
FASTER = TrainSwept(field="trial.learning_rate", value=0.02)
VALUES = ((0.01, Train()), (0.02, FASTER))


def proposal(number: int, change: Train | TrainSwept, role: TrialRole) -> Proposal:
    return Proposal(
        role=role,
        number=number,
        parent="base",
        change=change,
        teacher=TEACHERS["largest"] if role is TrialRole.SEARCH else None,
        seed=0,
        completed_before=1,
    )


PROPOSALS = [
    proposal(0, Train(), TrialRole.SEARCH),
    proposal(1, Train(), TrialRole.CONTROL),
    proposal(1, FASTER, TrialRole.SEARCH),
]
ENDS = swept_ends(PLAN, VALUES, BASELINES, PROPOSALS)


def test_the_order_with_each_value_is_compared_with_the_baselines_that_are_trained() -> None:
    found = [(each.value, each.baseline, each.trial and each.trial.name) for each in ENDS]
    # An order of one teacher has no simultaneous teachers.
    assert found == [(0.01, None, "0"), (0.02, None, "1"), (None, "no_teacher", "control-1")]
    assert [each.as_submitted for each in ENDS] == [True, False, False]


def test_what_is_not_proposed_yet_has_no_trial() -> None:
    found = swept_ends(PLAN, VALUES, BASELINES, PROPOSALS[:1])
    assert [each.trial is None for each in found] == [False, True, True]


def test_the_best_value_has_the_highest_ap_and_is_no_baseline() -> None:
    assert best_end(ENDS, {"0": 0.4, "1": 0.5, "control-1": 0.9}) == ENDS[1]
    assert best_end(ENDS, {"0": 0.4, "1": 0.4}) == ENDS[0]
    assert best_end(ENDS, {"control-1": 0.9}) is None
