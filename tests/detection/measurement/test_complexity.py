"""Complexity agrees with the papers' tables and with two independent counts
(docs/papers.md 1.11)."""

from dataclasses import replace
from math import ceil

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from detection.build import build_detector
from detection.measurement.complexity import count, count_backbone, count_model
from detection.mmdet.config import assemble_mmdet
from searchd.domain.architecture import Architecture, Block, BlockKind, Shortcut, preset
from searchd.domain.detector import Detector, Family, MmdetDetector
from searchd.domain.encoding import parse
from searchd.domain.resolution import Resolution

R18_STUDENT = (
    "[(64, 64)], [(128, 128)-(128, 128)], [(256, 256)-(256, 256)], [(512, 512)-(512, 512)]"
)
R50_STUDENT = (
    "[(58, 59, 205)-(60, 64, 205)-(63, 62, 205)], "
    "[(127, 128, 314)-(109, 122, 314)-(127, 123, 314)-(125, 124, 314)], "
    "[(256, 255, 591)-(243, 245, 591)-(237, 247, 591)-(243, 246, 591)-(252, 244, 591)"
    "-(252, 254, 591)], [(509, 507, 1856)-(509, 506, 1856)-(508, 507, 1856)]"
)


@pytest.mark.parametrize(
    ("architecture", "resolution", "printed_g"),
    [
        (preset("resnet18"), "1333x800", 160.5),
        (preset("resnet50"), "1333x800", 215.8),
        (preset("resnet101"), "1333x800", 295.7),
        (parse(R18_STUDENT, BlockKind.BASIC), "1080x720", 117.3),
        (parse(R50_STUDENT, BlockKind.BOTTLENECK), "1080x720", 145.7),
    ],
    ids=["R18-FPN", "R50-FPN", "R101-FPN", "R18 student", "R50 student"],
)
def test_macs_of_detectors_equal_the_printed_ones(
    architecture: Architecture, resolution: str, printed_g: float
) -> None:
    counted = count(Detector(architecture=architecture), Resolution.parse(resolution))

    assert counted.macs / 1e9 == pytest.approx(printed_g, rel=0.0015)


def test_macs_of_the_r50_backbone_equal_the_printed_ones() -> None:
    counted = count(Detector(architecture=preset("resnet50")), Resolution(1280, 800))

    assert counted.backbone_macs / 1e9 == pytest.approx(84.1, rel=0.005)


@pytest.mark.parametrize(("name", "params"), [("resnet18", 28_684_256), ("resnet50", 41_753_056)])
def test_params_equal_the_built_detectors(name: str, params: int) -> None:
    detector = Detector(architecture=preset(name))
    built = sum(parameter.numel() for parameter in build_detector(detector).parameters())

    assert count(detector, Resolution(64, 64)).params == built == params


def test_macs_equal_a_closed_form_when_blocks_are_irregular() -> None:
    detector = Detector(
        architecture=IRREGULAR,
        num_classes=3,
        neck_channels=6,
        head_channels=5,
        num_proposals=11,
    )

    counted = count(detector, Resolution(101, 75))

    backbone = backbone_closed_form(IRREGULAR, 101, 75)
    assert counted.backbone_macs == backbone
    assert counted.macs == backbone + heads_closed_form(detector, 101, 75)


@pytest.mark.parametrize("name", ["resnet18", "resnext101_32x4d"])
def test_multiplications_equal_torchs_flop_counter(name: str) -> None:
    detector = Detector(
        architecture=preset(name, base_channels=16),
        neck_channels=16,
        head_channels=32,
        num_proposals=3,
    )
    model = build_detector(detector).eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model.backbone(torch.zeros(1, 3, 70, 90))

    counted = count(detector, Resolution(90, 70)).backbone_macs

    # torch counts a multiply-accumulate as 2 and convolutions only.
    others = elementwise_closed_form(detector.architecture, 90, 70)
    assert counted == counter.get_total_flops() / 2 + others


def test_macs_of_inverted_residuals_equal_a_closed_form() -> None:
    architecture = Architecture(
        kind=BlockKind.INVERTED_RESIDUAL,
        stem_channels=4,
        stages=tuple(
            (Block(channels=(6, 3 + i), stride=2, shortcut=Shortcut.NONE),) for i in range(4)
        ),
    )

    counted = count(Detector(architecture=architecture, neck_channels=8), Resolution(64, 64))

    pixels = [(64 >> i) ** 2 for i in range(1, 6)]  # of the stem and of C2..C5
    # First convolution 3 -> 4, depthwise 4, linear 4 -> 2; BN 2 and ReLU6 1 per element.
    stem = pixels[0] * (4 * 27 + 4 * 3 + 4 * 9 + 4 * 3 + 2 * 4 + 2 * 2)
    blocks = sum(
        # Expansion to 6 before the stride, depthwise and linear convolution after it.
        before * 6 * (inputs + 3) + after * (6 * (9 + 3) + outputs * (6 + 2))
        for before, after, inputs, outputs in zip(
            pixels, pixels[1:], (2, 3, 4, 5), (3, 4, 5, 6), strict=False
        )
    )
    assert counted.backbone_macs == stem + blocks


def test_deformable_convolution_costs_its_offsets_beside_the_convolution() -> None:
    plain = Detector(architecture=IRREGULAR)
    entry = IRREGULAR.stages[2][0]  # 9 x 6/3 x 3 x 3 in 3 groups, at stride 16
    deformable = Detector(architecture=IRREGULAR.with_stage(3, (replace(entry, deformable=True),)))

    before, after = (count(detector, Resolution(64, 64)) for detector in (plain, deformable))

    # 2 coordinates and a mask for 9 places, from all 6 inputs, with bias, on 4 x 4 cells.
    assert after.backbone_macs - before.backbone_macs == 16 * 27 * (6 * 9 + 1)
    assert after.params - before.params == 27 * (6 * 9 + 1)


def test_backbone_macs_do_not_depend_on_neck_and_head() -> None:
    small = Detector(architecture=IRREGULAR, neck_channels=8, head_channels=8)
    large = Detector(architecture=IRREGULAR, neck_channels=16, head_channels=64)

    counts = [count(detector, Resolution(64, 64)) for detector in (small, large)]

    assert counts[0].backbone_macs == counts[1].backbone_macs
    assert counts[0].macs < counts[1].macs


def test_proposals_cost_the_two_linear_layers_and_the_predictions() -> None:
    few, many = (
        Detector(
            architecture=IRREGULAR,
            num_classes=3,
            neck_channels=6,
            head_channels=5,
            num_proposals=number,
        )
        for number in (1, 2)
    )

    extra = count(many, Resolution(64, 64)).macs - count(few, Resolution(64, 64)).macs

    # 294 = 6 * 7 * 7 inputs; 4 scores and 12 deltas; 2 * 5 ReLU elements; biases only once.
    assert extra == 294 * 5 + 5 * 5 + 5 * (4 + 12) + 2 * 5


def _blocks(*blocks: Block) -> tuple[Block, ...]:
    return blocks


IRREGULAR = Architecture(
    kind=BlockKind.BOTTLENECK,
    stem_channels=5,
    stages=(
        _blocks(Block(channels=(3, 4, 7), shortcut=Shortcut.PROJECTION), Block(channels=(2, 6, 7))),
        _blocks(
            Block(channels=(4, 4, 7), stride=2, shortcut=Shortcut.SUBSAMPLE, groups=2),
            Block(channels=(5, 3, 9), shortcut=Shortcut.PROJECTION),
        ),
        _blocks(Block(channels=(6, 9, 12), stride=2, shortcut=Shortcut.PROJECTION, groups=3)),
        _blocks(Block(channels=(6, 5, 8), stride=2, shortcut=Shortcut.PROJECTION)),
    ),
)


def backbone_closed_form(architecture: Architecture, width: int, height: int) -> int:
    """Convolutions without bias, plus everything that is counted per element."""
    h, w = ceil(height / 2), ceil(width / 2)
    total = h * w * architecture.stem_channels * 3 * 49
    h, w = ceil(h / 2), ceil(w / 2)
    for placed in architecture.placed_blocks():
        inputs, block = placed.in_channels, placed.block
        out_h, out_w = ceil(h / block.stride), ceil(w / block.stride)
        if block.shortcut is Shortcut.PROJECTION:
            total += out_h * out_w * block.out_channels * inputs
        strided = architecture.kind.strided_conv
        for conv, channels in enumerate(block.channels):
            kernel = 9 if architecture.kind is BlockKind.BASIC or conv == 1 else 1
            area = h * w if conv < strided else out_h * out_w
            groups = block.groups if conv == strided else 1
            total += area * channels * (inputs // groups) * kernel
            inputs = channels
        h, w = out_h, out_w
    return total + elementwise_closed_form(architecture, width, height)


def elementwise_closed_form(architecture: Architecture, width: int, height: int) -> int:
    """BN 2, ReLU 1 (one after every convolution but the projection), the stem's pooling 1."""
    h, w = ceil(height / 2), ceil(width / 2)
    total = h * w * architecture.stem_channels * (2 + 1 + 1)
    h, w = ceil(h / 2), ceil(w / 2)
    for placed in architecture.placed_blocks():
        block = placed.block
        out_h, out_w = ceil(h / block.stride), ceil(w / block.stride)
        for conv, channels in enumerate(block.channels):
            area = h * w if conv < architecture.kind.strided_conv else out_h * out_w
            total += area * channels * (2 + 1)
        if block.shortcut is Shortcut.PROJECTION:
            total += out_h * out_w * block.out_channels * 2
        h, w = out_h, out_w
    return total


def heads_closed_form(detector: Detector, width: int, height: int) -> int:
    """FPN, RPN on P2..P6 and the RoI head, with their biases."""
    neck, head = detector.neck_channels, detector.head_channels
    areas = [ceil(width / stride) * ceil(height / stride) for stride in (4, 8, 16, 32, 64)]
    total = 0
    for area, inputs in zip(areas[:4], detector.architecture.out_channels, strict=True):
        total += area * neck * (inputs + 1) + area * neck * (9 * neck + 1)
    rpn = neck * (9 * neck + 1) + neck + (3 + 12) * (neck + 1)
    total += sum(areas) * rpn
    outputs = detector.num_classes + 1 + 4 * detector.num_classes
    per_proposal = 49 * neck * head + head * head + head * outputs + 2 * head
    return total + detector.num_proposals * per_proposal + 2 * head + outputs


def test_a_backbones_parts_add_up_to_it() -> None:
    architecture, resolution = preset("resnet50", base_channels=8), Resolution(160, 96)
    whole = count(Detector(architecture=architecture), resolution)
    parts = count_backbone(architecture, resolution)
    assert parts.stem_macs + sum(parts.stage_macs) == whole.backbone_macs
    assert len(parts.stage_macs) == 4
    model = build_detector(Detector(architecture=architecture))
    assert parts.params == sum(p.numel() for p in model.backbone.parameters())


def test_a_stages_share_is_its_blocks() -> None:
    """A plain R18 stage at 96x96: two blocks of two 3x3 convolutions, BN and ReLU, at 24x24."""
    plain = count_backbone(preset("resnet18"), Resolution(96, 96))
    stem = 48 * 48 * 64 * (3 * 49 + 2 + 1 + 1)
    assert plain.stem_macs == stem
    assert plain.stage_macs[0] == 4 * 24 * 24 * 64 * (64 * 9 + 2 + 1)
    deeper = count_backbone(preset("resnet34"), Resolution(96, 96))
    assert deeper.stage_macs[0] == 1.5 * plain.stage_macs[0]
    assert deeper.stem_macs == stem


@pytest.mark.parametrize("family", Family)
@pytest.mark.parametrize("deformable", [False, True])
def test_a_model_that_runs_counts_as_its_description(family: Family, deformable: bool) -> None:
    architecture = preset("resnet50", base_channels=4)
    if deformable:
        *rest, last = architecture.stages
        last = tuple(replace(block, deformable=True) for block in last)
        architecture = replace(architecture, stages=(*rest, last))
    detector = Detector(
        architecture=architecture,
        family=family,
        num_classes=4,
        neck_channels=8,
        head_channels=16,
        mask_channels=8,
        tower_channels=8,
        num_proposals=20,
    )
    resolution = Resolution(96, 64)

    assert count_model(build_detector(detector), resolution) == count(detector, resolution)


def test_attention_of_swin_is_counted() -> None:
    """By hand, at 224 x 224, for one block of the first stage with windows of 7 x 7."""
    options = {"backbone.depths": (1, 1, 1, 1), "backbone.out_indices": (1, 2, 3)}
    config = "retinanet_swin-t-p4-w7_fpn_1x_coco"
    whole = assemble_mmdet(MmdetDetector(config=config, options=options))
    deeper = assemble_mmdet(
        MmdetDetector(config=config, options=options | {"backbone.depths": (2, 1, 1, 1)})
    )
    tokens, channels, window = 56 * 56, 96, 49

    resolution = Resolution(224, 224)
    one, two = count_model(whole, resolution), count_model(deeper, resolution)

    products = 2 * tokens * window * channels  # queries by keys, and weights by values
    linear = tokens * channels * (3 + 1 + 4 + 4) * channels + (3 + 1 + 4 + 1) * channels
    norms_and_gelu = 2 * 2 * tokens * channels + tokens * 4 * channels
    assert two.macs - one.macs == products + linear + norms_and_gelu
    assert two.macs - one.macs == two.backbone_macs - one.backbone_macs
    assert one.params == sum(parameter.numel() for parameter in whole.parameters())


def test_masks_are_among_the_parameters_alone() -> None:
    small = {"backbone.embed_dims": 24, "backbone.depths": (1, 1, 1, 1)}
    small |= {"neck.in_channels": [24, 48, 96, 192], "test_cfg.rpn.max_per_img": 5}
    with_mask = MmdetDetector(config="mask-rcnn_swin-t-p4-w7_fpn_1x_coco", options=small)
    model = assemble_mmdet(with_mask)
    counted = count_model(model, Resolution(64, 64))
    mask_params = sum(parameter.numel() for parameter in model.roi_head.mask_head.parameters())

    model.roi_head.mask_head = torch.nn.Identity()

    without = count_model(model, Resolution(64, 64))
    assert without.macs == counted.macs
    assert without.params == counted.params - mask_params
