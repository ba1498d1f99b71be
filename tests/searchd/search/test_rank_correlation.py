"""Kendall's tau-b of two series."""

import pytest

from searchd.search.rank_correlation import kendalls_tau


def test_the_same_order_has_one_and_the_opposite_order_minus_one() -> None:
    assert kendalls_tau([1, 2, 3], [10, 20, 40]) == pytest.approx(1)
    assert kendalls_tau([1, 2, 3], [3, 2, 0]) == pytest.approx(-1)


def test_one_pair_of_three_that_differs() -> None:
    assert kendalls_tau([1, 2, 3], [1, 3, 2]) == pytest.approx(1 / 3)


def test_ties_are_left_out_of_the_denominator() -> None:
    # 3 pairs: one agrees, one is tied in the first series, one in the second.
    assert kendalls_tau([1, 1, 2], [1, 2, 2]) == pytest.approx(0.5)


def test_nothing_is_known_of_a_constant_series_or_of_one_number() -> None:
    assert kendalls_tau([1, 1], [1, 2]) is None
    assert kendalls_tau([1], [1]) is None
    assert kendalls_tau([], []) is None
