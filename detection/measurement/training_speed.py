"""Measures how fast this machine trains detectors, for plans that must fit a time budget."""

import os
import time
from dataclasses import dataclass

import torch
from mmdet.models import BaseDetector
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData

from detection.build import SIZE_DIVISOR, build_detector
from detection.distillation.taps import total
from detection.measurement.complexity import count
from searchd.domain.architecture import preset
from searchd.domain.detector import Detector
from searchd.domain.resolution import Resolution

SMALL, LARGE = Resolution(96, 96), Resolution(320, 224)
"""Resolutions of the two measured detectors."""
_BATCH, _OBJECTS, _STEPS = 2, 8, 2


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSpeed:
    """The time of a training step per image, as a linear function of the detector's MACs."""

    fixed_s: float
    """Seconds that do not depend on the network: assignment, sampling, NMS."""
    s_per_mac: float
    """Seconds per multiply-accumulate of the forward pass, the backward pass included."""

    def seconds(self, detector: Detector, resolution: Resolution) -> float:
        """Return the expected seconds per training image of a detector without a teacher."""
        return self.fixed_s + self.s_per_mac * count(detector, resolution).macs


def measure_training_speed(*, device: str = "cpu", num_threads: int = 1) -> TrainingSpeed:
    """Train two detectors of different size for a few steps on noise, in a few seconds.

    Args:
        device: Device to train on.
        num_threads: Number of CPU threads of a trial. The process keeps this number.
    """
    torch.set_num_threads(min(num_threads, os.cpu_count() or 1))
    small, large = _detector(8), _detector(64)
    small_s, large_s = _seconds(small, SMALL, device), _seconds(large, LARGE, device)
    small_macs, large_macs = count(small, SMALL).macs, count(large, LARGE).macs
    slope = max(large_s - small_s, 0.0) / (large_macs - small_macs)
    return TrainingSpeed(fixed_s=max(small_s - slope * small_macs, 0.0), s_per_mac=slope)


def _detector(base_channels: int) -> Detector:
    return Detector(
        architecture=preset("resnet18", base_channels=base_channels),
        num_classes=4,
        neck_channels=base_channels,
        head_channels=16 * base_channels // 4,
        num_proposals=100,
        sampled_rois=128,
    )


def _seconds(detector: Detector, resolution: Resolution, device: str) -> float:
    """Return the seconds per image of a training step, after one unmeasured step."""
    model = build_detector(detector).to(device)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4)
    inputs, samples = _noise(resolution, device)
    _step(model, optimizer, inputs, samples)
    started = time.perf_counter()
    for _ in range(_STEPS):
        _step(model, optimizer, inputs, samples)
    if inputs.is_cuda:
        torch.cuda.synchronize(device)
    return (time.perf_counter() - started) / (_STEPS * _BATCH)


def _step(
    model: BaseDetector,
    optimizer: torch.optim.Optimizer,
    inputs: torch.Tensor,
    samples: list[DetDataSample],
) -> None:
    losses = model.loss(inputs, samples)
    loss = torch.stack([total(value) for name, value in losses.items() if "loss" in name]).sum()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def _noise(resolution: Resolution, device: str) -> tuple[torch.Tensor, list[DetDataSample]]:
    """Return a batch of noise with random boxes."""
    generator = torch.Generator().manual_seed(0)
    height, width = (
        SIZE_DIVISOR * -(-side // SIZE_DIVISOR) for side in (resolution.height, resolution.width)
    )
    images = torch.randn(_BATCH, 3, height, width, generator=generator)
    samples = []
    for _ in range(_BATCH):
        corner = torch.rand(_OBJECTS, 2, generator=generator) * torch.tensor([width, height]) / 2
        side = 8 + torch.rand(_OBJECTS, 2, generator=generator) * min(width, height) / 3
        sample = DetDataSample(
            metainfo={
                "img_shape": (height, width),
                "ori_shape": (height, width),
                "pad_shape": (height, width),
                "batch_input_shape": (height, width),
                "scale_factor": (1.0, 1.0),
            }
        )
        sample.gt_instances = InstanceData(
            bboxes=torch.cat([corner, corner + side], dim=1),
            labels=torch.arange(_OBJECTS) % 4,
        )
        samples.append(sample.to(device))
    return images.to(device), samples
