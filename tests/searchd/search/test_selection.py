"""The expected optimism of simulated searches, whose true scores are known."""

import numpy as np
import pytest

from searchd.search.selection import expected_optimism

NOISE = 0.02


def simulate(num_searches: int, num_trials: int, spread: float) -> list[tuple[list[float], float]]:
    """Scores of searches, and how much too good the best of each is."""
    rng = np.random.default_rng(0)
    found = []
    for _ in range(num_searches):
        true = 0.5 + spread * rng.standard_normal(num_trials)
        scores = true + NOISE * rng.standard_normal(num_trials)
        best = int(scores.argmax())
        found.append((scores.tolist(), float(scores[best] - true[best])))
    return found


@pytest.mark.parametrize("noise", [None, NOISE])
@pytest.mark.parametrize("num_trials", [4, 18])
def test_equal_true_scores_give_the_optimism_of_the_best_of_pure_noise(
    num_trials: int, noise: float | None
) -> None:
    searches = simulate(200, num_trials, spread=0.0)

    estimated = np.mean(
        [expected_optimism(scores, noise=noise, num_resamples=200) for scores, _ in searches]
    )

    actual = np.mean([optimism for _, optimism in searches])
    assert actual > 0.9 * NOISE
    assert estimated == pytest.approx(actual, rel=0.15)


def test_measured_noise_separates_real_differences_from_luck() -> None:
    searches = simulate(200, 18, spread=2 * NOISE)

    known, unknown = (
        np.mean([expected_optimism(s, noise=noise, num_resamples=200) for s, _ in searches])
        for noise in (NOISE, None)
    )

    actual = np.mean([optimism for _, optimism in searches])
    assert known == pytest.approx(actual, rel=0.2)
    assert unknown > 2 * actual  # an upper estimate


def test_nothing_is_selected_among_fewer_than_two_trials() -> None:
    assert expected_optimism([]) == 0.0
    assert expected_optimism([0.5], noise=0.1) == 0.0


def test_equal_scores_without_noise_have_no_optimism() -> None:
    assert expected_optimism([0.5, 0.5, 0.5]) == 0.0
