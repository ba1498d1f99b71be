"""Maps the names of published backbones' weights to those of `ArchitectureBackbone`.

ResNets and ResNeXts have the same names in torchvision, timm and mmdet as here. The blocks of
MobileNetV2 have other names everywhere; they are matched by their order.
"""

import re
from collections.abc import Iterable, Mapping

from torch import Tensor

from searchd.domain.architecture import Architecture, BlockKind

_DROPPED = re.compile(r"(fc|head|classifier|conv_head|last_linear)\.|module\.head\.|global_pool\.")
"""Classifiers, which a detector does not have."""
_PREFIXES = ("backbone.", "encoder.", "base_encoder.", "module.")
_STEM = {
    "features.0.0": "conv1",
    "features.0.1": "bn1",
    "conv_stem": "conv1",
    "bn1": "bn1",
    "conv1.conv": "conv1",
    "conv1.bn": "bn1",
}
"""Names of MobileNetV2's first convolution and BN in torchvision, timm and mmdet."""
_PARTS = ("expand", "depthwise", "linear")
_TORCHVISION = re.compile(r"features\.(\d+)\.conv\.(\d)(?:\.([01]))?")
_TIMM = re.compile(r"blocks\.(\d+)\.(\d+)\.(conv_pwl|conv_pw|conv_dw|bn[123])")
_MMDET = re.compile(r"layer(\d)\.(\d+)\.(expand|depthwise|linear)_conv\.(conv|bn)")
_MMPRETRAIN = re.compile(r"layer(\d)\.(\d+)\.conv\.(\d)\.(conv|bn)")

Position = tuple[int, int]
"""Of a block in a published MobileNetV2: number of its group, and index in it."""


def own_names(weights: Mapping[str, Tensor], architecture: Architecture) -> dict[str, Tensor]:
    """Return a backbone's weights by the names of `ArchitectureBackbone`, without a classifier.

    Args:
        weights: By the names of torchvision, timm, mmdet or mmpretrain.
        architecture: The backbone that they are for; only its kind and depths are read.
    """
    found = {
        name: weight for name, weight in _stripped(weights).items() if not _DROPPED.match(name)
    }
    if architecture.kind is not BlockKind.INVERTED_RESIDUAL:
        return found
    renamed = inverted_residual_names(found, architecture.depths)
    return {renamed[name]: weight for name, weight in found.items() if name in renamed}


def inverted_residual_names(names: Iterable[str], depths: tuple[int, ...]) -> dict[str, str]:
    """Return the name here of each weight of MobileNetV2; those after the last block are left out.

    Args:
        names: Names of torchvision, timm, mmdet or mmpretrain.
        depths: Numbers of blocks of the four stages here.
    """
    parsed = {name: _parsed(name) for name in names}
    positions = sorted({found[0] for found in parsed.values() if found is not None})
    blocks = ["stem_end"] + [
        f"layer{stage}.{index}" for stage, depth in enumerate(depths, 1) for index in range(depth)
    ]
    modules = dict(zip(positions, blocks, strict=False))
    renamed: dict[str, str] = {}
    for name, found in parsed.items():
        module, _, parameter = name.rpartition(".")
        if module in _STEM:
            renamed[name] = f"{_STEM[module]}.{parameter}"
        elif found is not None and found[0] in modules:
            position, part, is_bn = found
            renamed[name] = f"{_module(modules[position], part, is_bn)}.{parameter}"
    return renamed


def _stripped(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return only the backbone's weights of a classifier or detector that names it."""
    for prefix in _PREFIXES:
        inner = {
            name.removeprefix(prefix): weight
            for name, weight in weights.items()
            if name.startswith(prefix)
        }
        if inner:
            return inner
    return dict(weights)


def _parsed(name: str) -> tuple[Position, str, bool] | None:
    """Return the position, the part, and whether it is the BN, of a weight in a block."""
    if found := _TORCHVISION.match(name):
        block, layer, inner = int(found[1]), int(found[2]), found[3]
        first = 1 if block == 1 else 0  # the first block does not expand
        if inner is not None:
            return (block, 0), _PARTS[first + layer], inner == "1"
        return (block, 0), "linear", layer == 3 - first
    if found := _TIMM.match(name):
        position = (int(found[1]), int(found[2]))
        return position, *_timm_part(found[3], is_first=position[0] == 0)
    if found := _MMDET.match(name):
        return (int(found[1]), int(found[2])), found[3], found[4] == "bn"
    if found := _MMPRETRAIN.match(name):
        first = 1 if found[1] == "1" else 0
        return (int(found[1]), int(found[2])), _PARTS[first + int(found[3])], found[4] == "bn"
    return None


def _timm_part(layer: str, *, is_first: bool) -> tuple[str, bool]:
    """Return the part of timm's layer. Its first block has no expansion, so that conv_pw is the
    linear convolution there and the BNs count from the depthwise one."""
    if layer.startswith("bn"):
        return _PARTS[int(layer[2]) - 1 + is_first], True
    named = {"conv_pw": "linear" if is_first else "expand", "conv_dw": "depthwise"}
    return named.get(layer, "linear"), False


def _module(block: str, part: str, is_bn: bool) -> str:
    if block == "stem_end":
        return f"{block}.{part}_conv.{'bn' if is_bn else 'conv'}"
    return f"{block}.{'bn' if is_bn else 'conv'}{_PARTS.index(part) + 1}"
