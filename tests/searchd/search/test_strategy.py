import random
from collections.abc import Callable
from dataclasses import replace

import pytest

from searchd.domain.actions import PruneChannels
from searchd.domain.architecture import Architecture, preset
from searchd.domain.errors import InvalidValueError
from searchd.domain.subnet import SubnetSpace, genes
from searchd.domain.trial import MutateTeacher, Outcome, Proposal, Train, TrialRole
from searchd.search.strategy import (
    Completion,
    Finished,
    Strategy,
    StrategySettings,
    Wait,
    lineage,
    mutate_teacher,
    ranking,
    replay,
)

SPACE = SubnetSpace(
    depths=((1, 2),) * 4, widths=((1.0, 1.5),) * 4, neck_channels=(16, 24), base_channels=8
)
SETTINGS = StrategySettings(space=SPACE, seed=7, max_trials=12, min_channels=4)
BACKBONE = preset("resnet18", base_channels=16)

Score = Callable[[Proposal], float]


def completion(
    strategy: Strategy,
    proposal: Proposal,
    score: float | None,
    architecture: Architecture = BACKBONE,
) -> Completion:
    succeeded = score is not None
    return Completion(
        sequence=len(strategy.completions),
        proposal=proposal,
        outcome=Outcome.SUCCEEDED if succeeded else Outcome.FAILED,
        architecture=architecture if succeeded else None,
        score=score,
    )


def ask(strategy: Strategy) -> Proposal:
    proposal = strategy.ask()
    assert isinstance(proposal, Proposal), proposal
    return proposal


def with_base(settings: StrategySettings = SETTINGS) -> Strategy:
    strategy = Strategy(settings)
    strategy.tell(completion(strategy, ask(strategy), 0.3))
    return strategy


def run(strategy: Strategy, score: Score, in_flight: int, order: random.Random) -> Finished:
    """Runs a search to its end with so many trials in flight, completed in a random order."""
    running: list[Proposal] = []
    while True:
        decision = strategy.ask() if len(running) < in_flight else Wait("slots are taken")
        if isinstance(decision, Finished):
            return decision
        if isinstance(decision, Proposal):
            running.append(decision)
        else:
            done = running.pop(order.randrange(len(running)))
            strategy.tell(completion(strategy, done, score(done)))


def rising(proposal: Proposal) -> float:
    return 0.3 + proposal.number / 100


def test_base_is_proposed_first_and_everything_waits_for_it() -> None:
    strategy = Strategy(SETTINGS)
    base = ask(strategy)
    assert (base.role, base.parent, base.teacher) == (TrialRole.BASE, None, None)
    assert strategy.ask() == Wait("the base detector is being trained")
    assert not strategy.has_base
    strategy.tell(completion(strategy, base, 0.3))
    assert strategy.has_base


def test_search_ends_when_the_base_fails() -> None:
    strategy = Strategy(SETTINGS)
    strategy.tell(completion(strategy, ask(strategy), None))
    assert strategy.ask() == Finished("the base detector could not be trained", succeeded=False)


def test_trial_0_is_the_base_under_the_largest_teacher() -> None:
    trial = ask(with_base())
    assert (trial.name, trial.parent, trial.change) == ("0", "base", Train())
    assert trial.teacher == SPACE.largest


def test_trials_1_to_5_mutate_the_teacher_only_also_while_none_has_completed() -> None:
    strategy = with_base()
    trials = [ask(strategy) for _ in range(6)]
    assert [t.change for t in trials[1:]] == [MutateTeacher()] * 5
    assert [t.parent for t in trials] == ["base"] * 6
    assert all(t.teacher != SPACE.largest for t in trials[1:])


def test_both_student_and_teacher_change_after_the_frozen_trials() -> None:
    strategy = with_base(replace(SETTINGS, max_trials=60, patience=60))
    run(strategy, rising, in_flight=1, order=random.Random(0))
    kinds = {t.change.kind for t in strategy.proposals if t.number > 5}
    assert kinds == {
        "mutate_teacher",
        "prune_channels",
        "prune_layer",
        "add_layer",
        "rearrange",
        "train",  # controls
    }


def test_parent_is_sampled_from_the_top_k_with_the_best_most_often() -> None:
    strategy = with_base(replace(SETTINGS, max_trials=400, patience=400, top_k=3, control=False))
    scores = {0: 0.5, 1: 0.4, 2: 0.45, 3: 0.1}
    run(strategy, lambda p: scores.get(p.number, 0.01), in_flight=1, order=random.Random(0))
    parents = [t.parent for t in strategy.proposals if t.number >= 4]
    counts = [parents.count(name) for name in ("0", "2", "1")]
    assert sum(counts) == len(parents)  # nothing below the top 3
    assert counts == sorted(counts, reverse=True)
    assert 0.44 < counts[0] / len(parents) < 0.56  # rank 1 of 3 has probability 1/2


def test_child_inherits_the_parents_teacher_when_the_student_changes() -> None:
    strategy = with_base(replace(SETTINGS, max_trials=40, patience=40))
    run(strategy, rising, in_flight=1, order=random.Random(0))
    by_name = {p.name: p for p in strategy.proposals}
    edits = [p for p in strategy.proposals if isinstance(p.change, PruneChannels)]
    assert edits
    for edit in edits:
        assert edit.parent is not None
        assert edit.teacher == by_name[edit.parent].teacher


def test_teacher_is_mutated_when_no_action_is_legal() -> None:
    strategy = with_base(
        replace(
            SETTINGS,
            actions=("prune_channels",),
            min_channels=512,
            student_probability=1.0,
            max_trials=20,
        )
    )
    run(strategy, rising, in_flight=1, order=random.Random(0))
    changes = {p.change for p in strategy.proposals if p.number > 0 and p.role is TrialRole.SEARCH}
    assert changes == {MutateTeacher()}


def test_search_ends_with_its_budget_and_then_trains_a_control_as_long_as_the_best() -> None:
    strategy = with_base()
    finished = run(strategy, rising, in_flight=1, order=random.Random(0))
    assert finished == Finished("budget: 12 trials", succeeded=True)
    best = ranking(strategy.completions)[0].proposal
    assert best.name == "11"
    controls = [p for p in strategy.proposals if p.role is TrialRole.CONTROL]
    assert len(controls) == len(lineage("11", strategy.proposals)) - 1
    assert [p.parent for p in controls] == ["base", *(p.name for p in controls[:-1])]
    assert {(p.change, p.teacher) for p in controls} == {(Train(), None)}


def test_control_waits_for_the_last_trials_and_for_its_predecessor() -> None:
    strategy = with_base(replace(SETTINGS, max_trials=2))
    first, second = ask(strategy), ask(strategy)
    strategy.tell(completion(strategy, first, 0.4))
    assert strategy.ask() == Wait("the last trials are running")
    strategy.tell(completion(strategy, second, 0.5))
    control = ask(strategy)
    assert control.role is TrialRole.CONTROL
    assert strategy.ask() == Wait("the control is being trained")
    strategy.tell(completion(strategy, control, None))
    assert strategy.ask() == Finished("budget: 2 trials", succeeded=True)


def test_search_converges_after_patience_trials_without_a_better_score() -> None:
    strategy = with_base(replace(SETTINGS, max_trials=100, patience=4, control=False))
    finished = run(
        strategy, lambda p: 0.9 if p.number == 2 else 0.1, in_flight=1, order=random.Random(0)
    )
    assert finished.reason == "converged: 4 trials in a row without a better score"
    assert len(strategy.proposals) == 1 + 7


def test_search_without_any_success_says_so() -> None:
    strategy = with_base(replace(SETTINGS, max_trials=1))
    strategy.tell(completion(strategy, ask(strategy), None))
    assert strategy.ask() == Finished("budget: 1 trials, but no trial succeeded", succeeded=False)


@pytest.mark.parametrize("in_flight", [1, 4])
def test_replaying_the_recorded_completions_reproduces_every_proposal(in_flight: int) -> None:
    strategy = with_base(replace(SETTINGS, max_trials=30, patience=30))
    noise = random.Random(3)
    run(strategy, lambda _: noise.random(), in_flight=in_flight, order=random.Random(5))
    assert replay(strategy.settings, strategy.proposals, strategy.completions) == strategy.proposals


def test_interrupted_search_goes_on_as_if_it_had_not_been() -> None:
    whole = with_base()
    run(whole, rising, in_flight=1, order=random.Random(0))
    resumed = Strategy(SETTINGS, list(whole.proposals[:5]), list(whole.completions[:5]))
    assert resumed.in_flight == []
    run(resumed, rising, in_flight=1, order=random.Random(0))
    assert resumed.proposals == whole.proposals


def test_another_seed_gives_another_search() -> None:
    one, two = with_base(), with_base(replace(SETTINGS, seed=8))
    run(one, rising, in_flight=1, order=random.Random(0))
    run(two, rising, in_flight=1, order=random.Random(0))
    assert one.proposals != two.proposals


def test_hill_climbing_finds_the_optimum_of_a_landscape() -> None:
    # The score counts how many genes of the teacher have their smallest value; 9 is the optimum.
    small = genes(SPACE.smallest)

    def landscape(proposal: Proposal) -> float:
        assert proposal.teacher is not None
        return float(sum(genes(proposal.teacher)[g] == value for g, value in small.items()))

    strategy = with_base(
        replace(SETTINGS, max_trials=100, patience=100, student_probability=0.0, control=False)
    )
    run(strategy, landscape, in_flight=2, order=random.Random(1))
    assert ranking(strategy.completions)[0].score == 9.0


def test_completion_must_be_told_in_order_and_once() -> None:
    strategy = with_base()
    trial = ask(strategy)
    with pytest.raises(InvalidValueError, match="completion 5 was told out of order; expected 1"):
        strategy.tell(replace(completion(strategy, trial, 0.1), sequence=5))
    strategy.tell(completion(strategy, trial, 0.1))
    with pytest.raises(InvalidValueError, match="trial 0 is not in flight"):
        strategy.tell(completion(strategy, trial, 0.1))


def test_completion_without_a_score_is_no_success() -> None:
    with pytest.raises(InvalidValueError, match="score and architecture belong to a success"):
        Completion(sequence=0, proposal=ask(Strategy(SETTINGS)), outcome=Outcome.SUCCEEDED)


def test_mutated_teacher_is_legal_and_never_identical() -> None:
    rng = random.Random(0)
    teacher = SPACE.largest
    changed = []
    for _ in range(200):
        mutated = mutate_teacher(teacher, SPACE, rng, another_gene_probability=0.3)
        SPACE.check(mutated)
        difference = sum(genes(mutated)[g] != v for g, v in genes(teacher).items())
        changed.append(difference)
        teacher = mutated
    assert min(changed) == 1
    assert max(changed) > 1


def test_teacher_of_a_space_with_one_subnet_stays() -> None:
    lone = SubnetSpace(depths=((1,),) * 4, widths=((1.0,),) * 4, neck_channels=(8,))
    assert mutate_teacher(lone.largest, lone, random.Random(0), 0.3) == lone.largest
