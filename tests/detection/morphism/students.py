"""Tiny students for the tests of actions, and what a student computes."""

from dataclasses import replace

import torch
from mmcv.ops import ModulatedDeformConv2dPack
from torch import Tensor, nn

from detection.build import Student, build_detector, load_student
from searchd.domain.architecture import Architecture, Block, BlockKind, Shortcut, preset
from searchd.domain.detector import Detector, Family

BASIC = preset("resnet18", base_channels=8)
BOTTLENECK = replace(
    preset("resnet50", base_channels=8),
    stages=tuple(stage[:2] for stage in preset("resnet50", base_channels=8).stages),
)
GROUPED = replace(
    BOTTLENECK,
    stages=tuple(
        tuple(replace(block, groups=4) for block in blocks) for blocks in BOTTLENECK.stages
    ),
)
_MOBILENET = preset("mobilenet_v2", base_channels=8).stages
INVERTED = Architecture(
    # One block of each width and one that repeats it: 6, 8, 16 and 24, 40 and 80 channels.
    kind=BlockKind.INVERTED_RESIDUAL,
    stem_channels=8,
    stages=(
        _MOBILENET[0],
        _MOBILENET[1][:2],
        (*_MOBILENET[2][:2], *_MOBILENET[2][4:6]),
        (*_MOBILENET[3][:2], _MOBILENET[3][3]),
    ),
)
DEFORMABLE = replace(
    BOTTLENECK,
    stages=(
        *BOTTLENECK.stages[:2],
        *(tuple(replace(b, deformable=True) for b in stage) for stage in BOTTLENECK.stages[2:]),
    ),
)
REARRANGED = Architecture(
    # As the paper's R101 student: stage 3 starts with blocks of stage 2's width.
    kind=BlockKind.BOTTLENECK,
    stem_channels=8,
    stages=(
        (Block(channels=(8, 8, 16), shortcut=Shortcut.PROJECTION),),
        (Block(channels=(9, 10, 24), stride=2, shortcut=Shortcut.PROJECTION),),
        (
            Block(channels=(11, 10, 24), stride=2, shortcut=Shortcut.SUBSAMPLE),
            Block(channels=(7, 8, 24)),
            Block(channels=(12, 12, 40), shortcut=Shortcut.PROJECTION),
        ),
        (
            Block(channels=(12, 8, 40), stride=2, shortcut=Shortcut.SUBSAMPLE),
            Block(channels=(9, 11, 40)),
        ),
    ),
)


BLOCK_KINDS = {
    "basic": BASIC,
    "bottleneck": BOTTLENECK,
    "grouped": GROUPED,
    "inverted": INVERTED,
}
"""The block kinds that a search edits."""
ARCHITECTURES = BLOCK_KINDS | {"deformable": DEFORMABLE, "rearranged": REARRANGED}
"""And two that a search or an upgrade leads to."""


def make_student(
    architecture: Architecture, *, family: Family = Family.FASTER_RCNN, seed: int = 0
) -> Student:
    """A student whose BNs all have weights in [0.5, 1.5], biases and statistics of their own.

    Deformable convolutions sample off the grid.
    """
    detector = Detector(
        architecture=architecture,
        family=family,
        num_classes=3,
        neck_channels=16,
        head_channels=32,
        mask_channels=8,
        tower_channels=24,  # 8 groups of 3: GroupNorm needs more than one value at P7's 1x1
        tower_convs=1,
        num_proposals=20,
    )
    torch.manual_seed(seed)
    model = build_detector(detector)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for name in ("weight", "running_var"):
                nn.init.uniform_(getattr(module, name), 0.5, 1.5)
            for name in ("bias", "running_mean"):
                nn.init.normal_(getattr(module, name), 0.0, 0.1)
        elif isinstance(module, ModulatedDeformConv2dPack):
            nn.init.normal_(module.conv_offset.weight, 0.0, 0.1)
    return Student(detector=detector, weights=model.state_dict())


def image(*, batch: int = 1) -> Tensor:
    """batch x 3 x 64 x 96, normalised."""
    return torch.randn(batch, 3, 64, 96, generator=torch.Generator().manual_seed(3))


def outputs(student: Student, images: Tensor, *, train: bool = False) -> list[Tensor]:
    """C2..C5, each N x C x H/s x W/s, then the FPN's levels, each N x neck x H/s x W/s."""
    model = load_student(student).to(images.dtype).train(train)
    with torch.no_grad():
        features = model.backbone(images)
        return [*features, *model.neck(features)]


def channels(student: Student) -> list[list[tuple[int, ...]]]:
    """Channels of every block, stage by stage."""
    return [[b.channels for b in stage] for stage in student.detector.architecture.stages]


def strides(student: Student) -> list[list[int]]:
    return [[b.stride for b in stage] for stage in student.detector.architecture.stages]


def shortcuts(student: Student) -> list[list[str]]:
    return [[b.shortcut.value for b in stage] for stage in student.detector.architecture.stages]
