"""What a detector value says about itself, and what the families share and do not."""

import pytest

from searchd.domain.architecture import preset
from searchd.domain.detector import Detector, Family, MmdetDetector
from searchd.domain.errors import InvalidValueError
from searchd.spec import HeadSpec
from searchd.spec.codecs import DETECTOR

R18 = preset("resnet18")


def of(family: Family, **values: object) -> Detector:
    return Detector(architecture=R18, family=family, **values)  # type: ignore[arg-type]  # any field


@pytest.mark.parametrize(
    ("family", "two_stage", "strides", "head_shape", "level_scale"),
    [
        (Family.FASTER_RCNN, True, (4, 8, 16, 32, 64), (1024,), 8.0),
        (Family.MASK_RCNN, True, (4, 8, 16, 32, 64), (1024, 256), 8.0),
        (Family.CASCADE_RCNN, True, (4, 8, 16, 32, 64), (1024,), 8.0),
        (Family.CASCADE_MASK_RCNN, True, (4, 8, 16, 32, 64), (1024, 256), 8.0),
        (Family.RETINANET, False, (8, 16, 32, 64, 128), (256, 4), 4.0),
        (Family.FCOS, False, (8, 16, 32, 64, 128), (256, 4), 8.0),
        (Family.ATSS, False, (8, 16, 32, 64, 128), (256, 4), 8.0),
        (Family.GFL, False, (8, 16, 32, 64, 128), (256, 4), 8.0),
        (Family.VFNET, False, (8, 16, 32, 64, 128), (256, 3), 8.0),
        (Family.TOOD, False, (8, 16, 32, 64, 128), (256, 6), 8.0),
    ],
)
def test_family_decides_levels_head_and_scale(
    family: Family,
    two_stage: bool,
    strides: tuple[int, ...],
    head_shape: tuple[int, ...],
    level_scale: float,
) -> None:
    detector = of(family)

    assert family.two_stage is two_stage
    assert detector.strides == strides
    assert detector.head_shape == head_shape
    assert detector.level_scale == level_scale
    assert of(family, anchor_scale=3.0).level_scale == 3.0


@pytest.mark.parametrize("family", Family)
def test_detector_of_every_family_survives_json(family: Family) -> None:
    detector = of(family, num_classes=3, tower_convs=2, anchor_scale=2.0)

    assert DETECTOR.validate_json(DETECTOR.dump_json(detector)) == detector


def test_tood_needs_a_tower_of_eight_channels() -> None:
    expected = "tower_channels=7 is too few for a tood.*give at least 8"

    with pytest.raises(InvalidValueError, match=expected):
        of(Family.TOOD, tower_channels=7)
    with pytest.raises(ValueError, match=expected):
        HeadSpec(family=Family.TOOD, tower_channels=7)
    assert of(Family.TOOD, tower_channels=8).head_shape == (8, 6)
    assert of(Family.VFNET, tower_channels=7).head_shape == (7, 3)


def test_head_without_a_number_of_convolutions_has_that_of_its_family() -> None:
    convs = [HeadSpec(family=family).detector(R18, 3).num_tower_convs for family in Family]

    assert dict(zip(Family, convs, strict=True)) == dict.fromkeys(Family, 4) | {
        Family.VFNET: 3,
        Family.TOOD: 6,
    }


def test_detector_stored_before_there_were_families_still_reads() -> None:
    stored = DETECTOR.dump_python(Detector(architecture=R18), mode="json")
    for added in ("tower_channels", "tower_convs", "mask_channels"):
        del stored[added]
    stored["anchor_scale"] = 8.0

    assert DETECTOR.validate_python(stored).level_scale == 8.0


@pytest.mark.parametrize(
    "field", ["tower_channels", "tower_convs", "head_channels", "mask_channels"]
)
def test_head_without_width_is_refused(field: str) -> None:
    with pytest.raises(InvalidValueError, match=f"{field}=0 must be at least 1"):
        of(Family.FCOS, **{field: 0})


def test_head_spec_has_every_number_of_the_detector() -> None:
    head = HeadSpec(
        family=Family.FCOS,
        neck_channels=16,
        head_channels=5,
        mask_channels=7,
        tower_channels=24,
        tower_convs=2,
        anchor_scale=2.0,
        finest_roi_scale=14,
        num_proposals=50,
        sampled_rois=64,
    )

    assert head.detector(R18, 3) == of(
        Family.FCOS,
        num_classes=3,
        neck_channels=16,
        head_channels=5,
        mask_channels=7,
        tower_channels=24,
        tower_convs=2,
        anchor_scale=2.0,
        finest_roi_scale=14,
        num_proposals=50,
        sampled_rois=64,
    )


def test_mmdet_detector_has_classes_and_a_hash() -> None:
    detector = MmdetDetector(config="ssd300_coco", options={"backbone.depth": 13})

    assert detector.num_classes == 80
    assert hash(detector) == hash(MmdetDetector(config="ssd300_coco"))
    assert detector != MmdetDetector(config="ssd300_coco")
    with pytest.raises(InvalidValueError, match="num_classes=0 must be at least 1"):
        MmdetDetector(config="ssd300_coco", num_classes=0)
