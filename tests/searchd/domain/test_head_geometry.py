"""What a head's numbers mean, and which methods refuse a teacher whose numbers mean others."""

from dataclasses import replace
from typing import Any

import pytest

from searchd.domain.architecture import preset
from searchd.domain.detector import Detector, Family
from searchd.domain.distillation_methods import MethodName
from searchd.domain.head_geometry import HeadGeometry, difference, geometry
from searchd.domain.method_fit import Traits, misfit, traits


def detector(family: Family = Family.FASTER_RCNN, **values: Any) -> Detector:
    return Detector(architecture=preset("resnet18"), family=family, **values)


def like(**changes: Any) -> Traits:
    """A Faster R-CNN teacher of mmdet with some numbers of another meaning."""
    found = traits(detector())
    return replace(found, anchor_scale=None, geometry=replace(geometry(detector()), **changes))


def test_a_faster_rcnn_has_three_anchors_on_each_of_five_levels() -> None:
    found = geometry(detector())

    assert found.anchors[:4] == ((45.25, 22.63), (32.0, 32.0), (22.63, 45.25), (90.51, 45.25))
    assert found.anchors[-2] == (512.0, 512.0)
    assert len(found.anchors) == 15
    assert found.dense_units == (0, 0, 0, 0, 1, 1, 1, 1)
    assert found.roi_units == (0, 0, 0, 0, 0.1, 0.1, 0.2, 0.2)


def test_a_cascade_predicts_one_box_for_all_classes_in_units_of_each_stage() -> None:
    found = geometry(detector(Family.CASCADE_RCNN))

    assert found.class_agnostic
    assert found.roi_units[12:16] == (0.05, 0.05, 0.1, 0.1)
    assert len(found.roi_units) == 24


def test_retinanet_has_nine_anchors_on_each_level_and_fcos_has_ranges() -> None:
    retinanet, fcos = geometry(detector(Family.RETINANET)), geometry(detector(Family.FCOS))

    assert len(retinanet.anchors) == 45
    assert retinanet.anchors[3:6] == ((32.0, 32.0), (40.32, 40.32), (50.8, 50.8))
    assert (fcos.anchors, fcos.ranges) == ((), (64, 128, 256, 512))


def test_atss_and_gfl_have_one_square_anchor_on_each_level_and_say_other_things_of_it() -> None:
    atss, gfl = geometry(detector(Family.ATSS)), geometry(detector(Family.GFL))

    squares = ((64.0, 64.0), (128.0, 128.0), (256.0, 256.0), (512.0, 512.0), (1024.0, 1024.0))
    assert atss.anchors == gfl.anchors == squares
    assert (atss.dense_units, atss.largest_distance) == ((0, 0, 0, 0, 0.1, 0.1, 0.2, 0.2), None)
    assert (gfl.dense_units, gfl.largest_distance) == ((), 16)


def test_vfnet_and_tood_predict_distances_and_have_the_anchors_of_atss() -> None:
    atss, vfnet, tood = map(geometry, map(detector, (Family.ATSS, Family.VFNET, Family.TOOD)))

    assert vfnet.anchors == tood.anchors == atss.anchors
    assert (vfnet.ranges, vfnet.dense_units) == ((64, 128, 256, 512), ())
    assert (tood.ranges, tood.dense_units) == ((), ())


@pytest.mark.parametrize("name", ["head_transfer", "inheriting"])
@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (
            {"anchors": ((22.63, 11.31), *geometry(detector()).anchors[1:])},
            "anchors (width, height in pixels): (45.25, 22.63) of the student, (22.63, 11.31)",
        ),
        (
            {"dense_units": (0, 0, 0, 0, 0.1, 0.1, 0.2, 0.2)},
            "means and deviations of the first stage's box deltas: 1.0 of the student, 0.1 of the",
        ),
        ({"finest_roi_scale": 28}, "pixels of the finest RoI scale: 56 of the student, 28 of the"),
    ],
    ids=["anchors", "coder", "RoI scale"],
)
def test_a_copied_head_whose_numbers_mean_others_is_refused(
    name: str, changes: dict[str, Any], reason: str
) -> None:
    found = str(misfit(MethodName(name), traits(detector()), like(**changes)))

    assert found.startswith(f"{name} needs a teacher whose head means the same; {reason}")


@pytest.mark.parametrize("name", ["localisation", "class_aware_localisation"])
def test_box_deltas_in_other_units_or_for_all_classes_at_once_cannot_be_compared(
    name: str,
) -> None:
    student, method = traits(detector()), MethodName(name)
    other_units = like(roi_units=(0, 0, 0, 0, 0.05, 0.05, 0.1, 0.1))

    assert "0.1 of the student, 0.05 of the teacher" in str(misfit(method, student, other_units))
    assert "one box for all classes: False of the student, True of the teacher" in str(
        misfit(method, student, like(class_agnostic=True))
    )
    assert misfit(method, student, like(finest_roi_scale=28)) is None


@pytest.mark.parametrize("name", ["proposal_feature", "sgfi"])
@pytest.mark.parametrize("family", [Family.FASTER_RCNN, Family.FCOS])
def test_regions_of_another_number_of_cells_cannot_be_compared(name: str, family: Family) -> None:
    student, teacher = traits(detector(family)), like(region_size=14)

    assert "cells along a region's side: 7 of the student, 14 of the teacher" in str(
        misfit(MethodName(name), student, teacher)
    )


def test_a_geometry_that_is_not_known_refuses_nothing() -> None:
    assert difference(None, HeadGeometry()) is None
    assert difference(HeadGeometry(), HeadGeometry(ranges=(64.0,))) == (
        "distances of the levels in pixels: 0 of the student, 1 of the teacher"
    )
