"""How good the best detector is after so many trials, on the landscape of `landscape.py`.

    python -m benchmarks.scale.quality [--seeds 20] [--trials 200]

Strategies of the service edit the student of an earlier trial; Optuna's samplers draw six numbers
anew in every trial (four depths, a width, a teacher). All see the same noisy scores; the table has
scores without noise. Prints JSON.
"""

import argparse
import json
import random
import statistics
import sys
from collections.abc import Callable, Sequence
from typing import Any

import optuna

from benchmarks.scale import landscape
from benchmarks.scale.landscape import MAX_DEPTH, MIN_WIDTH, NOISE, SPACE
from searchd.domain.trial import Proposal
from searchd.search.ask_tell import AskTell
from searchd.search.strategies.base import Strategy
from searchd.search.strategies.joint_detnas import JointDetNas, JointDetNasSettings
from searchd.search.strategies.pair_steps import PairSettings
from searchd.search.strategies.random_search import RandomSearch

ACTIONS: Any = ("prune_channels", "prune_layer", "add_layer")
"""The landscape knows no place of a block, so nothing is rearranged."""
BASE_SCORE = landscape.score_of(landscape.BASE, 0.0)
TARGETS = (1.25, 1.5, 1.75)
"""Scores over that of the base, which trials are counted to reach."""


def joint_detnas(seed: int, num_trials: int, inherits: bool) -> list[float]:
    """Return the true scores of the trials of hill climbing."""
    settings = JointDetNasSettings(actions=ACTIONS, prune_fraction=0.05, min_channels=4)
    strategy = JointDetNas(space=SPACE, seed=seed, settings=settings, patience=10**9, **_rest())
    return _searched(strategy, seed, num_trials, inherits)


def random_edits(seed: int, num_trials: int, inherits: bool) -> list[float]:
    """Return the true scores of the trials of the random search."""
    settings = PairSettings(actions=ACTIONS, prune_fraction=0.05, min_channels=4)
    return _searched(
        RandomSearch(space=SPACE, seed=seed, settings=settings, **_rest()),
        seed,
        num_trials,
        inherits,
    )


def tpe(seed: int, num_trials: int, inherits: bool) -> list[float]:
    """Return the true scores of the trials of Optuna's TPE."""
    return _sampled(optuna.samplers.TPESampler(seed=seed), seed, num_trials, inherits)


def nsga2(seed: int, num_trials: int, inherits: bool) -> list[float]:
    """Return the true scores of the trials of Optuna's NSGA-II."""
    return _sampled(optuna.samplers.NSGAIISampler(seed=seed), seed, num_trials, inherits)


def uniform(seed: int, num_trials: int, inherits: bool) -> list[float]:
    """Return the true scores of detectors that are drawn uniformly."""
    return _sampled(optuna.samplers.RandomSampler(seed=seed), seed, num_trials, inherits)


SEARCHES: dict[str, Callable[[int, int, bool], list[float]]] = {
    "joint_detnas": joint_detnas,
    "random (edits)": random_edits,
    "Optuna NSGA-II": nsga2,
    "Optuna TPE": tpe,
    "uniform": uniform,
}


def measure(num_seeds: int, num_trials: int, *, inherits: bool) -> dict[str, dict[str, Any]]:
    """Compare all searches.

    Args:
        num_seeds: Number of seeds of each search.
        num_trials: Number of trials of each search.
        inherits: Whether training adds up over a lineage; see `landscape`.

    Returns:
        For each search the median number of trials to each target (None: not reached by half of
        the seeds), and the quartiles of the best score over the base's.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    found = {}
    for name, search in SEARCHES.items():
        runs = [search(seed, num_trials, inherits) for seed in range(num_seeds)]
        relative = [[each / BASE_SCORE for each in run] for run in runs]
        reached = {
            str(to): _median_trial([_reached(run, to) for run in relative]) for to in TARGETS
        }
        found[name] = {"trials to": reached, "best": _spread([max(run) for run in relative])}
    return found


def _rest() -> dict[str, Any]:
    return {"max_trials": 10**9, "control": False}


def _searched(strategy: Strategy, seed: int, num_trials: int, inherits: bool) -> list[float]:
    ask_tell, trials = AskTell(strategy), landscape.Trials(seed, inherits=inherits)
    while len(trials.true_scores) < num_trials:
        proposal = ask_tell.ask()
        assert isinstance(proposal, Proposal)  # one trial at a time, and no end
        ask_tell.tell(trials.completed(proposal, len(ask_tell.history.completions)))
    return trials.true_scores


def _sampled(
    sampler: optuna.samplers.BaseSampler, seed: int, num_trials: int, inherits: bool
) -> list[float]:
    study = optuna.create_study(direction="maximize", sampler=sampler)
    rng, found = random.Random(seed), []
    for _ in range(num_trials):
        trial = study.ask()
        values: dict[str, float] = {
            f"depth{stage}": trial.suggest_int(f"depth{stage}", 1, MAX_DEPTH)
            for stage in range(1, 5)
        }
        values["width"] = trial.suggest_float("width", MIN_WIDTH, 1.0)
        teacher = trial.suggest_float("teacher", 0.0, 1.0)
        student = landscape.drawn(values, inherits=inherits)
        found.append(landscape.score_of(student, teacher))
        study.tell(trial, landscape.score_of(student, teacher, rng.gauss(0.0, NOISE)))
    return found


def _reached(run: Sequence[float], target: float) -> int | None:
    return next((number for number, each in enumerate(run, start=1) if each >= target), None)


def _median_trial(trials: Sequence[int | None]) -> float | None:
    reached = sorted(each for each in trials if each is not None)
    middle = len(trials) // 2
    return None if len(reached) <= middle else reached[middle]


def _spread(values: Sequence[float]) -> list[float]:
    low, middle, high = statistics.quantiles(values, n=4)
    return [round(each, 4) for each in (low, middle, high)]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale.quality", description=__doc__)
    parser.add_argument("--seeds", type=int, default=20, help="number of seeds of each search")
    parser.add_argument("--trials", type=int, default=200, help="number of trials of each search")
    options = parser.parse_args()
    found = {
        name: measure(options.seeds, options.trials, inherits=inherits)
        for name, inherits in (("training adds up", True), ("all are trained alike", False))
    }
    json.dump(found, sys.stdout, indent=2)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
