"""What the heads of every family cost (docs/papers.md 0.4)."""

from dataclasses import replace
from math import ceil

import pytest

from detection.measurement.complexity import count
from searchd.domain.architecture import preset
from searchd.domain.detector import Detector, Family
from searchd.domain.resolution import Resolution

TINY = Detector(
    architecture=preset("resnet18", base_channels=8),
    num_classes=3,
    neck_channels=6,
    head_channels=5,
    tower_channels=8,
    tower_convs=2,
    num_proposals=11,
)


def test_retinanet_equals_the_figure_in_mmdets_manual() -> None:
    detector = Detector(architecture=preset("resnet50"), family=Family.RETINANET)

    counted = count(detector, Resolution(1280, 800))

    assert counted.macs / 1e9 == pytest.approx(239.32, rel=1e-4)
    # The manual's example of get_flops names no config; only RetinaNet R50 has these two numbers.
    # It leaves out what is frozen, stem and first stage: 225,344 parameters.
    assert (counted.params - 225_344) / 1e6 == pytest.approx(37.74, rel=1e-4)


def test_retinanet_equals_a_closed_form() -> None:
    counted = count(replace(TINY, family=Family.RETINANET), Resolution(101, 75))

    conv = 8 * (9 * 6 + 1) + 8 * (9 * 8 + 1) + 2 * 8  # two layers with bias and ReLU
    predictions = (9 * 3 + 9 * 4) * (9 * 8 + 1)
    head = sum(level_areas()) * (2 * conv + predictions)
    assert counted.macs - counted.backbone_macs == one_stage_neck(p6_inputs=64) + head


def test_fcos_equals_a_closed_form() -> None:
    counted = count(replace(TINY, family=Family.FCOS), Resolution(101, 75))

    # Group norm 2 and ReLU 1 per element, as batch norm.
    conv = 8 * (9 * 6 + 1) + 8 * (9 * 8 + 1) + 2 * 8 * (2 + 1)
    predictions = (3 + 4 + 1) * (9 * 8 + 1)
    head = sum(level_areas()) * (2 * conv + predictions)
    relu_of_p6 = level_areas()[3] * 6
    assert counted.macs - counted.backbone_macs == one_stage_neck(p6_inputs=6) + head + relu_of_p6


@pytest.mark.parametrize(
    ("family", "box_outputs"),
    [
        (Family.ATSS, 4 + 1),  # a box and its centerness
        (Family.GFL, 4 * 17),  # 0 to 16 strides for each side
    ],
)
def test_adaptive_families_equal_a_closed_form(family: Family, box_outputs: int) -> None:
    counted = count(replace(TINY, family=family), Resolution(101, 75))

    conv = 8 * 9 * 6 + 8 * 9 * 8 + 2 * 8 * (2 + 1)  # without bias; group norm and ReLU
    predictions = (3 + box_outputs) * (9 * 8 + 1)
    head = sum(level_areas()) * (2 * conv + predictions)
    assert counted.macs - counted.backbone_macs == one_stage_neck(p6_inputs=6) + head


def test_vfnet_equals_a_closed_form() -> None:
    counted = count(replace(TINY, family=Family.VFNET), Resolution(101, 75))

    # Two towers and a convolution of the first box's; group norm and ReLU.
    convs = 2 * (8 * 9 * 6 + 8 * 9 * 8) + 8 * 9 * 8 + 5 * 8 * (2 + 1)
    sampled = 2 * (8 * 9 * 8 + 8)  # convolutions of what is sampled, and ReLU
    predictions = (4 + 4 + 3) * (9 * 8 + 1)  # two boxes and the scores
    head = sum(level_areas()) * (convs + sampled + predictions)
    relu_of_p6 = level_areas()[3] * 6
    assert counted.macs - counted.backbone_macs == one_stage_neck(p6_inputs=6) + head + relu_of_p6


def test_tood_equals_a_closed_form() -> None:
    counted = count(replace(TINY, family=Family.TOOD), Resolution(101, 75))

    tower = 8 * 9 * 6 + 8 * 9 * 8 + 2 * 8 * (2 + 1)
    weights = 2 * ((16 * 1 + 1 + 1) + (1 + 1) * 2)  # 16 maps, one of an eighth of the channels
    reduced = 2 * (16 * 8 + 8 * (2 + 1))  # for classes and boxes
    predictions = (3 + 4) * (9 * 8 + 1)
    # Of all maps: the probability of an object, and two offsets for each side.
    of_all = sum((16 + 1 + 1) * 2 + outputs * (9 * 2 + 1) for outputs in (1, 8))
    each_cell = tower + reduced + predictions + of_all
    head = sum(level_areas()) * each_cell + len(level_areas()) * weights
    assert counted.macs - counted.backbone_macs == one_stage_neck(p6_inputs=6) + head


def test_every_proposal_passes_the_three_heads_of_a_cascade() -> None:
    faster = count(TINY, Resolution(64, 64))
    cascade = count(replace(TINY, family=Family.CASCADE_RCNN), Resolution(64, 64))

    def head(box_outputs: int) -> int:
        outputs = 4 + box_outputs  # three classes and background
        return 11 * (294 * 5 + 5 * 5 + 5 * outputs + 2 * 5) + 2 * 5 + outputs

    assert cascade.macs - faster.macs == 3 * head(4) - head(12)


def level_areas() -> list[int]:
    """Cells of P3..P7 of an image of 101 x 75."""
    width, height, areas = 101, 75, []
    for level in range(1, 8):
        width, height = ceil(width / 2), ceil(height / 2)
        if level >= 3:
            areas.append(width * height)
    return areas


def one_stage_neck(p6_inputs: int) -> int:
    """Lateral 1x1 and output 3x3 on C3..C5, 3x3 of stride 2 for P6 and P7."""
    areas = level_areas()
    lateral = sum(a * 6 * (c + 1) for a, c in zip(areas, (16, 32, 64), strict=False))
    outputs = sum(areas[:3]) * 6 * (9 * 6 + 1)
    extra = areas[3] * 6 * (9 * p6_inputs + 1) + areas[4] * 6 * (9 * 6 + 1)
    return lateral + outputs + extra
