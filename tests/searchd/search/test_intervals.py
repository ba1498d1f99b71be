"""Intervals of APs and of paired differences."""

import numpy as np
import pytest

from searchd.domain.errors import InvalidValueError
from searchd.search.intervals import Interval, difference, interval


def test_an_interval_leaves_two_and_a_half_percent_of_the_resamples_on_each_side() -> None:
    values = [number / 1000 for number in range(1001)]

    found = interval(values)

    assert found is not None
    assert (found.low, found.high) == pytest.approx((0.025, 0.975))


def test_the_difference_of_a_detector_with_itself_is_exactly_zero() -> None:
    values = np.random.default_rng(0).uniform(size=1000).tolist()

    assert difference(values, values) == Interval(0.0, 0.0)
    assert not Interval(0.0, 0.0).excludes_zero


def test_pairing_removes_what_both_detectors_share() -> None:
    rng = np.random.default_rng(0)
    common = rng.uniform(0.2, 0.8, 1000)
    better = common + 0.02 + rng.normal(0, 0.005, 1000)

    alone, paired = interval(better.tolist()), difference(better.tolist(), common.tolist())

    assert alone is not None
    assert alone.high - alone.low > 0.5
    assert paired is not None
    assert paired.excludes_zero
    assert paired.low == pytest.approx(0.01, abs=0.002)
    assert paired.high == pytest.approx(0.03, abs=0.002)


def test_resamples_without_objects_are_left_out() -> None:
    assert interval([-1.0, 0.5, 0.5]) == Interval(0.5, 0.5)
    assert difference([-1.0, 0.5], [-1.0, 0.25]) == Interval(0.25, 0.25)
    assert interval([-1.0, -1.0]) is None


def test_a_paired_difference_needs_the_same_resamples() -> None:
    with pytest.raises(InvalidValueError, match="same resamples, got 2 and 1"):
        difference([0.1, 0.2], [0.1])
