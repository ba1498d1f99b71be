"""Progressive distillation against its baselines, over HTTP, with its driver killed halfway.

    python -m benchmarks.progressive [--seed 0] [--folder DIR]

Starts a service, draws `shapes`, submits the pool and the distillation of `examples/progressive`,
kills the process of the driver (SIGKILL) once half of the stages have ended, and prints the results
from the service: order and reasons, costs, the ranks of the study, and the APs at equal budgets.
The folder of an interrupted run resumes it. Exit code 1: the distillation did not succeed, or a
stage that had ended before the kill was trained again.
"""

import argparse
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from api.client import Client
from api.schemas.distillations import DistillationDetails
from cli.local_service import Service
from cli.service import read_spec
from detection.data.shapes import make_shapes
from searchd.domain.lifecycle import SearchStatus, TrialStatus
from searchd.spec import DistillationSpec, PoolSpec

EXAMPLE = Path(__file__).parents[1] / "examples" / "progressive"
KEY = "benchmark"
"""Idempotency key, by which a resumed benchmark finds what it had submitted."""
POLL_S = 2.0


def run(client: Client, folder: Path, seed: int) -> tuple[DistillationDetails, list[str]]:
    """Submit everything, kill the driver once, and wait for the end.

    Returns:
        The distillation, and the stages that had ended before the kill and were trained again.
    """
    data = make_shapes(folder.absolute() / "shapes", seed=seed, difficulty=0.1)
    client.create_dataset(data, key=KEY)
    client.wait_for_dataset(data.name)
    pool = read_spec(EXAMPLE / "pool.yaml", PoolSpec)
    client.create_pool(pool.model_copy(update={"seed": seed}), key=KEY)
    spec = read_spec(EXAMPLE / "distillation.yaml", DistillationSpec)
    found = client.submit_distillation(spec.model_copy(update={"seed": seed}), key=KEY)
    ended_before = _kill_in_the_middle(client, found.id, folder)
    found = client.wait_for_distillation(found.id, poll_s=POLL_S)
    trials = {trial.id: trial for trial in client.distillation_trials(found.id)}
    again = [name for name, attempt in ended_before.items() if trials[name].attempt != attempt]
    return found, again


def _kill_in_the_middle(client: Client, distillation: str, folder: Path) -> dict[str, int]:
    """Kill the driver once half of the stages have ended; return the attempts of those by trial."""
    marker = folder / "killed"
    while (found := client.get_distillation(distillation)).finished_at is None:
        done = found.trials.get(TrialStatus.SUCCEEDED, 0) - 1  # without the base
        if not marker.exists() and found.stages and done >= len(found.stages) // 2:
            ended = {
                trial.id: trial.attempt
                for trial in client.distillation_trials(distillation)
                if trial.status is TrialStatus.SUCCEEDED
            }
            for driver in _drivers(found.id):
                driver.kill()
            marker.touch()
            _say(f"killed the driver when {done} of {len(found.stages)} stages had ended")
            return ended
        time.sleep(POLL_S)
    return {}


def _drivers(distillation: str) -> Iterator[psutil.Process]:
    """The driver processes of the distillation."""
    for process in psutil.process_iter(["cmdline"]):
        line = process.info["cmdline"] or []
        if "searchd.driver" in line and any(distillation in word for word in line):
            yield process


def report(found: DistillationDetails) -> Iterator[str]:
    """Yield the results, line by line."""
    yield f"{found.name} is {found.status}: {found.status_reason}"
    took = (found.finished_at or found.created_at) - (found.started_at or found.created_at)
    yield f"{len(found.stages)} stages, {took.total_seconds():.0f} s, with the student's base"
    yield ""
    for teacher in found.teachers:
        yield f"{teacher.name:12} AP {_percent(teacher.ap)}  {teacher.source}"
    for source, targets in found.costs.items():
        yield f"C({source}, .): " + ", ".join(f"{to} {cost:.4g}" for to, cost in targets.items())
    for number, chosen in enumerate(found.order, start=1):
        yield f"teacher {number}: {chosen.teacher}, {chosen.reason}"
    compared = found.comparison
    if compared is None:
        return
    yield ""
    yield f"{'the given student':22} {_percent(compared.base)}"
    yield f"{'the order':22} {_percent(compared.order)}"
    for baseline, ap in compared.baselines.items():
        yield f"{baseline:22} {_percent(ap)}"
    yield ""
    for order in compared.orders:
        yield f"{order.rank:3}  {_percent(order.ap)}  {' > '.join(order.order)}"
    yield f"the order has rank {compared.rank} of {len(compared.orders)}"


def _percent(ap: float | None) -> str:
    return "-" if ap is None else f"{ap:.1%}"


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.progressive", description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="seed of data, pool and distillation")
    parser.add_argument("--folder", type=Path, help="data folder; default: a new one")
    options = parser.parse_args()
    folder = options.folder or Path("searchd-data") / f"progressive-{os.getpid()}"
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with Service(folder, api_port=0, environment={"SEARCHD_SLICE_S": "2"}) as service:
        with Client(service.url) as client:
            found, again = run(client, folder, options.seed)
        for line in report(found):
            _say(line)
    if again:
        _say(f"trained again although they had ended: {', '.join(again)}")
    sys.exit(1 if again or found.status is not SearchStatus.SUCCEEDED else 0)


if __name__ == "__main__":
    main()
