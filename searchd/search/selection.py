"""How much too good the best score of a search looks, because it was selected by it. Pure.

The best of many noisy scores is the score of a good detector and a lucky measurement. On other data
the luck is gone. The expected optimism is the mean of that luck.
"""

from collections.abc import Sequence

import numpy as np

NUM_RESAMPLES = 1000


def expected_optimism(
    scores: Sequence[float],
    *,
    noise: float | None = None,
    num_resamples: int = NUM_RESAMPLES,
    seed: int = 0,
) -> float:
    """Estimate how much the best score exceeds the true score of the trial that has it.

    A parametric bootstrap over the trials: each resample adds new noise to the estimated true score
    of every trial and selects the best again. The true scores are the scores shrunk towards their
    mean by the share of their variance that the noise explains.

    Args:
        scores: Scores of the trials among which the best was selected, base and controls left out.
        noise: Standard deviation of a score over repetitions. None: not measured; all differences
            between the scores are then taken for noise, so that the result is an upper estimate.
        num_resamples: Number of resamples.
        seed: Seed of the noise.

    Returns:
        The mean over the resamples of the best score minus its true score, in the unit of the
        scores. 0 for fewer than two scores.
    """
    if len(scores) < 2:
        return 0.0
    observed = np.asarray(scores, dtype=np.float64)
    variance = float(observed.var(ddof=1))
    sigma = variance**0.5 if noise is None else noise
    kept = max(0.0, 1 - sigma**2 / variance) if variance > 0 else 0.0
    true = observed.mean() + kept * (observed - observed.mean())
    drawn = true + sigma * np.random.default_rng(seed).standard_normal((num_resamples, len(scores)))
    selected = drawn.argmax(axis=1)
    return float((drawn.max(axis=1) - true[selected]).mean())
