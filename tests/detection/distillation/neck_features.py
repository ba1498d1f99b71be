"""Pairs, neck features and objects whose numbers a test chooses."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import torch
from mmdet.models.task_modules import AnchorGenerator
from numpy.typing import NDArray
from torch import Tensor, nn

from detection.data.coco import CocoSplit
from detection.distillation.method import Pair, Sizes

Floats = NDArray[np.float64]


def sizes(
    channels: int,
    strides: tuple[int, ...] = (8, 16),
    *,
    two_stage: bool = False,
    anchors: AnchorGenerator | None = None,
) -> Sizes:
    """Of a detector for 4 classes."""
    return Sizes(
        two_stage=two_stage,
        num_classes=4,
        strides=strides,
        neck_channels=channels,
        embedding_channels=None,
        num_anchors=1,
        anchors=anchors,
    )


def pair(student: Sizes, teacher: Sizes) -> Pair:
    """Without images: methods on neck features read none when they are built."""
    return Pair(student=student, teacher=teacher, train_split=cast(CocoSplit, None))


def neck(channels: int, *strides: int, seed: int = 0, num_images: int = 2) -> dict[int, Tensor]:
    """Random features of images of 64 x 32 pixels (W x H), by stride, in float64."""
    generator = torch.Generator().manual_seed(seed)
    return {
        stride: torch.randn(
            num_images,
            channels,
            32 // stride,
            64 // stride,
            generator=generator,
            dtype=torch.float64,
        )
        for stride in strides
    }


def holding(*objects: Sequence[Sequence[float]]) -> Any:
    """A batch with the boxes of each image, xyxy in pixels."""
    boxes = [torch.tensor(image, dtype=torch.float64).view(-1, 4) for image in objects]
    return SimpleNamespace(
        samples=[SimpleNamespace(gt_instances=SimpleNamespace(bboxes=b)) for b in boxes]
    )


def adapted(convolution: nn.Module, features: Tensor) -> Floats:
    """A 1x1 convolution in NumPy."""
    weight, bias = (value.numpy() for value in convolution.state_dict().values())
    mapped = np.einsum("oc,nchw->nohw", weight[:, :, 0, 0], features.detach().numpy())
    return np.asarray(mapped + bias[None, :, None, None])
