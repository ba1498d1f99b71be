"""Which of mmdet's own backbones an architecture is."""

from collections.abc import Mapping
from typing import Any

import torch
from mmdet.registry import MODELS
from mmengine.config import ConfigDict

from detection.mmdet.checkpoint_import import architecture_of
from searchd.domain.architecture import Architecture, BlockKind
from searchd.domain.errors import CheckpointError, InvalidValueError

_DEPTHS: Mapping[tuple[BlockKind, tuple[int, ...]], int] = {
    (BlockKind.BASIC, (2, 2, 2, 2)): 18,
    (BlockKind.BASIC, (3, 4, 6, 3)): 34,
    (BlockKind.BOTTLENECK, (3, 4, 6, 3)): 50,
    (BlockKind.BOTTLENECK, (3, 4, 23, 3)): 101,
    (BlockKind.BOTTLENECK, (3, 8, 36, 3)): 152,
}
"""The depth of mmdet's ResNet, by the kind and the number of blocks in each stage."""


def plain_backbone(architecture: Architecture) -> dict[str, Any] | None:
    """Return the config of mmdet's ResNet or ResNeXt that is an architecture, with weights of the
    same names; None if none is."""
    depth = _DEPTHS.get((architecture.kind, architecture.depths))
    if depth is None:
        return None
    config = _resnet(architecture, depth)
    try:
        with torch.device("meta"):
            built = MODELS.build(ConfigDict(config, _scope_="mmdet"))
        found = architecture_of(built, config["type"], config["type"])
    except (CheckpointError, InvalidValueError, ValueError):  # no ResNet has such widths
        return None
    return config if found == architecture else None


def _resnet(architecture: Architecture, depth: int) -> dict[str, Any]:
    first = architecture.stages[0][0]
    width = architecture.stem_channels
    config: dict[str, Any] = {
        "type": "ResNet",
        "depth": depth,
        "stem_channels": width,
        "base_channels": width,
        "norm_cfg": {"type": "BN", "requires_grad": True},
        "norm_eval": False,
        "style": "pytorch",
    }
    if first.groups > 1:
        grouped = {"groups": first.groups, "base_width": first.channels[0] // first.groups}
        config |= {"type": "ResNeXt", **grouped}
    return config
