"""A training step of searchd against one of mmdet, on the same detector and images.

    python -m benchmarks.training_step [--rounds 7]

Both sides read the same images from memory, resize, flip, normalise and pad them, compute the same
losses and take one SGD step; the peer uses mmdet's transforms, its data preprocessor and
`FasterRCNN.loss`. Rounds alternate, since the speed of the machine drifts, and the ratios of the
rounds are reported. A second ratio compares a distilled step with a plain one.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from mmcv.transforms import Compose
from mmdet.utils import register_all_modules

from detection.build import build_detector
from detection.data.coco import CocoSplit
from detection.data.shapes import make_shapes
from detection.distillation.distiller import Distiller, pair_of
from detection.training import Training
from searchd.domain.architecture import preset
from searchd.domain.detector import Detector
from searchd.domain.resolution import Resolution
from searchd.spec import MethodsSpec, TrainingSpec

BATCH_SIZE = 8
STEPS = 10
"""The number of training steps per round."""
SIZE = Resolution(96, 96)


def student(base_channels: int) -> Detector:
    return Detector(
        architecture=preset("resnet18", base_channels=base_channels),
        num_classes=4,
        neck_channels=32,
        head_channels=128,
        anchor_scale=4.0,
        num_proposals=100,
    )


def ours(split: CocoSplit, *, distilled: bool) -> Callable[[], object]:
    """Return a function that takes one step of `detection.training`."""
    model = build_detector(student(16))
    spec = TrainingSpec(epochs=10_000, batch_size=BATCH_SIZE, resolutions=(SIZE,))
    distiller = None
    if distilled:
        teacher = build_detector(student(32))
        pair = pair_of(model, teacher, split)
        distiller = Distiller(MethodsSpec().methods, teacher, pair)
    steps = Training(model, split, spec, seed=0, distiller=distiller).run()
    return lambda: next(steps)


def mmdets(split: CocoSplit) -> Callable[[], object]:
    """Return a function that takes one step like the runner of mmdet."""
    register_all_modules()
    model = build_detector(student(16)).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4)
    pipeline = Compose(
        [
            {"type": "mmdet.LoadImageFromNDArray"},
            {"type": "mmdet.LoadAnnotations", "with_bbox": True},
            {"type": "mmdet.Resize", "scale": (SIZE.width, SIZE.height), "keep_ratio": True},
            {"type": "mmdet.RandomFlip", "prob": 0.5},
            {"type": "mmdet.PackDetInputs"},
        ]
    )
    position = 0

    def step() -> None:
        nonlocal position
        samples = [_mmdet_sample(split, (position + i) % len(split)) for i in range(BATCH_SIZE)]
        position += BATCH_SIZE
        packed = [pipeline(sample) for sample in samples]
        data = model.data_preprocessor(
            {
                "inputs": [p["inputs"] for p in packed],
                "data_samples": [p["data_samples"] for p in packed],
            },
            training=True,
        )
        losses = model.loss(data["inputs"], data["data_samples"])
        total, _ = model.parse_losses(losses)
        optimizer.zero_grad()
        total.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 35.0)
        optimizer.step()

    return step


def _mmdet_sample(split: CocoSplit, index: int) -> dict[str, Any]:
    record = split.records[index]
    return {
        "img": split.image(index)[:, :, ::-1].copy(),
        "img_id": record.image_id,
        "instances": [
            {"bbox": box.tolist(), "bbox_label": int(label), "ignore_flag": 0}
            for box, label in zip(record.boxes, record.labels, strict=True)
        ],
    }


def ratios(numerator: Callable[[], object], peer: Callable[[], object], rounds: int) -> list[float]:
    """Return the ratio of the two times in each round, after a warm-up."""
    _time(numerator)
    _time(peer)
    return [_time(numerator) / _time(peer) for _ in range(rounds)]


def _time(step: Callable[[], object]) -> float:
    started = time.perf_counter()
    for _ in range(STEPS):
        step()
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7, help="number of timed rounds per detector")
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        split = CocoSplit(make_shapes(Path(folder), num_train=64, num_validation=4).train)
        found = {
            "step_over_mmdets": ratios(ours(split, distilled=False), mmdets(split), rounds),
            "distilled_over_plain_step": ratios(
                ours(split, distilled=True), ours(split, distilled=False), rounds
            ),
        }
    summary = {
        name: {"min": min(values), "median": statistics.median(values), "max": max(values)}
        for name, values in found.items()
    }
    json.dump(summary, sys.stdout, indent=2)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
