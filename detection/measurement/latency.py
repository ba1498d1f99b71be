"""Measures a detector's latency for one image."""

import statistics
import time
from dataclasses import dataclass

import torch
from mmdet.models import BaseDetector
from mmdet.structures import DetDataSample

from detection.build import SIZE_DIVISOR
from detection.eval_mode import eval_mode
from searchd.domain.resolution import Resolution

WARM_UP = 3
"""Number of unmeasured passes before the measured ones: they allocate memory and choose kernels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """The speed at batch size 1."""

    latency_s: float
    """Median seconds per image for network, proposals and NMS, without reading the image."""
    images_per_s: float
    """Number of images divided by their total time."""


def measure(
    model: BaseDetector,
    resolution: Resolution,
    *,
    device: torch.device | str = "cpu",
    num_images: int = 20,
) -> Latency:
    """Measure the latency of single images of exactly this resolution, after a warm-up.

    The image is noise from a fixed seed. It gives few detections, so NMS takes little time; the
    network dominates at any realistic size.

    Args:
        model: The detector, on `device`. Its mode is the same afterwards.
        resolution: Width and height of the image, before padding to a multiple of 32.
        device: Device of the model.
        num_images: Number of measured passes.
    """
    times = measure_runs(model, resolution, device=device, num_images=num_images)
    return Latency(latency_s=statistics.median(times), images_per_s=num_images / sum(times))


def measure_runs(
    model: BaseDetector,
    resolution: Resolution,
    *,
    device: torch.device | str = "cpu",
    num_images: int = 20,
) -> list[float]:
    """Return the seconds of each measured pass. For the arguments see `measure`."""
    inputs, sample = _image(resolution, device)
    with eval_mode(model), torch.inference_mode():
        for _ in range(WARM_UP):
            _timed(model, inputs, sample)
        return [_timed(model, inputs, sample) for _ in range(num_images)]


def _timed(model: BaseDetector, inputs: torch.Tensor, sample: DetDataSample) -> float:
    _synchronise(inputs.device)
    started = time.perf_counter()
    model.predict(inputs, [sample], rescale=True)
    _synchronise(inputs.device)
    return time.perf_counter() - started


def _synchronise(device: torch.device) -> None:
    """Wait until a GPU has finished its queue; do nothing on a CPU."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _image(
    resolution: Resolution, device: torch.device | str
) -> tuple[torch.Tensor, DetDataSample]:
    """Return normalised noise, 1 x 3 x H x W, and its data sample."""
    shape = (resolution.height, resolution.width)
    padded = tuple(SIZE_DIVISOR * -(-side // SIZE_DIVISOR) for side in shape)
    inputs = torch.zeros(1, 3, *padded)
    inputs[:, :, : shape[0], : shape[1]] = torch.randn(
        1, 3, *shape, generator=torch.Generator().manual_seed(0)
    )
    sample = DetDataSample(
        metainfo={
            "img_shape": shape,
            "ori_shape": shape,
            "scale_factor": (1.0, 1.0),
            "pad_shape": padded,
            "batch_input_shape": padded,
        }
    )
    return inputs.to(device), sample
