"""How well short trials rank."""

import pytest

from searchd.search.short_trials import BENCHMARK, Benchmark, finished_sentence, tau_of_finished


def test_the_benchmark_is_told_in_a_sentence() -> None:
    found = Benchmark(
        tau=0.6, low=0.25, high=0.834, architectures=20, data="photos", short_epochs=3,
        more_epochs=24,
    )  # fmt: skip
    assert found.sentence == (
        "In the shipped benchmark, scores after 3 epochs ranked 20 architectures on photos as "
        "scores after 24 more did with a Kendall's tau of 0.60 (95 % interval 0.25 to 0.83; 1: the "
        "same ranking, 0: chance); on your data it can differ."
    )


def test_the_shipped_benchmark_has_possible_figures() -> None:
    assert -1 <= BENCHMARK.low <= BENCHMARK.tau <= BENCHMARK.high <= 1
    assert BENCHMARK.architectures > 2


@pytest.mark.parametrize(
    ("scores", "tau"),
    [
        ([(0.1, 0.4), (0.2, 0.5), (0.3, 0.6)], 1.0),
        ([(0.1, 0.4), (0.2, 0.6), (0.3, 0.5)], 1 / 3),  # two of three pairs
        ([(0.1, 0.4), (0.2, 0.5)], None),
        ([(0.1, 0.4), (0.1, 0.5), (0.1, 0.6)], None),
    ],
    ids=["the same ranking", "one pair differs", "too few", "equal scores"],
)
def test_tau_compares_trials_with_what_became_of_them(
    scores: list[tuple[float, float]], tau: float | None
) -> None:
    assert tau_of_finished(scores) == (None if tau is None else pytest.approx(tau))


def test_the_ranking_of_finished_detectors_is_told_in_words() -> None:
    assert finished_sentence(1 / 3, 3).startswith(
        "Trials ranked the 3 finished detectors as finishing did with a Kendall's tau of 0.33"
    )
