"""The heads of VFNet and TOOD in standard operators, to be traced; see `graph`.

Both read maps between cells, with mmcv's deformable convolution. It is a bilinear sample, 0 outside
the map, and for VFNet a convolution of what was sampled. Positions stay in 32 bits in every
precision: they are computed outside the heads' layers (`onnx_parts`).

Shapes: B images, C channels, H x W cells.
"""

from collections.abc import Iterable, Sequence
from typing import Any, cast

import torch
from mmcv.ops import DeformConv2d
from mmdet.models import TOODHead, VFNetHead
from torch import Tensor, nn
from torch.nn import functional

from detection.deployment.grids import centres

Outputs = tuple[list[Tensor], list[Tensor]]
"""Class scores and boxes of every level, as mmdet's head returns them in eval mode."""


def traceable(head: Any) -> nn.Module:
    """Return a one-stage head of mmdet in a form that can be traced, with the same modules."""
    if isinstance(head, VFNetHead):
        return SampledVfnet(head)
    if isinstance(head, TOODHead):
        return SampledTood(head)
    return cast(nn.Module, head)


class SampledVfnet(nn.Module):
    """VFNet's head."""

    def __init__(self, head: VFNetHead) -> None:
        super().__init__()
        self.cls_convs, self.reg_convs = head.cls_convs, head.reg_convs
        self.reg_conv, self.reg = head.vfnet_reg_conv, head.vfnet_reg
        self.reg_refine, self.classify = head.vfnet_reg_refine, head.vfnet_cls
        self.reg_sampled = _of_samples(head.vfnet_reg_refine_dconv)
        self.cls_sampled = _of_samples(head.vfnet_cls_dconv)
        self.scales, self.scales_refine = head.scales, head.scales_refine
        self.strides: list[int] = list(head.strides)
        self.units: list[float] = list(head.reg_denoms)

    def forward(self, levels: Sequence[Tensor]) -> Outputs:
        """Return logits, and distances in pixels, B x K x H x W and B x 4 x H x W each."""
        found = [self._level(number, level) for number, level in enumerate(levels)]
        return [scores for scores, _ in found], [distances for _, distances in found]

    def _level(self, number: int, level: Tensor) -> tuple[Tensor, Tensor]:
        to_classes, to_boxes = (_maps(each, level)[-1] for each in (self.cls_convs, self.reg_convs))
        scaled = self.scales[number](self.reg(self.reg_conv(to_boxes)))
        distances = scaled.exp() * self.units[number]
        points = star(distances / self.strides[number])
        refined = self.reg_sampled(sampled(to_boxes, points)).relu()
        factors = self.scales_refine[number](self.reg_refine(refined)).exp()
        scores = self.classify(self.cls_sampled(sampled(to_classes, points)).relu())
        return scores, factors * distances


class SampledTood(nn.Module):
    """TOOD's head, which predicts distances, and not offsets from anchors."""

    def __init__(self, head: TOODHead) -> None:
        super().__init__()
        self.inter_convs = head.inter_convs
        self.cls_decomp, self.reg_decomp = head.cls_decomp, head.reg_decomp
        self.classify, self.reg = head.tood_cls, head.tood_reg
        self.cls_prob, self.reg_offset = head.cls_prob_module, head.reg_offset_module
        self.scales = head.scales

    def forward(self, levels: Sequence[Tensor]) -> Outputs:
        """Return probabilities, and boxes (xyxy) in strides, B x K x H x W and B x 4 x H x W."""
        found = [self._level(number, level) for number, level in enumerate(levels)]
        return [scores for scores, _ in found], [boxes for _, boxes in found]

    def _level(self, number: int, level: Tensor) -> tuple[Tensor, Tensor]:
        maps = torch.cat(_maps(self.inter_convs, level), dim=1)
        average = maps.mean(dim=(2, 3), keepdim=True)
        logits = self.classify(self.cls_decomp(maps, average))
        scores = (logits.sigmoid() * self.cls_prob(maps).sigmoid()).sqrt()
        distances = self.scales[number](self.reg(self.reg_decomp(maps, average)).exp())
        return scores, shifted(_around_cells(distances), self.reg_offset(maps))


def star(distances: Tensor) -> Tensor:
    """Return the places that VFNet samples for each cell: corners, middles of the sides and the
    centre of its first box.

    Args:
        distances: B x 4 x H x W, to the left, top, right and bottom, in cells.

    Returns:
        B x 9 x 2 x H x W, x and y in cells, row by row of the box.
    """
    left, top, right, bottom = (distances[:, [side]] for side in range(4))
    none = torch.zeros_like(left)
    xs = torch.cat([-left, none, right] * 3, dim=1)
    ys = torch.cat([-top] * 3 + [none] * 3 + [bottom] * 3, dim=1)
    return torch.stack([xs, ys], dim=2) + _cells(distances)


def sampled(maps: Tensor, places: Tensor) -> Tensor:
    """Read maps between cells: bilinear, 0 outside.

    Args:
        maps: B x C x H x W.
        places: B x P x 2 x H x W, x and y in cells, the centre of the first cell at 0.

    Returns:
        B x (C * P) x H x W, channel by channel.
    """
    height, width = maps.shape[-2:]
    # of the map's borders, which grid_sample has at -1 and 1
    xs = (places[:, :, 0] * 2 + 1) / width - 1
    ys = (places[:, :, 1] * 2 + 1) / height - 1
    grid = torch.stack([xs, ys], dim=-1).flatten(1, 2)  # B x (P * H) x W x 2
    found = functional.grid_sample(maps, grid, align_corners=False)
    return found.unflatten(2, (places.shape[1], height)).flatten(1, 2)


def _maps(convs: Iterable[nn.Module], level: Tensor) -> list[Tensor]:
    """Return what leaves each convolution of a tower."""
    found = [level]
    for conv in convs:
        found.append(conv(found[-1]))
    return found[1:]


def _of_samples(conv: DeformConv2d) -> nn.Conv2d:
    """Return the convolution of what was sampled for a deformable convolution, with its weights."""
    outputs = conv.weight.shape[0]
    found = nn.Conv2d(conv.weight[0].numel(), outputs, 1, bias=False)
    found.weight = nn.Parameter(conv.weight.reshape(outputs, -1, 1, 1), requires_grad=False)
    return found


def _cells(maps: Tensor) -> Tensor:
    """Return x and y of every cell of a map, 2 x H x W."""
    height, width = maps.shape[-2:]
    return centres(maps, 1, offset=0.0).T.unflatten(1, (height, width))


def _around_cells(distances: Tensor) -> Tensor:
    """Return the boxes (xyxy) with these distances from the cells, B x 4 x H x W, in cells."""
    cells = _cells(distances)
    return torch.cat([cells - distances[:, :2], cells + distances[:, 2:]], dim=1)


def shifted(boxes: Tensor, offsets: Tensor) -> Tensor:
    """Read each side of the boxes at an offset of its own, unless that leaves a box without size.

    Args:
        boxes: B x 4 x H x W.
        offsets: B x 8 x H x W, y and x of each side, in cells.
    """
    places = offsets.unflatten(1, (4, 2)).flip(2) + _cells(boxes)
    each_side = sampled(boxes.flatten(0, 1)[:, None], places.flatten(0, 1)[:, None])
    found = each_side.squeeze(1).unflatten(0, (-1, 4))
    is_inverted = (found[:, :2] > found[:, 2:]).any(dim=1, keepdim=True)
    return torch.where(is_inverted, boxes, found)
