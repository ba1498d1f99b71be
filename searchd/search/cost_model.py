"""The cost of one trial before it runs: seconds and bytes. Pure.

Computed from the epoch times of earlier trials on the same data set if there are any, else by a
formula that does not depend on the machine. Both are forecasts, not promises.
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
"""The cost of the teacher's forward pass in those of the student, which is smaller."""
DETECTOR_PER_BACKBONE = 2.4
"""MACs of a whole detector divided by its backbone's, for a Faster R-CNN with ResNet-50 and FPN."""
GPU_MACS_PER_S = 5e12
CPU_MACS_PER_S = 2e10
"""Multiply-accumulates per second that a GPU, and a CPU core, is assumed to do in training."""
BYTES_PER_PARAM = 4
CHECKPOINT_PER_WEIGHTS = 2.0
"""A checkpoint holds the weights and the optimizer's momentum."""
_KERNELS = {
    BlockKind.BASIC: (3, 3),
    BlockKind.BOTTLENECK: (1, 3, 1),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """What the time of a trial's training depends on."""

    backbone: Architecture | None
    """The student's; None if it is loaded from a checkpoint."""
    has_teacher: bool
    on_gpu: bool
    mean_area: float
    """Pixels of a training image, as the mean over the resolutions."""
    epochs: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """An earlier trial on the same data set."""

    training: Training
    epoch_s: float
    """Seconds per epoch, as the mean over the trial's epochs."""
    rest_s: float
    """Seconds outside its epochs: loading, checks, evaluation."""
    stored_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Images:
    """The numbers of images of the data set."""

    train: int
    validation: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """The cost of one trial."""

    seconds: float
    stored_bytes: float
    basis: Literal["measured", "estimate"]
    """Whether earlier trials were measured or the formula was used."""
    explanation: str
    """The basis, in words."""


def forecast(
    training: Training,
    earlier: Sequence[Measured],
    images: Images | None,
    *,
    evaluated_areas: Sequence[float] = (),
    cpus: float = 1.0,
    what: str = "trial",
) -> Cost | None:
    """Return the cost of one trial, or None if nothing is known of the data set or the detector.

    Args:
        training: The trial's training.
        earlier: Trials that trained on the same data set.
        images: The data set's numbers of images; None if they are not known.
        evaluated_areas: Pixels of an image at each resolution of the evaluation.
        cpus: CPU cores of the trial; they count only without a GPU.
        what: The word for a trial in the explanation.
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
    """Return the multiply-accumulates of the backbone's convolutions on an image of `area` pixels.

    The result is close to the count on the real module, which needs torch.
    """
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
    """Return the number of parameters of the backbone's convolutions."""
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
    """Use the trials with the nearest size of images and of backbone."""
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
            f"scaled to its sizes, and {rest_s:.3g} s outside epochs"
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
    """Return the multiply-accumulates of a whole detector with this backbone."""
    return DETECTOR_PER_BACKBONE * backbone_macs(backbone, area)


def _ratio(training: Training, other: Training) -> float:
    """Return the epoch's time divided by the other training's."""
    ratio = training.mean_area / other.mean_area
    if training.backbone is None or other.backbone is None:
        return ratio
    return ratio * backbone_macs(training.backbone, 1.0) / backbone_macs(other.backbone, 1.0)


def _distance(training: Training, other: Training) -> float:
    return abs(math.log(_ratio(training, other)))
