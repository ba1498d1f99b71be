"""Computes the detection loss around trained weights (MTPD 4.5, docs/papers.md 2.9; Li et al.
2018).

The weights are moved along two random directions, each filter in proportion to its norm, so that
detectors with weights of different scale can be compared.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from detection.analysis.frozen import without_side_effects
from detection.data.batches import Batch
from searchd.domain.errors import InvalidValueError


@dataclass(frozen=True, slots=True, kw_only=True)
class LossLandscape:
    """The loss on a square grid of steps along two directions."""

    coordinates: tuple[float, ...]
    """Coordinates of both axes. A filter is moved by this share of its norm."""
    losses: tuple[tuple[float, ...], ...]
    """losses[i][j] at coordinates[i] along the first and [j] along the second direction."""
    centre: float
    """The loss at the trained weights."""

    @property
    def mean_increase(self) -> float:
        """Mean loss minus the loss at the centre; small in a flat landscape."""
        every = [loss for row in self.losses for loss in row]
        return sum(every) / len(every) - self.centre

    @property
    def max_increase(self) -> float:
        """Largest loss minus the loss at the centre."""
        return max(max(row) for row in self.losses) - self.centre


def loss_landscape(
    model: nn.Module,
    loss: Callable[[], float],
    *,
    num_points: int = 21,
    extent: float = 1.0,
    seed: int = 0,
) -> LossLandscape:
    """Evaluate a loss around the model's weights, which are bitwise the same afterwards.

    Args:
        model: The model. Weights of convolutions, linear layers and other parameters of more than
            one dimension are moved; biases and normalisation layers are not.
        loss: Computes the loss of the model with its current weights.
        num_points: Number of points of each axis; odd, so that the centre is one of them.
        extent: Largest coordinate; the grid reaches from minus this to plus this.
        seed: Seed of the directions.

    Raises:
        InvalidValueError: `num_points` is even or below 3, `extent` is not positive, or the loss
            is not finite at some point.
    """
    if num_points < 3 or num_points % 2 == 0:
        raise InvalidValueError(f"num_points={num_points} must be odd and at least 3")
    if extent <= 0:
        raise InvalidValueError(f"extent={extent} must be positive")
    weights = [parameter for parameter in model.parameters() if parameter.dim() > 1]
    trained = [weight.detach().clone() for weight in weights]
    generator = torch.Generator().manual_seed(seed)
    first, second = ([filter_normalised(w, generator) for w in trained] for _ in range(2))
    half = num_points // 2
    coordinates = tuple(extent * i / half for i in range(-half, half + 1))

    def loss_at(a: float, b: float) -> float:
        with torch.no_grad():
            for weight, start, x, y in zip(weights, trained, first, second, strict=True):
                weight.copy_(start + a * x + b * y)
        return _finite(loss(), a, b)

    try:
        losses = tuple(tuple(loss_at(a, b) for b in coordinates) for a in coordinates)
    finally:
        with torch.no_grad():
            for weight, start in zip(weights, trained, strict=True):
                weight.copy_(start)
    return LossLandscape(coordinates=coordinates, losses=losses, centre=losses[half][half])


def detection_loss(model: Any, batches: Sequence[Batch], seed: int = 0) -> float:
    """Return an mmdet detector's training loss, averaged over images. The detector does not change.

    Args:
        model: Any mmdet detector.
        batches: Batches with boxes and labels, on the model's device.
        seed: Seed of the samplers, so that equal weights have equal losses.
    """
    total = 0.0
    with without_side_effects(model, seed):
        for batch in batches:
            losses = model.loss(batch.inputs, batch.samples)
            total += float(model.parse_losses(losses)[0]) * len(batch.samples)
    return total / sum(len(batch.samples) for batch in batches)


def filter_normalised(weight: Tensor, generator: torch.Generator) -> Tensor:
    """Draw a Gaussian direction in which each filter has the norm of the weight's.

    Args:
        weight: filters x ...
        generator: Generator on the CPU.
    """
    direction = torch.randn(weight.shape, generator=generator, dtype=weight.dtype)
    direction = direction.to(weight.device)
    lengths = [t.flatten(1).norm(dim=1) for t in (weight, direction)]
    scale = lengths[0] / lengths[1]
    return direction * scale.view(-1, *[1] * (weight.dim() - 1))


def _finite(loss: float, a: float, b: float) -> float:
    if not math.isfinite(loss):
        raise InvalidValueError(
            f"the loss is {loss} at ({a:g}, {b:g}) of the landscape; use a smaller extent"
        )
    return loss
