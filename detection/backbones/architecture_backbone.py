"""A backbone whose every block has its own widths, stride, groups and shortcut
(docs/papers.md 1.4).

This file needs only torch, mmengine, mmcv and mmdet, and nothing of this project, so that it can be
copied beside an exported detector. Names of parameters follow mmdet's ResNet, so plain ResNets load
its checkpoints.

Shapes: N images, H x W pixels of the input, C channels.
"""

from collections.abc import Sequence
from typing import Any, Literal

from mmcv.ops import ModulatedDeformConv2d, ModulatedDeformConv2dPack
from mmdet.models.layers import InvertedResidual
from mmdet.registry import MODELS
from mmengine.model import BaseModule
from torch import Tensor, nn

STRIDED_CONV = {"basic": 0, "bottleneck": 1, "inverted_residual": 1}
"""Index of the convolution that carries the block's stride and groups."""
KERNEL_SIZES = {"basic": (3, 3), "bottleneck": (1, 3, 1), "inverted_residual": (1, 3, 1)}
SHORTCUTS = {
    "basic": ("identity", "projection", "subsample"),
    "bottleneck": ("identity", "projection", "subsample"),
    "inverted_residual": ("identity", "none"),
}

Kind = Literal["basic", "bottleneck", "inverted_residual"]
ShortcutName = Literal["identity", "projection", "subsample", "none"]


class ResidualBlock(nn.Module):
    """conv1, bn1, relu, conv2, bn2[, relu, conv3, bn3], plus the shortcut, then relu.

    An inverted residual has ReLU6, a depthwise conv2, and nothing after the addition.
    """

    def __init__(
        self,
        kind: Kind,
        in_channels: int,
        *,
        channels: Sequence[int],
        stride: int,
        shortcut: ShortcutName,
        groups: int,
        deformable: bool = False,
    ) -> None:
        """Build the block without initialising it.

        Args:
            kind: "basic" (3x3, 3x3), "bottleneck" (1x1, 3x3, 1x1) or "inverted_residual" (1x1
                expansion, depthwise 3x3, 1x1).
            in_channels: Input channels.
            channels: Output channels of each convolution; (expanded, out) for an inverted residual.
            stride: Stride of the first 3x3 convolution, 1 or 2.
            shortcut: "identity", "projection" (1x1 convolution and BN, with the block's stride),
                "subsample" (every second row and column of the input) or "none".
            groups: Groups of a bottleneck's 3x3 convolution.
            deformable: Whether the first 3x3 convolution is a DCNv2.
        """
        super().__init__()
        if shortcut not in SHORTCUTS[kind]:
            raise ValueError(
                f"shortcut {shortcut!r} is not built for {kind} blocks; "
                f"use {' or '.join(SHORTCUTS[kind])}"
            )
        inverted = kind == "inverted_residual"
        if inverted:
            channels, groups = (channels[0], *channels), channels[0]
        self.num_convs = len(channels)
        self.shortcut = shortcut
        width = in_channels
        for i, (out, kernel) in enumerate(zip(channels, KERNEL_SIZES[kind], strict=True)):
            strided = i == STRIDED_CONV[kind]
            convolution = ModulatedDeformConv2dPack if strided and deformable else nn.Conv2d
            conv = convolution(
                width,
                out,
                kernel,
                stride=stride if strided else 1,
                padding=kernel // 2,
                groups=groups if strided else 1,
                bias=False,
            )
            self.add_module(f"conv{i + 1}", conv)
            self.add_module(f"bn{i + 1}", nn.BatchNorm2d(out))
            width = out
        self.relu = nn.ReLU6(inplace=True) if inverted else nn.ReLU(inplace=True)
        self.linear = inverted
        self.downsample = (
            nn.Sequential(
                nn.Conv2d(in_channels, width, 1, stride=stride, bias=False), nn.BatchNorm2d(width)
            )
            if shortcut == "projection"
            else None
        )

    @property
    def last_bn(self) -> nn.BatchNorm2d:
        """The BN before the addition."""
        return self.get_submodule(f"bn{self.num_convs}")  # type: ignore[return-value] # set above

    def forward(self, x: Tensor) -> Tensor:
        """N x C_in x H x W -> N x C_out x H/stride x W/stride (rounded up)."""
        out = x
        for i in range(1, self.num_convs + 1):
            out = getattr(self, f"bn{i}")(getattr(self, f"conv{i}")(out))
            if i < self.num_convs:
                out = self.relu(out)
        if self.shortcut != "none":
            out = out + self._shortcut(x)
        return out if self.linear else self.relu(out)

    def _shortcut(self, x: Tensor) -> Tensor:
        if self.downsample is not None:
            return self.downsample(x)
        return x[:, :, ::2, ::2] if self.shortcut == "subsample" else x


@MODELS.register_module()
class ArchitectureBackbone(BaseModule):
    """A backbone of a stem and four stages of blocks.

    Residual kinds have the stem of mmdet's ResNet (7x7 convolution and max-pooling, stride 4).
    Inverted residuals have MobileNetV2's first convolution and block without expansion (stride 2).

    Every BN is trained: nothing is frozen and no BN stays in eval mode during training, since
    students are pruned by their BN weights.
    """

    def __init__(
        self,
        kind: Kind,
        stem_channels: int,
        stages: Sequence[Sequence[dict[str, Any]]],
        init_cfg: dict[str, Any] | list[dict[str, Any]] | None = None,
    ) -> None:
        """Build the backbone without initialising it.

        Args:
            kind: Block kind, "basic", "bottleneck" or "inverted_residual".
            stem_channels: Output channels of the stem's first convolution; the stem of inverted
                residuals ends with half as many.
            stages: For each stage its blocks, each with the keys channels, stride, shortcut, groups
                and, optionally, deformable (see `ResidualBlock`).
            init_cfg: mmdet's initialisation config. The default is that of mmdet's ResNet and
                MobileNetV2: He for convolutions, and zero for the last BN of every residual block.
        """
        super().__init__(init_cfg)
        inverted = kind == "inverted_residual"
        kernel = 3 if inverted else 7
        self.conv1 = nn.Conv2d(3, stem_channels, kernel, stride=2, padding=kernel // 2, bias=False)
        self.bn1 = nn.BatchNorm2d(stem_channels)
        self.relu = nn.ReLU6(inplace=True) if inverted else nn.ReLU(inplace=True)
        width = stem_channels // 2 if inverted else stem_channels
        self.stem_end = (
            InvertedResidual(
                stem_channels,
                width,
                mid_channels=stem_channels,
                with_expand_conv=False,
                act_cfg={"type": "ReLU6"},
            )
            if inverted
            else nn.MaxPool2d(3, stride=2, padding=1)
        )
        for number, blocks in enumerate(stages, start=1):
            layer = nn.Sequential()
            for block in blocks:
                layer.append(ResidualBlock(kind, width, **block))
                width = block["channels"][-1]
            self.add_module(f"layer{number}", layer)
        self.num_stages = len(stages)

    def init_weights(self) -> None:
        """Initialise convolutions by He and BN weights by 1; the last BN weight of every residual
        block and the offsets of every deformable convolution by 0."""
        if self.init_cfg:
            super().init_weights()
            return
        for module in self.modules():
            if isinstance(module, nn.Conv2d | ModulatedDeformConv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(module, nn.BatchNorm2d):
                module.reset_parameters()
        for module in self.modules():
            # Without a shortcut a zero would cut the network in two.
            if isinstance(module, ResidualBlock) and not module.linear:
                nn.init.zeros_(module.last_bn.weight)
            elif isinstance(module, ModulatedDeformConv2dPack):
                nn.init.zeros_(module.conv_offset.weight)
                nn.init.zeros_(module.conv_offset.bias)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Images N x 3 x H x W -> (C2, C3, C4, C5) at strides 4, 8, 16, 32."""
        x = self.stem_end(self.relu(self.bn1(self.conv1(x))))
        outputs: list[Tensor] = []
        for number in range(1, self.num_stages + 1):
            x = self.get_submodule(f"layer{number}")(x)
            outputs.append(x)
        return tuple(outputs)
