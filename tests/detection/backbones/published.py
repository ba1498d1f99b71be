"""Weights and images that are computed from names, so that expected outputs can be stored."""

import json
import zlib
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

PUBLISHED = Path(__file__).with_name("published_backbones.json")
"""For each published backbone, the names and shapes of its weights in its library, and what the
library computes from `weights` of them and `picture`: means of the first channels of C2 to C5."""


def published(name: str) -> dict[str, Any]:
    """The entry of a backbone."""
    found: dict[str, Any] = json.loads(PUBLISHED.read_text())[name]
    return found


def weights(shapes: dict[str, list[int]]) -> dict[str, Tensor]:
    """Weights that depend on names and shapes only."""
    return {name: _weight(name, shape) for name, shape in shapes.items()}


def picture(mean: list[float], std: list[float]) -> Tensor:
    """An RGB image, 1 x 3 x 64 x 96, as a library normalises it."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.rand(1, 3, 64, 96, generator=generator)
    return (pixels - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]


def summary(stages: list[Tensor]) -> list[list[float]]:
    """The means of the first 6 channels of each stage."""
    return [[float(value) for value in stage[0, :6].mean((1, 2))] for stage in stages]


def _weight(name: str, shape: list[int]) -> Tensor:
    generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
    if name.endswith("num_batches_tracked"):
        return torch.tensor(1)
    drawn = torch.randn(shape, generator=generator)
    if name.endswith("running_var"):
        return 1 + 0.1 * drawn.abs()
    if len(shape) == 1:
        return 0.1 * drawn + (1 if name.endswith("weight") else 0)
    return drawn * (2 / max(1, drawn[0].numel())) ** 0.5
