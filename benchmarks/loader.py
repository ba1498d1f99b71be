"""How fast training images are read: against mmdet's pipeline, and behind a training step.

    python -m benchmarks.loader [--readers 1] [--rounds 5]

Both sides read the same JPEG files, resize, flip and pad them, hand batches over from as many
processes, and normalise them in the training process. The peer uses mmdet's transforms, its collate
function and its data preprocessor in a `DataLoader`. Rounds alternate, since the speed of the
machine drifts. The last part slows every image down, as a far file system does, and compares steps
that read by themselves with steps whose reader is ahead of them.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from mmcv.transforms import Compose
from mmdet.models import DetDataPreprocessor
from mmdet.utils import register_all_modules
from mmengine.dataset import pseudo_collate
from torch.utils.data import DataLoader, Dataset

from detection.build import PIXEL_MEAN, PIXEL_STD, SIZE_DIVISOR
from detection.data.batches import TrainingBatches
from detection.data.coco import CocoSplit
from detection.data.reading_ahead import read_ahead
from searchd.domain.resolution import Resolution
from searchd.spec import SplitSpec

NUM_IMAGES, BATCH_SIZE = 32, 4
PHOTO, SIZE = (1280, 960), Resolution(1080, 720)
STEP_S = 0.6
"""Seconds of a step on another device."""
FAR_S = 0.05
"""Seconds that the far file system adds to an image."""


class FarSplit(CocoSplit):
    """A split whose images arrive late, and are never kept."""

    def image(self, index: int) -> Any:
        time.sleep(FAR_S)
        return super().image(index)


class MmdetImages(Dataset[Any]):
    """The images of a split through mmdet's pipeline."""

    def __init__(self, split: CocoSplit, size: Resolution) -> None:
        register_all_modules()
        self._split = split
        self._pipeline = Compose(
            [
                {"type": "LoadImageFromFile"},
                {"type": "mmdet.LoadAnnotations", "with_bbox": True},
                {"type": "mmdet.Resize", "scale": (size.width, size.height), "keep_ratio": True},
                {"type": "mmdet.RandomFlip", "prob": 0.5},
                {"type": "mmdet.PackDetInputs"},
            ]
        )

    def __len__(self) -> int:
        return len(self._split)

    def __getitem__(self, index: int) -> Any:
        record = self._split.records[index]
        instances = [
            {"bbox": box.tolist(), "bbox_label": int(label), "ignore_flag": 0}
            for box, label in zip(record.boxes, record.labels, strict=True)
        ]
        path, identity = str(record.path), record.image_id
        return self._pipeline({"img_path": path, "img_id": identity, "instances": instances})


def photos(folder: Path) -> SplitSpec:
    """Write JPEG files with the detail of photos, and their annotations."""
    rng = np.random.default_rng(0)
    images, annotations = [], []
    for number in range(1, NUM_IMAGES + 1):
        noise = rng.integers(0, 256, (PHOTO[1] // 8, PHOTO[0] // 8, 3), dtype=np.uint8)
        fine = rng.integers(-12, 12, (PHOTO[1], PHOTO[0], 3))
        pixels = np.clip(cv2.resize(noise, PHOTO, interpolation=cv2.INTER_CUBIC) + fine, 0, 255)
        cv2.imwrite(str(folder / f"{number}.jpg"), pixels.astype(np.uint8))
        size = {"width": PHOTO[0], "height": PHOTO[1]}
        images.append({"id": number, "file_name": f"{number}.jpg", **size})
        corners = (rng.random((8, 2)) * 800).tolist()
        annotations += [
            {"id": 8 * number + i, "image_id": number, "category_id": 1 + i % 4, "iscrowd": 0}
            | {"bbox": [x, y, 120, 90], "area": 10800}
            for i, (x, y) in enumerate(corners)
        ]
    names = [{"id": i + 1, "name": f"class {i}"} for i in range(4)]
    file = folder / "photos.json"
    file.write_text(json.dumps({"images": images, "annotations": annotations, "categories": names}))
    return SplitSpec(images=folder, annotations=file)


def ours(split: CocoSplit, num_readers: int) -> Callable[[], object]:
    """Return a function that reads an epoch by this project's loader."""
    batches = TrainingBatches(split, batch_size=BATCH_SIZE, resolutions=[SIZE])
    steps = range(batches.num_iterations)
    return lambda: [None for _ in read_ahead(batches, steps, num_readers=num_readers)]


def mmdets(split: CocoSplit, num_readers: int) -> Callable[[], object]:
    """Return a function that reads an epoch by mmdet's pipeline."""
    loader = DataLoader(
        MmdetImages(split, SIZE),
        batch_size=BATCH_SIZE,
        shuffle=True,
        num_workers=num_readers,
        collate_fn=pseudo_collate,
    )
    preprocessor = DetDataPreprocessor(
        mean=PIXEL_MEAN, std=PIXEL_STD, bgr_to_rgb=True, pad_size_divisor=SIZE_DIVISOR
    )
    return lambda: [None for batch in loader if preprocessor(batch, training=True) is None]


def images_per_second(sides: Sequence[Callable[[], object]], rounds: int) -> list[dict[str, float]]:
    """Return the speed of each side; rounds alternate, after one that is not timed."""
    times = [[_seconds(side) for side in sides] for _ in range(rounds + 1)][1:]
    return [
        {"median": NUM_IMAGES / statistics.median(own), "best": NUM_IMAGES / min(own)}
        for own in zip(*times, strict=True)
    ]


def _seconds(side: Callable[[], object]) -> float:
    started = time.perf_counter()
    side()
    return time.perf_counter() - started


def step_s(split: CocoSplit, num_readers: int) -> float:
    """Return the median seconds of a step that computes for `STEP_S` elsewhere, as on a GPU, with
    the reading that it waits for."""
    batches = TrainingBatches(split, batch_size=BATCH_SIZE, resolutions=[SIZE])
    times, started = [], time.perf_counter()
    for _ in read_ahead(batches, range(16), num_readers=num_readers):
        time.sleep(STEP_S)
        times.append(time.perf_counter() - started)
        started = time.perf_counter()
    return statistics.median(times[4:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--readers", type=int, default=1, help="number of reading processes")
    parser.add_argument(
        "--rounds",
        type=int,
        default=5,
        help="number of timed rounds, whose median is shown; default: 5",
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        spec = photos(Path(folder))
        plain, kept = CocoSplit(spec, max_cached_bytes=0), CocoSplit(spec)
        readers = options.readers
        sides = [ours(plain, readers), mmdets(plain, readers), ours(kept, readers)]
        names = ("ours", "mmdet", "ours_from_memory")
        speeds = images_per_second(sides, options.rounds)
        far = FarSplit(spec, max_cached_bytes=0)
        found = {
            "images_per_s": dict(zip(names, speeds, strict=True)),
            "ours_over_mmdet": speeds[0]["median"] / speeds[1]["median"],
            "step_s": {
                "computing_alone": STEP_S,
                "far_images": step_s(far, 0),
                "far_images_read_ahead": step_s(far, 1),
            },
        }
    json.dump(found, sys.stdout, indent=2)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
