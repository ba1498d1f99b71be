"""Analytics of a hand-made search: base, then five trials in the order in which they ended."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from searchd.domain.resolution import Resolution
from searchd.search.analytics import (
    Analysed,
    BackboneSizes,
    FrontPoint,
    Gains,
    Generation,
    MethodGains,
    RecordedTrial,
    ScoredTrial,
    StageMacs,
    document,
    front,
    gains_by,
    gains_by_method,
    generations,
    generations_of,
    hypervolumes,
    index_of_best,
    with_gains,
)
from searchd.search.history import OperatingPoint
from tests.strength import examples


def trial(name: str, action: str, score: float, gain: float | None, macs: float) -> ScoredTrial:
    """At full resolution its AP is its score; at half, half of both AP and MACs."""
    points = (
        OperatingPoint(resolution=Resolution(96, 96), macs=macs, ap=score),
        OperatingPoint(resolution=Resolution(64, 64), macs=macs / 2, ap=score / 2),
    )
    return ScoredTrial(trial=name, action=action, score=score, gain=gain, points=points)


LOG = (
    trial("base", "train", 0.40, None, 100),
    trial("0", "train", 0.44, 0.04, 100),
    trial("1", "prune_layer", 0.42, 0.02, 80),
    trial("2", "mutate_teacher", 0.44, 0.0, 100),
    trial("4", "prune_layer", 0.50, 0.06, 80),
    trial("3", "add_layer", 0.45, -0.05, 120),
)


def test_a_generation_begins_with_each_improvement_of_the_best_score() -> None:
    assert generations_of(LOG) == [0, 1, 1, 1, 2, 2]
    assert generations(LOG) == [
        Generation(generation=0, trial="base", score=0.40),
        Generation(generation=1, trial="0", score=0.44),
        Generation(generation=2, trial="4", score=0.50),
    ]


def test_equal_score_is_no_improvement() -> None:
    assert generations_of([LOG[1], LOG[3]]) == [0, 0]


def test_gains_by_action_count_successes_and_add_up_positive_gains() -> None:
    found = gains_by(LOG, [each.action for each in LOG])
    assert found == {
        "train": Gains(trials=1, successes=1, sum_of_gains=0.04),
        "prune_layer": Gains(trials=2, successes=2, sum_of_gains=0.08),
        "mutate_teacher": Gains(trials=1, successes=0, sum_of_gains=0),
        "add_layer": Gains(trials=1, successes=0, sum_of_gains=0),
    }
    assert found["prune_layer"].success_rate == 1


def test_gains_by_method_compare_trials_with_it_and_without_it() -> None:
    def taught(name: str, gain: float | None, *methods: str) -> ScoredTrial:
        return replace(trial(name, "mutate_methods", 0.4, gain, 100), methods=methods)

    trials = (
        *LOG,  # of which nothing is known, and which count for neither
        taught("5", 0.04, "sgfi"),
        taught("6", 0.02, "sgfi", "cwd"),
        taught("7", -0.02, "cwd"),
        taught("8", None, "pkd"),
    )
    found = gains_by_method(trials)
    assert list(found) == ["sgfi", "cwd"]
    assert found["sgfi"] == MethodGains(
        trials=2, mean_gain=0.03, others=1, mean_gain_of_others=-0.02
    )
    assert found["cwd"] == MethodGains(trials=2, mean_gain=0.0, others=1, mean_gain_of_others=0.04)


def test_gains_of_a_method_that_every_trial_has_are_compared_with_nothing() -> None:
    trials = [replace(LOG[1], methods=("sgfi",)), replace(LOG[2], methods=("sgfi",))]
    (gains,) = gains_by_method(trials).values()
    assert (gains.trials, gains.others, gains.mean_gain_of_others) == (2, 0, None)
    assert gains_by_method(LOG) == {}


def test_gains_by_generation() -> None:
    found = gains_by(LOG, generations_of(LOG))
    assert {key: (each.trials, each.successes) for key, each in found.items()} == {
        1: (3, 2),
        2: (2, 1),
    }
    assert found[1].sum_of_gains == pytest.approx(0.06)
    assert found[2].success_rate == 0.5


def test_front_is_over_all_trials_and_resolutions() -> None:
    assert front(LOG) == [
        FrontPoint(
            trial="4", point=OperatingPoint(resolution=Resolution(64, 64), macs=40, ap=0.25)
        ),
        FrontPoint(
            trial="4", point=OperatingPoint(resolution=Resolution(96, 96), macs=80, ap=0.50)
        ),
    ]


def test_hypervolume_grows_with_the_front() -> None:
    """The plane has 120 MACs. The base has AP .20 from 50 on and .40 from 100 on; and so forth."""
    third = 10 * 0.21 + 30 * 0.22 + 20 * 0.42 + 20 * 0.44  # from 40, 50, 80 and 100 on
    expected = [
        50 * 0.20 + 20 * 0.40,
        50 * 0.22 + 20 * 0.44,
        third,
        third,
        40 * 0.25 + 40 * 0.50,
        40 * 0.25 + 40 * 0.50,
    ]
    assert hypervolumes(LOG) == pytest.approx([area / 120 for area in expected])


@settings(max_examples=examples(20, 300), deadline=None)
@given(st.lists(st.tuples(st.integers(1, 9), st.integers(0, 9)), min_size=1, max_size=25))
def test_hypervolume_of_every_prefix_is_the_area_below_its_best_points(
    pairs: list[tuple[int, int]],
) -> None:
    trials = [
        trial(str(number), "train", score=ap, gain=None, macs=macs)
        for number, (macs, ap) in enumerate(pairs)
    ]
    worst = max(macs for macs, _ in pairs)
    steps = [half / 2 for half in range(1, 2 * worst)]  # between the MACs that occur

    def area(count: int) -> float:
        points = [point for each in trials[:count] for point in each.points]
        found = (max([p.ap for p in points if p.macs <= at], default=0.0) for at in steps)
        return sum(found) / 2

    expected = [area(count) / worst for count in range(1, len(trials) + 1)]
    assert hypervolumes(trials) == pytest.approx(expected)


def test_a_search_without_a_scored_trial_has_nothing_to_tell() -> None:
    assert generations_of([]) == []
    assert generations([]) == []
    assert gains_by([], []) == {}
    assert front([]) == []
    assert hypervolumes([]) == []


def recorded(name: str, score: float, parent: str | None) -> RecordedTrial:
    parent_id = None if parent is None else f"s-1-{parent}"
    return RecordedTrial(
        id=f"s-1-{name}", name=name, parent_id=parent_id, action="train", score=score, points=()
    )


def test_gain_is_the_score_minus_the_parents() -> None:
    trials = [
        recorded("base", 0.5, None),
        recorded("0", 0.75, "base"),
        recorded("1", 0.625, "0"),
        recorded("2", 0.5, "lost"),
    ]
    assert [trial.gain for trial in with_gains(trials)] == [None, 0.25, -0.125, None]


def test_best_is_the_services_choice_and_without_one_the_highest_score() -> None:
    trials = [recorded("base", 0.75, None), recorded("0", 0.5, "base"), recorded("1", 0.6, "base")]
    assert index_of_best(trials, "s-1-1") == 2
    assert index_of_best(trials, None) == 0


def test_document_has_plain_values_alone() -> None:
    macs = StageMacs(trial="base", stem=1.0, stages=(2.0, 3.0))
    found = document(
        Analysed(
            trials=LOG[:2],
            sizes=(
                BackboneSizes(student=11, teacher=None),
                BackboneSizes(student=11, teacher=25),
            ),
            before=macs,
            after=macs,
            resolution=Resolution(96, 96),
        )
    )

    assert [trial["teacher_backbone_params"] for trial in found["trials"]] == [None, 25]
    assert found["gains_by_generation"]["1"]["success_rate"] == 1.0
    assert found["stage_macs"]["resolution"] == "96x96"
    assert found["front"][-1]["resolution"] == "96x96"
