"""A training step of searchd against one of mmdet, on the same detector and images.

    python -m benchmarks.training_step [--setting small] [--device cpu] [--rounds 7] [--packed 1 2]

Both sides read the same images from memory, resize, flip, normalise and pad them, compute the same
losses and take one SGD step; the peer uses mmdet's transforms, its data preprocessor and
`FasterRCNN.loss`. Rounds of all variants alternate, since the speed of the machine drifts; each
variant's ratio is that of its rounds to the peer's of the same round.

`bound` is what a distilled step cannot do without: our plain step, and what distillation reads of
the teacher. Busy is the share of the time in which a GPU has work, or the process a CPU. Waits are
the operations of a step at which a GPU would idle, counted on any device
(`detection.measurement.host_waits`). `--packed` runs as many trainings beside each other on one
device. Prints JSON.
"""

import argparse
import json
import multiprocessing
import resource
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from mmcv.transforms import Compose
from mmdet.utils import register_all_modules
from torch.profiler import ProfilerActivity, profile

from detection.build import build_detector
from detection.data.coco import CocoSplit
from detection.data.shapes import make_shapes
from detection.distillation.distiller import Distiller, pair_of
from detection.distillation.taps import bbox_forward
from detection.measurement.host_waits import Wait, counted_waits
from detection.training import READ_EVERY, Training
from searchd.domain.architecture import preset
from searchd.domain.detector import Detector
from searchd.domain.resolution import Resolution
from searchd.spec import MethodsSpec, SplitSpec, TrainingSpec

Step = Callable[[], object]


@dataclass(frozen=True, kw_only=True)
class Setting:
    """The detectors and images of a comparison."""

    student: Detector
    teacher: Detector
    size: Resolution
    batch_size: int
    image_px: int
    """Side of the square images."""
    num_images: int
    steps: int
    """Steps of a round."""


def _small(base_channels: int) -> Detector:
    return Detector(
        architecture=preset("resnet18", base_channels=base_channels),
        num_classes=4,
        neck_channels=32,
        head_channels=128,
        anchor_scale=4.0,
        num_proposals=100,
    )


def _large(name: str) -> Detector:
    return Detector(architecture=preset(name, base_channels=64), num_classes=4)


SETTINGS = {
    "small": Setting(
        student=_small(16),
        teacher=_small(32),
        size=Resolution(96, 96),
        batch_size=8,
        image_px=96,
        num_images=64,
        steps=10,
    ),
    "r50": Setting(
        student=_large("resnet50"),
        teacher=_large("resnet101"),
        size=Resolution(1080, 720),
        batch_size=4,
        image_px=960,
        num_images=16,
        steps=10,
    ),
}


class Steps:
    """The variants of a training step, each as a function that takes the next one."""

    def __init__(self, setting: Setting, spec: SplitSpec, device: str) -> None:
        self._setting, self._device = setting, device
        self._split = CocoSplit(spec)

    def ours(self, *, distilled: bool = False, channels_last: bool = False, **options: Any) -> Step:
        """Return steps of `detection.training`; `options` are of its settings."""
        model = build_detector(self._setting.student)
        if channels_last:
            model = model.to(memory_format=torch.channels_last)
        spec = TrainingSpec(
            epochs=10_000,
            batch_size=self._setting.batch_size,
            resolutions=(self._setting.size,),
            **options,
        )
        distiller = None
        if distilled:
            teacher = build_detector(self._setting.teacher)
            pair = pair_of(model, teacher, self._split)
            distiller = Distiller(MethodsSpec().methods, teacher, pair)
        training = Training(
            model,
            self._split,
            spec,
            seed=0,
            distiller=distiller,
            device=self._device,
            read_every=READ_EVERY,  # as on a GPU, also where it is tried on a CPU
        )
        steps = training.run()
        return lambda: next(steps)

    def bound(self) -> Step:
        """Return our plain steps, each with what Joint-DetNAS's distillation reads of a teacher."""
        step = self.ours()
        teacher = build_detector(self._setting.teacher).to(self._device).eval()
        size, images = self._setting.size, self._setting.batch_size
        inputs = torch.rand(images, 3, 32 * -(-size.height // 32), 32 * -(-size.width // 32))
        inputs = inputs.to(self._device)
        student = self._setting.student
        regions = min(student.sampled_rois, student.num_proposals)
        rois = _rois(images, regions, size).to(self._device)

        def taken() -> None:
            step()
            with torch.no_grad():
                bbox_forward(teacher.roi_head, teacher.extract_feat(inputs), rois)

        return taken

    def mmdets(self) -> Step:
        """Return steps like those of mmdet's runner."""
        register_all_modules()
        model = build_detector(self._setting.student).train().to(self._device)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4)
        pipeline, position = _mmdet_pipeline(self._setting.size), 0

        def step() -> None:
            nonlocal position
            places = range(position, position + self._setting.batch_size)
            position += self._setting.batch_size
            packed = [pipeline(_mmdet_sample(self._split, i % len(self._split))) for i in places]
            data = model.data_preprocessor(
                {
                    "inputs": [p["inputs"] for p in packed],
                    "data_samples": [p["data_samples"] for p in packed],
                },
                training=True,
            )
            total, _ = model.parse_losses(model.loss(data["inputs"], data["data_samples"]))
            optimizer.zero_grad()
            total.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 35.0)
            optimizer.step()

        return step


def _rois(images: int, number: int, size: Resolution) -> torch.Tensor:
    """Return random regions, N x 5: image number, then xyxy in pixels."""
    generator = torch.Generator().manual_seed(0)
    corners = torch.rand(images * number, 2, generator=generator) * min(size.width, size.height)
    sides = corners + 8 + torch.rand(images * number, 2, generator=generator) * 64
    image = torch.arange(images).repeat_interleave(number)[:, None]
    return torch.cat([image, corners, sides], dim=1)


def _mmdet_pipeline(size: Resolution) -> Callable[[dict[str, Any]], Any]:
    pipeline: Callable[[dict[str, Any]], Any] = Compose(
        [
            {"type": "mmdet.LoadImageFromNDArray"},
            {"type": "mmdet.LoadAnnotations", "with_bbox": True},
            {"type": "mmdet.Resize", "scale": (size.width, size.height), "keep_ratio": True},
            {"type": "mmdet.RandomFlip", "prob": 0.5},
            {"type": "mmdet.PackDetInputs"},
        ]
    )
    return pipeline


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


def ratios(numerator: Step, peer: Step, rounds: int, *, steps: int = 10) -> list[float]:
    """Return the ratio of the two times in each round, after a warm-up."""
    seconds(numerator, steps)
    seconds(peer, steps)
    return [seconds(numerator, steps) / seconds(peer, steps) for _ in range(rounds)]


def seconds(step: Step, number: int) -> float:
    """Return the seconds of a number of steps, until the device has finished them."""
    started = time.perf_counter()
    for _ in range(number):
        step()
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()
    return time.perf_counter() - started


def compare(variants: dict[str, Step], rounds: int, steps: int) -> dict[str, dict[str, float]]:
    """Return the milliseconds of a step of each variant, and its ratio to those of mmdet."""
    times: dict[str, list[float]] = {name: [] for name in variants}
    for number in range(rounds + 1):
        for name, step in variants.items():
            spent = seconds(step, steps if number else 2)  # the first round warms up
            times[name] += [spent] if number else []
    return {
        name: {
            "ms": 1000 * statistics.median(own) / steps,
            "over_mmdet": statistics.median(
                each / peer for each, peer in zip(own, times["mmdet"], strict=True)
            ),
        }
        for name, own in times.items()
    }


def busy_ms(step: Step, number: int) -> float:
    """Return the milliseconds of a step in which the GPU computes, or this process."""
    if not torch.cuda.is_initialized():
        started = time.process_time()
        seconds(step, number)
        return 1000 * (time.process_time() - started) / number
    with profile(activities=[ProfilerActivity.CUDA]) as profiled:
        seconds(step, number)
    total_us = sum(event.self_device_time_total for event in profiled.key_averages())
    return float(total_us) / 1000 / number


def waits(step: Step) -> Counter[Wait]:
    """Return the waits of one step, by operation and place."""
    with counted_waits() as found:
        step()
    return found


def memory_mib(step: Step) -> float:
    """Return the largest memory of a step on the GPU, or of this process so far, in MiB."""
    if not torch.cuda.is_initialized():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    torch.cuda.reset_peak_memory_stats()
    step()
    return torch.cuda.max_memory_allocated() / 2**20


def packed(setting: str, spec: SplitSpec, device: str, number: int) -> float:
    """Return the images per second of several trainings beside each other."""
    context = multiprocessing.get_context("spawn")
    with context.Manager() as manager, context.Pool(number) as pool:
        barrier = manager.Barrier(number)
        arguments = [(setting, spec, device, barrier)] * number
        slowest_s = max(pool.starmap(_packed_s, arguments, chunksize=1))
    chosen = SETTINGS[setting]
    return number * chosen.steps * chosen.batch_size / slowest_s


def _packed_s(setting: str, spec: SplitSpec, device: str, barrier: Any) -> float:
    torch.set_num_threads(1)
    step = Steps(SETTINGS[setting], spec, device).ours()
    seconds(step, 2)
    barrier.wait()
    return seconds(step, SETTINGS[setting].steps)


VARIANTS: dict[str, Callable[[Steps], Step]] = {
    "mmdet": lambda steps: steps.mmdets(),
    "plain": lambda steps: steps.ours(),
    "distilled": lambda steps: steps.ours(distilled=True),
    "bound": lambda steps: steps.bound(),
    "plain_channels_last": lambda steps: steps.ours(channels_last=True),
    "plain_bf16": lambda steps: steps.ours(amp="bf16"),
    "distilled_bf16": lambda steps: steps.ours(distilled=True, amp="bf16"),
    "plain_fp16": lambda steps: steps.ours(amp="fp16"),
}
DEFAULT = tuple(VARIANTS)[:4]


def measure(
    setting: str,
    spec: SplitSpec,
    device: str,
    *,
    rounds: int,
    names: Sequence[str] = DEFAULT,
    together: Sequence[int] = (),
) -> dict[str, Any]:
    """Return all figures of a setting on a device; of `names`, "mmdet" must be one."""
    steps = Steps(SETTINGS[setting], spec, device)
    variants = {name: VARIANTS[name](steps) for name in names}
    number = SETTINGS[setting].steps
    found: dict[str, Any] = dict(compare(variants, rounds, number))
    for name, step in variants.items():
        found[name]["busy_ms"] = busy_ms(step, number)
        found[name]["busy"] = found[name]["busy_ms"] / found[name]["ms"]
        found[name]["memory_mib"] = memory_mib(step)
        kinds = waits(step)
        found[name]["waits"] = kinds.total()
        found[name]["waits_at"] = {
            f"{wait.operation}, {wait.place}": times for wait, times in kinds.most_common()
        }
    if {"distilled", "bound"} <= set(names):
        found["distilled"]["over_bound"] = found["distilled"]["ms"] / found["bound"]["ms"]
    found["packed_images_per_s"] = {n: packed(setting, spec, device, n) for n in together}
    return found


def profiled(setting: str, spec: SplitSpec, device: str) -> str:
    """Return a table of the operators of distilled steps, by their time on the device."""
    step = Steps(SETTINGS[setting], spec, device).ours(distilled=True)
    seconds(step, 3)
    activities = [ProfilerActivity.CPU]
    activities += [ProfilerActivity.CUDA] if device == "cuda" else []
    with profile(activities=activities) as found:
        seconds(step, 3)
    table: str = found.key_averages().table(f"self_{device}_time_total", row_limit=40)
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--setting", choices=list(SETTINGS), default="small")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument(
        "--rounds",
        type=int,
        default=7,
        help="number of timed rounds, whose median is shown; default: 7",
    )
    parser.add_argument(
        "--packed", type=int, nargs="*", default=[], help="numbers of trainings on one device"
    )
    parser.add_argument(
        "--only",
        nargs="+",
        choices=list(VARIANTS),
        default=list(DEFAULT),
        help="variants to measure beside mmdet's own step, which is always measured",
    )
    parser.add_argument(
        "--profile", action="store_true", help="print a table of operators of a distilled step"
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_float32_matmul_precision("high")  # TF32 on a GPU, on all sides
    setting = SETTINGS[options.setting]
    with tempfile.TemporaryDirectory() as folder:
        spec = make_shapes(
            Path(folder),
            num_train=setting.num_images,
            num_validation=1,
            image_size=setting.image_px,
        ).train
        if options.profile:
            sys.stdout.write(profiled(options.setting, spec, options.device) + "\n")
            return
        found = measure(
            options.setting,
            spec,
            options.device,
            rounds=options.rounds,
            names=["mmdet", *(name for name in options.only if name != "mmdet")],
            together=options.packed,
        )
    json.dump(found, sys.stdout, indent=2)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
