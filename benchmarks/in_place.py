"""What in-place distillation adds to the sandwich rule, on the images of shapes-96 at 64x64.

    python -m benchmarks.in_place [--folder DIR]

Trains a small pool in one phase that trains the largest, the smallest and one random subnet in
every step, with and without the largest one as their teacher, from the same weights and with the
same images. Prints AP of four subnets on test images, after BN reset. One training takes about a
minute on a core; each result is a file in the folder, and repeating the command resumes.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.gain_bench import Workbench, say, store
from elastic_pool.evaluation import evaluate_subnet, evaluated_subnets
from elastic_pool.training import PoolTraining
from searchd.domain.resolution import Resolution
from searchd.spec import HeadSpec, PoolSpec, ShrinkPhaseSpec, SpaceSpec, TrainingSpec

DATA, SEEDS = "shapes-96", (0, 1)
RESOLUTION = Resolution(64, 64)
EPOCHS, RATE, SUBNETS = 12, 0.05, 4


def pool(seed: int, *, in_place: bool) -> PoolSpec:
    """Return the pool of one training."""
    depths, widths, resolutions = (1, 2), (1.0, 1.5), (RESOLUTION,)
    phase = ShrinkPhaseSpec(
        name="sandwich",
        min_depths=(1, 1, 1, 1),
        min_width=1.0,
        learning_rate=RATE,
        epochs=EPOCHS,
        distil=in_place,
        sandwich=1,
        in_place=in_place,
    )
    return PoolSpec(
        name="in-place",
        dataset=DATA,
        space=SpaceSpec(
            depths=(depths,) * 4,
            widths=(widths,) * 4,
            neck_channels=(16, 24),
            resolutions=resolutions,
            base_channels=8,
            channel_divisor=4,
        ),
        head=HeadSpec(head_channels=128, anchor_scale=4, num_proposals=100, sampled_rois=64),
        phases=(phase,),
        training=TrainingSpec(
            batch_size=8,
            schedule="cosine",
            max_grad_norm=5,
            resolutions=resolutions,
            warmup_iterations=60,
        ),
        bn_reset_images=64,
        seed=seed,
    )


def run(bench: Workbench, seed: int, *, in_place: bool) -> dict[str, Any]:
    """Train a pool; return AP of its evaluated subnets, the largest and the smallest first."""
    started = time.monotonic()
    spec = pool(seed, in_place=in_place)
    training = PoolTraining(spec, bench.train)
    for _ in training.run():
        pass
    seconds = time.monotonic() - started
    subnets = evaluated_subnets(training.supernet.space, SUBNETS, seed=0)
    test = bench.splits["test"]
    found = [
        evaluate_subnet(training.supernet, each, spec, train=bench.train, validation=test)
        for each in subnets
    ]
    aps = {str(each.subnet): round(each.evaluations[0].ap, 4) for each in found}
    return {"aps": aps, "seconds": round(seconds)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--folder", type=Path, default=Path("gain"), help="folder of `benchmarks.gain`")
    folder = parser.parse_args().folder
    torch.set_num_threads(1)
    bench = Workbench(DATA, folder)
    (folder / "in-place").mkdir(exist_ok=True)
    for seed in SEEDS:
        for in_place in (False, True):
            path = folder / "in-place" / f"{in_place}, seed {seed}.json"
            if not path.exists():
                store(path, run(bench, seed, in_place=in_place))
            found = json.loads(path.read_text())
            say(f"seed {seed}, {'in place' if in_place else 'no teacher'}: {found}")


if __name__ == "__main__":
    main()
