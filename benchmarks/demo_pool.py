"""Trains the pool that the demo imports, and writes it with its log to examples/demo/pool.

    python -m benchmarks.demo_pool [--folder searchd-data/demo-pool] [--out examples/demo/pool]

The pool is that of examples/demo/shipped-pool.yaml. Its images are drawn by the generator of the
demo's, with a seed of their own, so no demo with another seed has an image of them. The training
runs in this process on one core, takes about 10 minutes, and resumes in the same folder after an
interruption.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from cli.service import read_spec
from detection.data.coco import CocoSplit
from detection.data.shapes import make_shapes
from detection.exported_pool import write_pool_export
from detection.stored_weights import read_weights
from searchd.domain.trial import Outcome
from searchd.messages.pool_export import SubnetResult
from searchd.messages.reports import PoolProgress, PoolReport
from searchd.messages.tasks import PoolTrainingTask
from searchd.spec import DatasetSpec, PoolSpec
from workers.pool.steps import train_pool_inline

EXAMPLE = Path(__file__).parents[1] / "examples" / "demo"
DATA_SEED = 1000
"""Seed of the images; a demo with this seed would be taught by teachers that know its images."""
NUM_TRAIN, NUM_VALIDATION = 2000, 256
DIFFICULTY = 0.1
"""That of the demo's images."""
LOG_EVERY_S = 30.0


class Log:
    """Prints the progress now and then, and never asks for a stop."""

    def __init__(self) -> None:
        self._next = 0.0

    def __call__(self, at: PoolProgress) -> bool:
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + LOG_EVERY_S
            left = "" if at.seconds_left is None else f", about {at.seconds_left:.0f} s left"
            say(
                f"{datetime.now(UTC):%H:%M:%S} {at.stage} {at.phase}: epoch {at.epoch} of "
                f"{at.num_epochs}, {at.iteration} of {at.num_iterations}{left}"
            )
        return True


def say(text: str) -> None:
    """Print a line at once, also into a file."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def draw(folder: Path) -> DatasetSpec:
    """Draw the images, or find them as an interrupted run drew them."""
    return make_shapes(
        folder,
        name="more-shapes",
        seed=DATA_SEED,
        num_train=NUM_TRAIN,
        num_validation=NUM_VALIDATION,
        difficulty=DIFFICULTY,
    )


def train(spec: PoolSpec, data: DatasetSpec, folder: Path) -> PoolReport:
    """Train the pool, from the checkpoint of an interrupted run if there is one."""
    task = PoolTrainingTask(
        pool="demo-pool", attempt=1, spec=spec, dataset=data, artifacts=str(folder / "training")
    )
    report = train_pool_inline(task, Log())
    if report.outcome is not Outcome.SUCCEEDED:
        sys.exit(f"{report.outcome}: {report.reason}")
    return report


def results(report: PoolReport) -> tuple[SubnetResult, ...]:
    """Return the evaluated subnets as an export has them."""
    return tuple(
        SubnetResult(
            subnet=evaluated.subnet,
            params=evaluated.params,
            resolution=evaluation.resolution,
            macs=evaluation.macs,
            ap=evaluation.ap,
        )
        for evaluated in report.subnets
        for evaluation in evaluated.evaluations
    )


def log_lines(report: PoolReport) -> Iterator[str]:
    """Yield what the log beside the pool says: data, epochs, time, and subnets."""
    yield f"{NUM_TRAIN} training images of shapes, seed {DATA_SEED}, difficulty {DIFFICULTY}"
    for epoch in report.epochs:
        losses = {name: round(value, 4) for name, value in epoch.metrics.losses.items()}
        yield (
            f"{epoch.phase} epoch {epoch.metrics.epoch}: {epoch.metrics.duration_s:.0f} s, "
            f"loss {losses['loss']}, {json.dumps(losses)}"
        )
    total = sum(epoch.metrics.duration_s for epoch in report.epochs)
    yield f"{total:.0f} s of training in all"
    for each in results(report):
        yield (
            f"{each.subnet} at {each.resolution}: AP {100 * each.ap:.1f} on {NUM_VALIDATION} "
            f"validation images, {each.macs / 1e6:.1f} MMACs, {each.params:,} parameters"
        )


def main() -> None:
    """Draw, train, export."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.demo_pool", description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("searchd-data/demo-pool"))
    parser.add_argument("--out", type=Path, default=EXAMPLE / "pool")
    options = parser.parse_args()
    folder = options.folder.absolute()
    spec = read_spec(EXAMPLE / "shipped-pool.yaml", PoolSpec)
    data = draw(folder / "shapes")
    report = train(spec, data, folder)
    assert report.supernet is not None  # it succeeded
    write_pool_export(
        options.out,
        read_weights(report.supernet),
        spec,
        class_names=CocoSplit(data.train).class_names,
        subnets=results(report),
        half=True,
        notes=(
            f"trained by `make demo-pool` on {NUM_TRAIN:,} images of shapes with seed {DATA_SEED}",
        ),
    )
    lines = list(log_lines(report))
    (options.out / "training.log").write_text("\n".join(lines) + "\n")
    say("\n".join(lines))


if __name__ == "__main__":
    main()
