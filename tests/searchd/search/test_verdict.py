"""What a report says in words."""

from dataclasses import replace

import pytest

from searchd.search.intervals import Interval
from searchd.search.verdict import Conclusion, Difference, teacher_advice, verdict


def against(reference: str, ap: float, low: float, high: float) -> Difference:
    around = Interval(low, high)
    return Difference(
        reference=reference, resolution="64x64", ap=ap, interval=around, macs_ratio=0.5
    )


BETTER = against("the base", 0.04, 0.01, 0.07)
ALSO_BETTER = against("the control", 0.03, 0.01, 0.05)
UNDECIDED = against("the control", 0.01, -0.02, 0.04)
WORSE = against("the control", -0.03, -0.05, -0.01)
EXPENSIVE = replace(UNDECIDED, macs_ratio=1.0)
UNKNOWN = replace(EXPENSIVE, ap=0.1, interval=None)


def test_an_interval_that_excludes_zero_decides() -> None:
    conclusions = [each.conclusion for each in (BETTER, UNDECIDED, WORSE, UNKNOWN)]

    assert conclusions == [
        Conclusion.BETTER,
        Conclusion.UNDECIDED,
        Conclusion.WORSE,
        Conclusion.UNKNOWN,
    ]


def test_a_difference_is_one_sentence() -> None:
    assert WORSE.sentence == (
        "It is worse than the control at 64x64: -3.0 points of AP, 95 % interval -5.0 to -1.0, "
        "with 0.50 x its MACs."
    )


@pytest.mark.parametrize(
    ("split", "differences", "expected"),
    [
        ("test", [BETTER, ALSO_BETTER], "The search gained."),
        ("test", [BETTER, BETTER], "without a control, longer training may explain the gain."),
        ("validation", [BETTER, ALSO_BETTER], "A part of this gain may be selection."),
        (
            "test",
            [BETTER, UNDECIDED],
            "is not shown; nor is a loss, and the best needs only 0.50 x",
        ),
        ("test", [BETTER, EXPENSIVE], "is not shown; more images narrow the intervals."),
        ("test", [BETTER, WORSE], "The search did not gain in AP: a reference is better."),
        ("test", [BETTER, UNKNOWN], "Without intervals, a gain cannot be told from chance."),
    ],
)
def test_the_summary_claims_no_more_than_the_intervals_show(
    split: str, differences: list[Difference], expected: str
) -> None:
    said = verdict("7", split, 40, differences)

    assert expected in said
    assert said.startswith("The best detector is trial 7. It is better than the base at")
    assert said.endswith(
        f"of the {split} split (40 images), which "
        f"{'did not select' if split == 'test' else 'selected'} the best detector."
    )


def test_weak_teachers_of_a_pool_that_still_learned_need_a_longer_training() -> None:
    said = teacher_advice(1, 14, 0.12)

    assert said is not None
    assert said.startswith("Teachers were better than their students in 1 of 14 trials")
    assert said.endswith("Train the pool longer: its loss still fell by 12 % in its last phase.")


def test_weak_teachers_without_a_pool_that_learns_need_replacement() -> None:
    for fall in (None, -0.1):
        assert (teacher_advice(0, 3, fall) or "").endswith("or train a pool with larger subnets.")


def test_strong_teachers_need_no_advice() -> None:
    assert teacher_advice(7, 14, 0.1) is None
    assert teacher_advice(0, 0, 0.1) is None
