"""Compares a search by latency with one by MACs: same data, budget, seed and pool.

    python -m benchmarks.latency_search --folder FOLDER [--url http://127.0.0.1:8080]

It needs a service on this machine (`searchd up`), whose device it registers. Every step has a name
or a key, so that a repeated command goes on where an earlier one ended. Both fronts are measured at
the end through the exported graph, in turns, and stored in FOLDER/result.json.
"""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch

from api import schemas
from api.client import Client
from detection.build import load_student
from detection.data.shapes import make_shapes
from detection.deployment.device_table import noise
from detection.deployment.runtime import Runtime, create
from detection.deployment.timing import measure_quietly
from detection.stored_weights import read_student
from searchd.domain.lifecycle import PoolStatus
from searchd.domain.resolution import Resolution
from searchd.domain.trial import Artifact
from searchd.messages.files import STUDENT
from searchd.search.rank_correlation import kendalls_tau
from searchd.spec import DeviceSpec, PoolSpec, SearchSpec

IMAGE_SIZE = 64
NUM_ROUNDS = 3
"""How often every detector is measured, in turns, so that a drift of the machine hits all alike."""
HEAD = {
    "head_channels": 64,
    "anchor_scale": 4,
    "finest_roi_scale": 16,
    "num_proposals": 100,
    "sampled_rois": 64,
}
TRAINING = {"batch_size": 8, "resolutions": ["64x64"], "warmup_iterations": 0}
DEVICE: dict[str, Any] = {
    "name": "latency-search",
    "table": {
        "families": ["faster_rcnn"],
        "backbones": ["resnet18"],
        "base_channels": [8, 16],
        "num_classes": [2, 4, 8],
        "resolutions": ["64x64"],
    },
}
POOL = {
    "name": "latency-search",
    "dataset": "latency-search",
    "space": {
        "depths": [[1, 2], [1, 2], [1], [1]],
        "widths": [[1.0, 1.5]] * 4,
        "neck_channels": [32],
        "resolutions": ["64x64"],
        "base_channels": 16,
    },
    "head": HEAD,
    "phases": [
        {
            "name": "supernet",
            "min_depths": [1, 1, 1, 1],
            "min_width": 1.0,
            "learning_rate": 0.02,
            "epochs": 24,
            "distil": False,
        }
    ],
    "training": TRAINING,
    "bn_reset_images": 32,
    "evaluated_subnets": 1,
}
SEARCH = {
    "dataset": "latency-search",
    "pool": "latency-search",
    "base": {"base_channels": 16, "training": {**TRAINING, "epochs": 40, "learning_rate": 0.02}},
    "head": {**HEAD, "neck_channels": 32},
    "trial": {**TRAINING, "epochs": 3, "learning_rate": 0.01},
    "strategy": {
        "student_frozen_trials": 0,
        "student_probability": 1.0,
        "prune_fraction": 0.2,
        "min_channels": 4,
    },
    "budget": {"max_trials": 10, "finish": None},
    "control": False,
    "resources": {"trials_in_flight": 1},
}
SCORES: dict[str, dict[str, Any]] = {
    "macs": {"base_resolution": "64x64"},
    "latency": {"base_resolution": "64x64", "cost": "latency", "device": "latency-search"},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="folder of data and result")
    parser.add_argument("--url", default="http://127.0.0.1:8080", help="URL of the service")
    arguments = parser.parse_args()
    with Client(arguments.url) as client:
        _prepare(client, arguments.folder)
        fronts = {cost: _searched(client, cost) for cost in SCORES}
        result = compare(client, fronts)
    text = json.dumps(result, indent=2)
    (arguments.folder / "result.json").write_text(text)
    sys.stdout.write(f"{text}\n")


def compare(client: Client, fronts: dict[str, Sequence[schemas.Point]]) -> dict[str, Any]:
    """Measure both fronts and return what they have, by the cost that the search counted."""
    points = [point for front in fronts.values() for point in front]
    seconds = dict(zip((each.trial_id for each in points), _measured(client, points), strict=True))
    shown: dict[str, list[dict[str, Any]]] = {
        cost: [
            {
                "trial": point.trial,
                "ap": point.evaluation.ap,
                "macs": point.evaluation.macs,
                "ms": 1000 * seconds[point.trial_id],
                "predicted_ms": 1000 * point.evaluation.cost if point.evaluation.cost else None,
            }
            for point in front
        ]
        for cost, front in fronts.items()
    }
    every = [each for front in shown.values() for each in front]
    slowest = max(each["ms"] for each in every)
    return {
        "fronts": shown,
        "area_below_front": {cost: area(front, slowest) for cost, front in shown.items()},
        "tau_of_macs_and_ms": kendalls_tau(
            [each["macs"] for each in every], [each["ms"] for each in every]
        ),
        "device": client.get_device(DEVICE["name"]).model_dump(mode="json", exclude={"spec"}),
    }


def area(front: Sequence[dict[str, Any]], slowest: float) -> float:
    """Return the area below the steps of a front of AP against ms, as a share of the plane up to
    `slowest` ms. More is better."""
    ordered = sorted(front, key=lambda each: each["ms"])
    ends = [*(each["ms"] for each in ordered[1:]), slowest]
    best, total = 0.0, 0.0
    for each, end in zip(ordered, ends, strict=True):
        best = max(best, each["ap"])
        total += best * (end - each["ms"])
    return total / slowest


def _prepare(client: Client, folder: Path) -> None:
    """Register data, pool and device, and wait for them."""
    shapes = make_shapes(folder / "data", num_train=240, num_validation=128, image_size=IMAGE_SIZE)
    name = "latency-search"
    client.create_dataset(shapes.model_copy(update={"name": name}), key=f"{name} data")
    client.wait_for_dataset(name)
    client.create_device(DeviceSpec.model_validate(DEVICE), key=f"{name} device")
    client.wait_for_device(name)  # alone on the machine
    client.create_pool(PoolSpec.model_validate(POOL), key=f"{name} pool")
    ready = client.wait_for_pool(name)
    if ready.status is not PoolStatus.READY:
        raise SystemExit(f"pool {name} is {ready.status}: {ready.status_reason}")


def _searched(client: Client, cost: str) -> Sequence[schemas.Point]:
    """Run the search that counts a cost, and return its front."""
    name = f"latency-search-{cost}"
    spec = SearchSpec.model_validate({**SEARCH, "name": name, "score": SCORES[cost]})
    ended = client.wait_for_search(client.submit_search(spec, key=name).id)
    if ended.best_trial_id is None:
        raise SystemExit(f"search {name} is {ended.status}: {ended.status_reason}")
    return client.pareto(name).front


def _measured(client: Client, points: Sequence[schemas.Point]) -> list[float]:
    """Return the seconds of each detector: the median of several rounds over all of them."""
    spec = DeviceSpec.model_validate(DEVICE)
    torch.set_num_threads(spec.threads)
    runtime = create(spec.runtime, spec.threads, gpu=spec.gpu)
    runs = [_exported(client, point, spec, runtime) for point in points]
    rounds = [
        [measure_quietly(run, num_timed=spec.runs).median_s for run in runs]
        for _ in range(NUM_ROUNDS)
    ]
    return [median(times) for times in zip(*rounds, strict=True)]


def _exported(
    client: Client, point: schemas.Point, spec: DeviceSpec, runtime: Runtime
) -> Callable[[], Any]:
    """Return a function that runs the exported detector of a point once."""
    found = client.get_detector(point.trial_id)
    (file,) = (each for each in found.artifacts if each.name == STUDENT)
    student = Artifact(name=file.name, uri=file.uri, sha256=file.sha256, size_bytes=file.size_bytes)
    model = load_student(read_student(found.detector, student)).eval().requires_grad_(False)
    resolution = Resolution.parse(str(point.evaluation.resolution))
    return partial(runtime.detector(model), noise(resolution, spec.batch))


if __name__ == "__main__":
    main()
