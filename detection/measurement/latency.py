"""How long a detector takes for one image."""

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
"""Unmeasured passes before the measured ones: the first allocate and choose kernels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """The speed at batch 1."""

    latency_s: float
    """Median seconds of one image: network, proposals and NMS; not the reading of the image."""
    images_per_s: float
    """Images over total time."""


def measure(
    model: BaseDetector,
    resolution: Resolution,
    *,
    device: torch.device | str = "cpu",
    num_images: int = 20,
) -> Latency:
    """Time single images of exactly this resolution, warm and synchronised.

    The image is noise from a fixed seed. With few detections, as a noise image gives, NMS takes the
    least time it can; the network dominates at any realistic size.

    Args:
        model: On `device`. Its mode is what it was afterwards.
        resolution: Width and height of the image, before padding to a multiple of 32.
        device: Where the model is.
        num_images: Measured passes.
    """
    inputs, sample = _image(resolution, device)
    with eval_mode(model), torch.inference_mode():
        for _ in range(WARM_UP):
            _timed(model, inputs, sample)
        times = [_timed(model, inputs, sample) for _ in range(num_images)]
    return Latency(latency_s=statistics.median(times), images_per_s=num_images / sum(times))


def _timed(model: BaseDetector, inputs: torch.Tensor, sample: DetDataSample) -> float:
    _synchronise(inputs.device)
    started = time.perf_counter()
    model.predict(inputs, [sample], rescale=True)
    _synchronise(inputs.device)
    return time.perf_counter() - started


def _synchronise(device: torch.device) -> None:
    """Wait for a GPU's queue; a CPU has none."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _image(
    resolution: Resolution, device: torch.device | str
) -> tuple[torch.Tensor, DetDataSample]:
    """Normalised noise, 1 x 3 x H x W, and its description."""
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
