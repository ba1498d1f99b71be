"""Prune, then distil: one chain of trials."""

import random
from dataclasses import replace

from searchd.domain.trial import PruneToMacs, Train, TrialRole
from searchd.search.ask_tell import Finished, Wait
from searchd.search.history import search_trials
from searchd.search.strategies.pipeline import Pipeline, PipelineSettings
from tests.searchd.search.scripted import SPACE, ask, completion, rising, run, with_base

PRUNE = PruneToMacs(fraction=0.7, min_channels=4)
STRATEGY = Pipeline(
    space=SPACE, seed=7, max_trials=3, settings=PipelineSettings(macs_fraction=0.7, min_channels=4)
)


def test_first_trial_prunes_and_the_others_distil_its_student_further() -> None:
    ask_tell = with_base(replace(STRATEGY, control=False))

    finished = run(ask_tell, rising, in_flight=4, order=random.Random(0))

    assert finished == Finished("pipeline: 3 trials", succeeded=True)
    assert [(p.name, p.parent, p.change) for p in ask_tell.proposals[1:]] == [
        ("0", "base", PRUNE),
        ("1", "0", Train()),
        ("2", "1", Train()),
    ]
    assert {p.teacher for p in ask_tell.proposals[1:]} == {SPACE.largest}
    assert len({p.seed for p in ask_tell.proposals}) == 4


def test_each_trial_waits_for_the_one_before() -> None:
    ask_tell = with_base(STRATEGY)
    first = ask(ask_tell)
    assert ask_tell.ask() == Wait("trial 0 is running, and the next one inherits its student")
    ask_tell.tell(completion(ask_tell, first, 0.4))
    assert ask(ask_tell).parent == "0"


def test_it_ends_where_a_trial_fails_with_what_it_has() -> None:
    ask_tell = with_base(replace(STRATEGY, control=False))
    finished = run(
        ask_tell, lambda p: None if p.number == 1 else 0.4, in_flight=1, order=random.Random(0)
    )
    assert finished == Finished("pipeline: trial 1 ended as failed", succeeded=True)
    assert len(search_trials(ask_tell.proposals)) == 2


def test_it_fails_when_pruning_does() -> None:
    ask_tell = with_base(STRATEGY)
    finished = run(ask_tell, lambda _: None, in_flight=1, order=random.Random(0))
    assert finished == Finished(
        "pipeline: trial 0 ended as failed, but no trial succeeded", succeeded=False
    )


def test_controls_train_the_base_as_long_as_the_best_student_was() -> None:
    ask_tell = with_base(STRATEGY)
    run(ask_tell, rising, in_flight=1, order=random.Random(0))
    controls = [p for p in ask_tell.proposals if p.role is TrialRole.CONTROL]
    assert [p.parent for p in controls] == ["base", "control-1", "control-2"]
