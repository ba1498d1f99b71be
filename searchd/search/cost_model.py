"""What a search will take, before anything runs. Pure.

From the epoch times of earlier trials on the same data set if there are any, else from a formula
that knows no machine. Either way a forecast, and no promise.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal

from searchd.domain.architecture import Architecture, BlockKind

PASSES_OF_STUDENT = 3
"""A training step's cost in forward passes: one forward, and a backward of two."""
PASSES_OF_TEACHER = 1.5
"""The teacher's forward pass: it is larger than the student."""
DETECTOR_PER_BACKBONE = 2.4
"""MACs of a whole detector over its backbone's, as of a Faster R-CNN with ResNet-50 and FPN."""
GPU_MACS_PER_S = 5e12
CPU_MACS_PER_S = 2e10
"""Multiply-accumulates that a GPU, and a CPU core, is assumed to do in training."""
BYTES_PER_PARAM = 4
CHECKPOINT_PER_WEIGHTS = 2.0
"""A checkpoint holds the weights and the optimizer's momentum."""
_KERNELS = {
    BlockKind.BASIC: (3, 3),
    BlockKind.BOTTLENECK: (1, 3, 1),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """How long trials of one kind train, and on what."""

    backbone: Architecture | None
    """None where only a checkpoint knows."""
    has_teacher: bool
    on_gpu: bool
    mean_area: float
    """Mean pixels of a training image over the resolutions."""
    epochs: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """An earlier trial on the same data set."""

    training: Training
    epoch_s: float
    """Mean seconds of an epoch."""
    rest_s: float
    """Seconds besides its epochs: loading, checks, evaluation."""
    stored_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Images:
    """Numbers of images of the data set."""

    train: int
    validation: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Of one trial."""

    seconds: float
    stored_bytes: float
    basis: Literal["measured", "estimate"]
    """From earlier trials, or from the formula."""
    explanation: str
    """Of the basis, in words."""


def forecast(
    training: Training,
    earlier: Sequence[Measured],
    images: Images | None,
    *,
    evaluated_areas: Sequence[float] = (),
    cpus: float = 1.0,
    what: str = "trial",
) -> Cost | None:
    """What one trial takes; None if nothing is known of the data set or the detector.

    Args:
        training: The trial's.
        earlier: Trials that trained on the same data set.
        images: Of the data set.
        evaluated_areas: Pixels of an image at each resolution of the evaluation.
        cpus: Of the trial, without a GPU.
        what: What it is in words, if it is no trial.
    """
    like = [
        each
        for each in earlier
        if (each.training.on_gpu, each.training.has_teacher)
        == (training.on_gpu, training.has_teacher)
    ]
    if like:
        return _from_nearest(training, like, what)
    if images is None or training.backbone is None:
        return None
    return _from_formula(training, training.backbone, images, evaluated_areas, cpus, what)


def backbone_macs(architecture: Architecture, area: float) -> float:
    """Multiply-accumulates of the backbone's convolutions on an image of `area` pixels. Close to
    what is counted on the real module, which needs torch."""
    inverted = architecture.kind is BlockKind.INVERTED_RESIDUAL
    macs = (3 * 9 if inverted else 3 * 49) * architecture.stem_channels * area / 4
    for placed in architecture.placed_blocks():
        # Stage 1 has stride 4 and each further one twice that; inside a block, after its stride.
        cells = area / 4 ** (placed.stage + 1)
        macs += (
            _block_params(
                architecture.kind, placed.in_channels, placed.block.channels, placed.block.groups
            )
            * cells
        )
    return macs


def backbone_params(architecture: Architecture) -> float:
    """Parameters of the backbone's convolutions."""
    return sum(
        _block_params(
            architecture.kind, placed.in_channels, placed.block.channels, placed.block.groups
        )
        for placed in architecture.placed_blocks()
    )


def _block_params(
    kind: BlockKind, in_channels: int, channels: tuple[int, ...], groups: int
) -> float:
    if kind is BlockKind.INVERTED_RESIDUAL:
        expanded, out = channels
        return in_channels * expanded + 9 * expanded + expanded * out
    total, before = 0.0, in_channels
    for kernel, after in zip(_KERNELS[kind], channels, strict=True):
        total += kernel**2 * before * after / (groups if kernel == 3 else 1)
        before = after
    return total


def _from_nearest(training: Training, like: Sequence[Measured], what: str) -> Cost:
    """By the trials that are most like it: the nearest size of images and of backbone."""
    distance = min(_distance(training, each.training) for each in like)
    nearest = [e for e in like if _distance(training, e.training) <= distance + 1e-9]
    epoch_s = median(each.epoch_s * _ratio(training, each.training) for each in nearest)
    rest_s = median(each.rest_s for each in nearest)
    return Cost(
        seconds=training.epochs * epoch_s + rest_s,
        stored_bytes=median(each.stored_bytes for each in nearest),
        basis="measured",
        explanation=(
            f"{len(nearest)} earlier {what}s on this data set took {epoch_s:.3g} s per epoch, "
            f"brought to its sizes, and {rest_s:.3g} s besides"
        ),
    )


def _from_formula(
    training: Training,
    backbone: Architecture,
    images: Images,
    evaluated_areas: Sequence[float],
    cpus: float,
    what: str,
) -> Cost:
    passes = PASSES_OF_STUDENT + (PASSES_OF_TEACHER if training.has_teacher else 0)
    trained = training.epochs * images.train * passes * _macs(backbone, training.mean_area)
    evaluated = images.validation * sum(_macs(backbone, area) for area in evaluated_areas)
    speed = GPU_MACS_PER_S if training.on_gpu else CPU_MACS_PER_S * max(cpus, 1.0)
    params = DETECTOR_PER_BACKBONE * backbone_params(backbone)
    return Cost(
        seconds=(trained + evaluated) / speed,
        stored_bytes=params * BYTES_PER_PARAM,
        basis="estimate",
        explanation=(
            f"estimate: no {what} of this kind has trained on this data set; multiply-accumulates "
            f"of all images, at {speed:.0e} per second"
        ),
    )


def _macs(backbone: Architecture, area: float) -> float:
    """Of a whole detector with this backbone."""
    return DETECTOR_PER_BACKBONE * backbone_macs(backbone, area)


def _ratio(training: Training, other: Training) -> float:
    """How much longer an epoch takes than the other's."""
    ratio = training.mean_area / other.mean_area
    if training.backbone is None or other.backbone is None:
        return ratio
    return ratio * backbone_macs(training.backbone, 1.0) / backbone_macs(other.backbone, 1.0)


def _distance(training: Training, other: Training) -> float:
    return abs(math.log(_ratio(training, other)))
