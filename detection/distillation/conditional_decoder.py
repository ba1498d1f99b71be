"""ICD's decoder: attention from instances to a detector's features. ICD, docs/papers.md 4.1.

Shapes: B images, I instances of each, L cells of all levels, C neck channels, M heads of
d = 256 / M channels.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt

import torch
from mmdet.models.layers import MLP, SinePositionalEncoding
from torch import Tensor, nn
from torch.nn import functional

from detection.distillation.adapters import ChannelAdapter
from detection.distillation.instance_encoder import POSITION_CHANNELS, WIDTH

FFN_CHANNELS = 1024
"""Hidden channels of the feed-forward network."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Grid:
    """The positions of the cells of all levels."""

    positions: Tensor
    """B x 256 x 1 x L: DETR's 2-D sine embedding, where the image without padding is one period."""
    is_padding: Tensor
    """B x L, bool."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Knowledge:
    """The decoder's outputs for each instance."""

    attention: Tensor
    """m, B x M x I x L; sums to 1 over the cells, and is 0 in padding."""
    values: Tensor
    """V of the features, B x M x d x L."""
    embeddings: Tensor
    """g, B x I x 256."""


class ConditionalDecoder(nn.Module):
    """One layer of cross-attention and feed-forward network. Instances do not attend to each other.

    Attributes:
        query: F^q, of the instances.
        key: F^k, of features with positions.
        value: F^v, of features alone.
        position: F_pe, of positions.
    """

    def __init__(self, channels: int, num_heads: int) -> None:
        """
        Args:
            channels: Neck channels of the widest teacher; narrower ones use the leading channels.
            num_heads: Number of heads, M.
        """
        super().__init__()
        self._num_heads = num_heads
        self.query = nn.Linear(WIDTH, WIDTH)
        self.key = ChannelAdapter(channels, WIDTH, 1)
        self.value = ChannelAdapter(channels, WIDTH, 1)
        self.position = ChannelAdapter(WIDTH, channels, 1)
        self.out = nn.Linear(WIDTH, WIDTH)
        self.attention_norm = nn.LayerNorm(WIDTH)
        self.ffn = MLP(WIDTH, FFN_CHANNELS, WIDTH, 2)
        self.ffn_norm = nn.LayerNorm(WIDTH)

    def forward(self, queries: Tensor, features: Tensor, grid: Grid) -> Knowledge:
        """
        Args:
            queries: B x I x 256.
            features: B x C x 1 x L, in the form that `joined` returns.
            grid: Positions of the same cells.
        """
        places = self.position(grid.positions, features.shape[1])
        keys = split_heads(self.key(features + places), self._num_heads)
        values = split_heads(self.value(features), self._num_heads)
        query_heads = self.query(queries).unflatten(2, (self._num_heads, -1)).transpose(1, 2)
        # B x M x I x L; large, so it is changed in place.
        scores = (query_heads / sqrt(keys.shape[2])) @ keys
        scores.masked_fill_(grid.is_padding[:, None, None], -torch.inf)
        attention = scores.softmax(dim=3)
        heads = (attention @ values.transpose(2, 3)).transpose(1, 2).flatten(start_dim=2)
        found = self.attention_norm(queries + self.out(heads))
        return Knowledge(
            attention=attention,
            values=values,
            embeddings=self.ffn_norm(found + self.ffn(found)),
        )


def split_heads(maps: Tensor, num_heads: int) -> Tensor:
    """B x 256 x 1 x L -> B x M x d x L."""
    return maps.flatten(start_dim=2).unflatten(1, (num_heads, -1))


def joined(levels: Mapping[int, Tensor], strides: Sequence[int]) -> Tensor:
    """Join the cells of some levels: B x C x 1 x L.

    Levels that are narrower than the widest (as in SSD) are padded with zeros, so that they use the
    leading channels of a linear map.

    Args:
        levels: Features of the levels by stride, each B x C x h x w.
        strides: Strides of the levels to join, in order.
    """
    width = max(levels[s].shape[1] for s in strides)
    flat = [
        functional.pad(levels[s].flatten(2), (0, 0, 0, width - levels[s].shape[1])) for s in strides
    ]
    return torch.cat(flat, dim=2).unsqueeze(2)


def grid_of(levels: Mapping[int, Tensor], strides: Sequence[int], image_sizes: Tensor) -> Grid:
    """Return the positions of the cells that `joined` joins.

    A cell is padding if it begins outside its image. Positions are normalised for each level.

    Args:
        levels: Features of the levels by stride, each B x C x h x w.
        strides: Strides of the levels, in order.
        image_sizes: B x 2, width and height in pixels of the input, without padding.
    """
    encoding = SinePositionalEncoding(POSITION_CHANNELS, normalize=True)
    paddings = [_padding(levels[stride], stride, image_sizes) for stride in strides]
    positions = [encoding(padding).flatten(start_dim=2) for padding in paddings]
    return Grid(
        positions=torch.cat(positions, dim=2).unsqueeze(2),
        is_padding=torch.cat([padding.flatten(start_dim=1) for padding in paddings], dim=1),
    )


def _padding(level: Tensor, stride: int, image_sizes: Tensor) -> Tensor:
    """Return which cells of a level are padding: B x h x w, bool."""
    rows, columns = (
        stride * torch.arange(size, device=level.device) >= image_sizes[:, axis, None]
        for size, axis in ((level.shape[2], 1), (level.shape[3], 0))
    )
    return rows[:, :, None] | columns[:, None, :]
