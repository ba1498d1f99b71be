"""How well the score of a short training ranks architectures: Kendall's tau, and its lines of the
table of gains. Imports no detector."""

from collections.abc import Iterator, Mapping, Sequence
from math import isnan
from typing import Any

import numpy as np
from scipy.stats import kendalltau

DATA = "shapes-96"
SHORT_EPOCHS, FINISHING_EPOCHS = 3, 24
"""Epochs of a search's trial, and of the training that follows it."""
NUM_ARCHITECTURES = 20
"""Smallest number of architectures that tau is given for."""


def tau(short: Sequence[float], finished: Sequence[float]) -> float | None:
    """Return Kendall's tau-b of two scores of the same architectures, in [-1, 1]: 1 if both rank
    them alike. None if it is not defined, as where all scores are equal."""
    found = float(kendalltau(short, finished).statistic)
    return None if isnan(found) else found


def shipped(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Return what a forecast tells of the rows (`searchd.search.short_trials.Benchmark`); None if
    tau is not defined. The interval is of 1,000 resamples of the architectures."""
    scores = np.array([(row["short"], row["finished"]) for row in rows]).reshape(-1, 2)
    found = tau(*scores.T)
    if found is None:
        return None
    rng = np.random.default_rng(0)
    drawn = rng.integers(len(scores), size=(1000, len(scores)))
    taus = [each for each in (tau(*scores[places].T) for places in drawn) if each is not None]
    low, high = np.percentile(taus, (2.5, 97.5))
    return {
        "tau": round(found, 4),
        "low": round(float(low), 4),
        "high": round(float(high), 4),
        "architectures": len(rows),
        "data": DATA,
        "short_epochs": SHORT_EPOCHS,
        "more_epochs": FINISHING_EPOCHS,
    }


def fidelity_lines(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield the section of the page; see `benchmarks.fidelity` for the rows."""
    if not rows:
        yield "Not run."
        return
    yield (
        f"Architectures drawn by the search's own edits from a trained base on {DATA}, each "
        f"trained for {SHORT_EPOCHS} epochs as a trial, scored on validation images, and then for "
        f"{FINISHING_EPOCHS} more. Kendall's tau of the scores tells how often the short training "
        "ranks two architectures as the finished one does. A forecast of a search states it."
    )
    yield ""
    yield _summary(rows)
    if (found := shipped(rows)) is not None:
        yield (
            f"Its 95 % interval, over the choice of architectures, is {found['low']:.2f} .. "
            f"{found['high']:.2f}."
        )
    yield ""
    yield "| | edits | MACs of the base | score after the trial | finished | AP finished, test |"
    yield "|---|---|---|---|---|---|"
    for row in rows:
        yield (
            f"| {row['number']} | {row['edits']} | {row['macs']:.0%} | {100 * row['short']:.1f} | "
            f"{100 * row['finished']:.1f} | {100 * row['test']:.1f} |"
        )


def _summary(rows: Sequence[Mapping[str, Any]]) -> str:
    found = shipped(rows)
    shown = "not defined" if found is None else f"{found['tau']:.2f}"
    few = "" if len(rows) >= NUM_ARCHITECTURES else f" ({NUM_ARCHITECTURES} are registered)"
    return f"Kendall's tau: **{shown}** over {len(rows)} architectures{few}."
