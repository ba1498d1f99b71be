"""Trials on real Ray actors: what the service adds to Ray Tune, and how busy the actors are.

    python -m benchmarks.scale.tuning [--trials 60] [--workers 16] [--median-s 20]

Empty trials, which return at once, go through database, driver and Tune, and in turns through Tune
alone with as many actors. Trials of log-normal length go through database, driver and Tune, and
through the same number of actors in generations, which wait for their slowest trial; the start of
the actors counts in neither. Starts a Ray
of its own on this machine. Prints JSON.
"""

import argparse
import json
import logging
import random
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

import ray
from ray import tune
from typing_extensions import override

from benchmarks.scale import stage
from benchmarks.scale.simulation import duration
from searchd.driver.tune import TrialScheduler, run_tuner
from searchd.messages.codecs import REPORT
from searchd.messages.tasks import TrialTask
from searchd.spec import ResourcesSpec

ACTORS = 2
"""Number of actors for empty trials."""


class Sleeping(tune.Trainable):
    """A trial that sleeps as long as its seed says, and reports a success."""

    @classmethod
    @override
    def default_resource_request(cls, config: dict[str, Any]) -> tune.PlacementGroupFactory:
        return tune.PlacementGroupFactory([{"CPU": config["cpus"]}])

    @override
    def setup(self, config: dict[str, Any]) -> None:
        self.reset_config(config)

    @override
    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._median_s = float(new_config["median_s"])
        self._task = TrialTask.model_validate_json(new_config["task"])
        return True

    @override
    def step(self) -> dict[str, Any]:
        if self._median_s:
            time.sleep(duration(random.Random(self._task.proposal.seed), self._median_s))
        report = REPORT.dump_json(stage.report_of(self._task)).decode()
        return {"final": True, "done": True, "report": report}


class Empty(tune.Trainable):
    """A trial of Tune alone that returns at once."""

    @override
    def setup(self, config: dict[str, Any]) -> None:
        """Do nothing."""

    @override
    def reset_config(self, new_config: dict[str, Any]) -> bool:
        return True

    @override
    def step(self) -> dict[str, Any]:
        return {"done": True, "score": 0.0}


class Timed(TrialScheduler):
    """Notes when each trial started, and how long it sleeps."""

    sleeps: list[tuple[float, float]]
    median_s: float = 0.0

    @override
    def started(self, tune_id: str) -> None:
        super().started(tune_id)
        proposal = self._in_flight[tune_id].task.proposal
        if proposal.parent is not None:  # not the base
            sleep_s = duration(random.Random(proposal.seed), self.median_s)
            self.sleeps.append((time.perf_counter(), sleep_s))


def busy_share(sleeps: Sequence[tuple[float, float]], workers: int) -> float:
    """Return the share of time that actors slept, from when all of them had a trial until the last
    trial started: neither the start of their processes nor the end of the search counts.

    Args:
        sleeps: When each trial started, ascending, and how long it slept, in seconds.
        workers: Number of actors, fewer than trials.
    """
    begin, end = sleeps[workers - 1][0], sleeps[-1][0]
    within = (max(0.0, min(at + slept, end) - max(at, begin)) for at, slept in sleeps)
    return sum(within) / (workers * (end - begin))


def through_everything(num_trials: int, workers: int, median_s: float) -> Timed:
    """Run a search whose trials sleep, on so many actors."""
    with tempfile.TemporaryDirectory() as name, stage.opened("sqlite", Path(name)) as database:
        resources = ResourcesSpec(trials_in_flight=workers)
        spec = stage.spec(num_trials, resources=resources)
        ledger = stage.ledger_of(database, Path(name), spec)
        scheduler = Timed(ledger, again=(), is_stopping=lambda: False, may_search=lambda: True)
        scheduler.sleeps, scheduler.median_s = [], median_s
        run_tuner(
            scheduler,
            Sleeping,
            name="scale",
            resources=resources,
            worker_config={"median_s": median_s},
            storage=Path(name) / "tune",
        )
        return scheduler


def through_tune(num_trials: int, workers: int) -> float:
    """Return the seconds of empty trials of Ray Tune alone."""
    with tempfile.TemporaryDirectory() as name:
        tuner = tune.Tuner(
            Empty,
            tune_config=tune.TuneConfig(
                num_samples=num_trials, max_concurrent_trials=workers, reuse_actors=True
            ),
            run_config=tune.RunConfig(
                name="raw",
                storage_path=name,
                verbose=0,
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            ),
        )
        started = time.perf_counter()
        tuner.fit()
        return time.perf_counter() - started


def overhead(num_trials: int) -> dict[str, float]:
    """Compare empty trials through everything with those through Tune alone."""
    through_tune(ACTORS, ACTORS)  # warm
    started = time.perf_counter()
    through_everything(num_trials, ACTORS, 0.0)
    ours_s = time.perf_counter() - started
    raw_s = through_tune(num_trials + 1, ACTORS)
    return {
        "trials": num_trials,
        "ours_per_s": round(num_trials / ours_s, 2),
        "tune_per_s": round(num_trials / raw_s, 2),
        "ours_over_tune": round(raw_s / ours_s, 3),
    }


def utilisation(workers: int, trials_per_worker: int, median_s: float) -> dict[str, float]:
    """Compare the share of time that actors sleep with that in generations."""
    done = through_everything(workers * trials_per_worker, workers, median_s)
    return {
        "workers": workers,
        "trials": len(done.sleeps),
        "asynchronous": round(busy_share(done.sleeps, workers), 3),
        "in generations": round(_in_generations(workers, [each for _, each in done.sleeps]), 3),
    }


def _in_generations(workers: int, sleeps: Sequence[float]) -> float:
    """Let as many actors sleep as long, and all wait for the slowest of each generation."""
    remote: Any = ray.remote(num_cpus=1)(_Sleeper)
    actors = [remote.remote() for _ in range(workers)]
    ray.get([actor.sleep.remote(0.0) for actor in actors])
    started = time.perf_counter()
    for first in range(0, len(sleeps), workers):
        chosen = sleeps[first : first + workers]
        ray.get([actor.sleep.remote(s) for actor, s in zip(actors, chosen, strict=False)])
    share = sum(sleeps) / (workers * (time.perf_counter() - started))
    for actor in actors:
        ray.kill(actor)
    return share


class _Sleeper:
    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


@contextmanager
def cluster(cpus: int) -> Iterator[None]:
    """Start a Ray of its own with so many logical CPUs."""
    ray.init(num_cpus=cpus, address="local", include_dashboard=False, logging_level=logging.ERROR)
    try:
        yield
    finally:
        ray.shutdown()


def measure(num_trials: int, workers: int, trials_per_worker: int, median_s: float) -> Any:
    """Return `overhead` and `utilisation`."""
    with cluster(workers):
        return {
            "empty trials": overhead(num_trials),
            "utilisation": utilisation(workers, trials_per_worker, median_s),
        }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale.tuning", description=__doc__)
    add = parser.add_argument
    add("--trials", type=int, default=60, help="number of empty trials")
    add("--workers", type=int, default=16, help="number of actors that sleep")
    add("--trials-per-worker", type=int, default=4, help="number of sleeping trials of each actor")
    add("--median-s", type=float, default=20.0, help="median time of a sleeping trial in seconds")
    options = parser.parse_args()
    with redirect_stdout(sys.stderr):  # which Ray writes to
        found = measure(
            options.trials, options.workers, options.trials_per_worker, options.median_s
        )
    json.dump(found, sys.stdout, indent=2)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
