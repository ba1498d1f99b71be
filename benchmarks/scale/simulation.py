"""How busy workers are, by a simulation of events: the real strategy, up to 1,024 workers.

    python -m benchmarks.scale.simulation [--trials-per-worker 20] [--driver-s 0.02]

Trials take log-normal times. One driver serves the workers in turn, and needs some seconds for each
trial. Asynchronous: a worker gets the next proposal when it is free, as in the service. In
generations: all workers wait for the slowest trial. Prints JSON.
"""

import argparse
import heapq
import itertools
import json
import random
import sys
from typing import Any

from benchmarks.scale import landscape
from searchd.domain.trial import Proposal
from searchd.search.ask_tell import AskTell
from searchd.search.strategies.joint_detnas import JointDetNas, JointDetNasSettings

WORKERS = (1, 4, 16, 64, 256, 1024)
MEDIANS_S, SIGMA = (600.0, 60.0), 0.5
"""Median times of a trial in seconds, and the standard deviation of its logarithm."""


def duration(rng: random.Random, median_s: float) -> float:
    """Draw the time of a trial."""
    return median_s * rng.lognormvariate(0.0, SIGMA)


def asynchronous(num_workers: int, num_trials: int, median_s: float, driver_s: float) -> float:
    """Return the share of time that workers are busy until the last trial is proposed."""
    ask_tell, trials, rng = _search(), landscape.Trials(0), random.Random(0)
    running: list[tuple[float, int, Proposal, float]] = []
    free_at, busy_s, driver_at = [0.0] * num_workers, 0.0, 0.0
    for number in range(num_trials):
        if not free_at:
            free_at.append(_end_one(running, ask_tell, trials))
        driver_at = max(driver_at, free_at.pop()) + driver_s
        proposal = ask_tell.ask()
        assert isinstance(proposal, Proposal)  # the base is there, and there is no end
        length = duration(rng, median_s)
        heapq.heappush(running, (driver_at + length, number, proposal, length))
        busy_s += length
    beyond = sum(max(0.0, min(length, at - driver_at)) for at, _, _, length in running)
    return (busy_s - beyond) / (num_workers * driver_at)


def in_generations(num_workers: int, num_trials: int, median_s: float, driver_s: float) -> float:
    """Return the same if every worker waits for the slowest trial of its generation."""
    rng, busy_s, at = random.Random(0), 0.0, 0.0
    for _ in range(max(1, num_trials // num_workers)):
        lengths = [duration(rng, median_s) for _ in range(num_workers)]
        busy_s += sum(lengths)
        at += max(lengths) + driver_s * num_workers
    return busy_s / (num_workers * at)


def measure(trials_per_worker: int, driver_s: float) -> list[dict[str, float]]:
    """Return both shares for each number of workers."""
    found = []
    for median_s, workers in itertools.product(MEDIANS_S, WORKERS):
        run = (workers, workers * trials_per_worker, median_s, driver_s)
        found.append(
            {
                "median_s": median_s,
                "workers": workers,
                "asynchronous": round(asynchronous(*run), 4),
                "in generations": round(in_generations(*run), 4),
            }
        )
    return found


def _search() -> AskTell:
    settings = JointDetNasSettings(actions=_ACTIONS, min_channels=4)
    ask_tell = AskTell(
        JointDetNas(
            space=landscape.SPACE,
            settings=settings,
            max_trials=10**9,
            patience=10**9,
            control=False,
        )
    )
    base = ask_tell.ask()
    assert isinstance(base, Proposal)
    ask_tell.tell(landscape.Trials(0).completed(base, 0))
    return ask_tell


_ACTIONS: Any = ("prune_channels", "prune_layer", "add_layer")


def _end_one(
    running: list[tuple[float, int, Proposal, float]], ask_tell: AskTell, trials: landscape.Trials
) -> float:
    """End the trial that is ready first; return when it ended."""
    at, _, proposal, _ = heapq.heappop(running)
    ask_tell.tell(trials.completed(proposal, len(ask_tell.history.completions)))
    return at


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.scale.simulation", description=__doc__
    )
    add = parser.add_argument
    add("--trials-per-worker", type=int, default=20, help="number of trials of each worker")
    add("--driver-s", type=float, default=0.02, help="seconds of the driver for each trial")
    options = parser.parse_args()
    json.dump(measure(options.trials_per_worker, options.driver_s), sys.stdout, indent=2)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
