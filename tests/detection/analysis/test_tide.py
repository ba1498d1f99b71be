"""The six errors by hand, and AP that is COCO's."""

from typing import Any

import numpy as np
import pytest
import torch

from detection.analysis.tide import THRESHOLDS, Errors, errors
from detection.data.coco import CocoSplit, read_document
from detection.data.shapes import make_shapes
from detection.measurement.evaluation import Detection, predict, score
from searchd.domain.breakdown import ErrorKind
from searchd.domain.detector import Family
from searchd.domain.errors import InvalidValueError
from searchd.domain.resolution import Resolution
from tests.detection.distillation.teaching import student_of

CAT, DOG = 1, 2
OBJECT = [0.0, 0.0, 10.0, 10.0]
"""x, y, width, height; the IoU with it of a box of the same size, moved by s to the right, is
(10 - s) / (10 + s)."""


def moved(pixels: float) -> list[float]:
    return [pixels, 0.0, 10.0, 10.0]


def truth(
    *objects: tuple[int, list[float]], crowds: tuple[list[float], ...] = ()
) -> dict[str, Any]:
    """One image, 5, with these objects; crowds are of cats. Image 6 is empty."""
    annotations = [
        {"id": i, "image_id": 5, "category_id": category, "bbox": box, "iscrowd": 0}
        for i, (category, box) in enumerate(objects, start=1)
    ]
    annotations += [
        {"id": 50 + i, "image_id": 5, "category_id": CAT, "bbox": box, "iscrowd": 1}
        for i, box in enumerate(crowds)
    ]
    return {"images": [{"id": 6}, {"id": 5}], "annotations": annotations}


def found(category: int, box: list[float], value: float = 0.9, image: int = 5) -> Detection:
    return {"image_id": image, "category_id": category, "bbox": box, "score": value}


def at_half(document: dict[str, Any], *detections: Detection) -> Errors:
    return errors(document, detections, [0.5])[0]


def only(kind: ErrorKind, number: int = 1) -> dict[ErrorKind, int]:
    return {each: number if each is kind else 0 for each in ErrorKind}


def test_a_detector_that_finds_the_object_makes_no_error() -> None:
    result = at_half(truth((CAT, OBJECT)), found(CAT, moved(3)))  # IoU 7/13
    assert result.ap == pytest.approx(1)
    assert set(result.counts.values()) == {0}
    assert set(result.lost_ap.values()) == {0}


@pytest.mark.parametrize(
    ("detection", "kind"),
    [
        (found(DOG, moved(1)), ErrorKind.CLASSIFICATION),
        (found(CAT, moved(5)), ErrorKind.LOCALISATION),  # IoU 1/3
    ],
)
def test_a_repairable_error_costs_all_of_the_ap_and_misses_nothing(
    detection: Detection, kind: ErrorKind
) -> None:
    result = at_half(truth((CAT, OBJECT)), detection)
    assert result.ap == 0
    assert result.counts == only(kind)
    assert result.lost_ap[kind] == pytest.approx(1)


@pytest.mark.parametrize(
    ("detection", "kind"),
    [
        (found(DOG, moved(5)), ErrorKind.BOTH),
        (found(CAT, moved(9)), ErrorKind.BACKGROUND),  # IoU 1/19
        (found(DOG, moved(9)), ErrorKind.BACKGROUND),
        (found(CAT, OBJECT, image=6), ErrorKind.BACKGROUND),  # no object in that image
    ],
)
def test_any_other_false_detection_is_removed_and_its_object_missed(
    detection: Detection, kind: ErrorKind
) -> None:
    result = at_half(truth((CAT, OBJECT)), detection)
    assert result.counts == only(kind) | {ErrorKind.MISSED: 1}
    assert result.lost_ap[kind] == 0  # removing it finds nothing


@pytest.mark.parametrize(
    ("box", "kind"),
    [
        (moved(1), ErrorKind.DUPLICATE),
        (moved(5), ErrorKind.LOCALISATION),
        (moved(50), ErrorKind.BACKGROUND),
    ],
)
def test_a_false_detection_above_the_true_one_halves_precision(
    box: list[float], kind: ErrorKind
) -> None:
    """The object that a localisation error points at is found already: an oracle removes it."""
    hit, other = found(CAT, OBJECT, 0.9), found(CAT, [30.0, 30.0, 10.0, 10.0], 0.8)
    document = truth((CAT, OBJECT), (CAT, [30.0, 30.0, 10.0, 10.0]))
    result = at_half(document, hit, found(CAT, box, 0.85), other)
    # Precision is 1 up to recall 0.5 (51 of 101 points), then 2/3.
    assert result.ap == pytest.approx((51 + 50 * 2 / 3) / 101)
    assert result.counts == only(kind)
    assert result.lost_ap[kind] == pytest.approx(1 - result.ap)


def test_missed_objects_leave_the_count_when_repaired() -> None:
    result = at_half(truth((CAT, OBJECT), (CAT, [50.0, 50.0, 9.0, 9.0])), found(CAT, OBJECT))
    assert result.ap == pytest.approx(51 / 101)
    assert result.counts == only(ErrorKind.MISSED)
    assert result.lost_ap[ErrorKind.MISSED] == pytest.approx(50 / 101)


def test_only_the_best_of_several_errors_on_one_object_is_repaired() -> None:
    """The other one is removed; classification and localisation share one best detection."""
    twice = at_half(truth((CAT, OBJECT)), found(DOG, OBJECT, 0.9), found(DOG, moved(1), 0.8))
    assert twice.counts == only(ErrorKind.CLASSIFICATION, 2)
    assert twice.lost_ap[ErrorKind.CLASSIFICATION] == pytest.approx(1)

    mixed = at_half(truth((CAT, OBJECT)), found(DOG, OBJECT, 0.8), found(CAT, moved(5), 0.9))
    assert mixed.counts == only(ErrorKind.CLASSIFICATION) | {ErrorKind.LOCALISATION: 1}
    # Cats alone: the localisation error is a hit. Dogs do not occur, and are detected: AP 0.
    assert mixed.lost_ap[ErrorKind.LOCALISATION] == pytest.approx(0.5)
    assert mixed.lost_ap[ErrorKind.CLASSIFICATION] == 0


def test_bounds_are_inclusive_in_the_references_order() -> None:
    """IoU 0.1 of the own class is a localisation error, though no more than background's; IoU 0.5
    of another class is a classification error."""
    tenth, half = [0.0, 0.0, 10.0, 1.0], [0.0, 0.0, 10.0, 5.0]
    assert at_half(truth((CAT, OBJECT)), found(CAT, tenth)).counts[ErrorKind.LOCALISATION] == 1
    assert at_half(truth((CAT, OBJECT)), found(DOG, tenth)).counts[ErrorKind.BACKGROUND] == 1
    assert at_half(truth((CAT, OBJECT)), found(DOG, half)).counts[ErrorKind.CLASSIFICATION] == 1
    assert at_half(truth((CAT, OBJECT)), found(CAT, half)).ap == pytest.approx(1)


def test_the_own_class_is_tested_before_another_class() -> None:
    document = truth((DOG, OBJECT), (CAT, moved(5)))
    assert at_half(document, found(CAT, OBJECT)).counts[ErrorKind.LOCALISATION] == 1


def test_a_class_that_does_not_occur_counts_as_ap_zero() -> None:
    detections = [found(CAT, OBJECT), found(DOG, [60.0, 0.0, 5.0, 5.0])]
    assert at_half(truth((CAT, OBJECT)), *detections).ap == pytest.approx(0.5)


def test_detections_in_a_crowd_of_their_class_are_no_errors() -> None:
    document = truth((CAT, OBJECT), crowds=([40.0, 40.0, 30.0, 30.0],))
    inside = [45.0, 45.0, 5.0, 5.0]
    of_class = at_half(document, found(CAT, OBJECT, 0.5), found(CAT, inside))
    of_other = at_half(document, found(CAT, OBJECT, 0.5), found(DOG, inside))
    assert of_class.ap == pytest.approx(1)
    assert set(of_class.counts.values()) == {0}
    assert of_other.counts == only(ErrorKind.BACKGROUND)


def test_nothing_at_all_is_ap_zero() -> None:
    assert at_half(truth()).ap == 0
    assert at_half(truth((CAT, OBJECT))).counts == only(ErrorKind.MISSED)


def test_detections_on_unknown_images_are_refused() -> None:
    with pytest.raises(InvalidValueError, match="on image 7, which the ground truth does not"):
        at_half(truth((CAT, OBJECT)), found(CAT, OBJECT, image=7))


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> CocoSplit:
    folder = tmp_path_factory.mktemp("shapes")
    spec = make_shapes(folder, num_train=1, num_validation=24, image_size=128, max_objects=6)
    return CocoSplit(spec.validation)


def noisy(split: CocoSplit, deviation: float, seed: int = 0) -> list[Detection]:
    """The true boxes, displaced, some of a wrong class, some twice; and one on background."""
    rng = np.random.default_rng(seed)
    return [
        found(
            int(rng.integers(1, 5)) if rng.uniform() < 0.2 else annotation["category_id"],
            (np.array(annotation["bbox"]) * rng.normal(1, deviation, 4)).tolist(),
            float(rng.uniform()),
            annotation["image_id"],
        )
        for annotation in read_document(split.spec.annotations)["annotations"]
        for _ in range(int(rng.integers(0, 3)))
    ]


@pytest.mark.parametrize("seed", range(3))
def test_ap_is_cocos_where_every_class_occurs(split: CocoSplit, seed: int) -> None:
    detections = noisy(split, 0.05, seed)
    result = errors(read_document(split.spec.annotations), detections)
    coco = score(split, detections)
    assert 0.2 < coco.ap < 0.9
    assert result[0].ap == pytest.approx(coco.ap50, abs=1e-12)
    assert result[5].ap == pytest.approx(coco.ap75, abs=1e-12)
    assert np.mean([each.ap for each in result]) == pytest.approx(coco.ap, abs=1e-12)


def test_ap_is_cocos_for_a_detectors_own_detections(split: CocoSplit) -> None:
    torch.manual_seed(0)
    model = student_of(Family.FASTER_RCNN)
    torch.nn.init.normal_(model.roi_head.bbox_head.fc_cls.weight)  # or nothing is found
    detected = predict(model, split, Resolution(64, 64))
    detections = [each for batch in detected for each in batch]
    result = errors(read_document(split.spec.annotations), detections, [0.5])
    assert result[0].ap == pytest.approx(score(split, detections).ap50, abs=1e-12)
    assert result[0].ap > 1e-4


def test_localisation_errors_grow_with_the_threshold_and_others_shrink(split: CocoSplit) -> None:
    result = errors(read_document(split.spec.annotations), noisy(split, 0.05))
    assert tuple(each.threshold for each in result) == THRESHOLDS
    lost = {kind: [each.lost_ap[kind] for each in result] for kind in ErrorKind}
    assert lost[ErrorKind.LOCALISATION][0] < 0.1 < 0.3 < lost[ErrorKind.LOCALISATION][-1]
    for kind in (ErrorKind.CLASSIFICATION, ErrorKind.DUPLICATE):
        assert lost[kind][-1] < lost[kind][0]
    assert all(value >= 0 for values in lost.values() for value in values)
