"""AP by class and by kind of error, and detections on sample images, of a split of shapes."""

from pathlib import Path
from typing import Any

import pytest

from detection.analysis.breakdown import break_down, sample_predictions
from detection.data.coco import CocoSplit
from detection.data.shapes import make_shapes
from detection.measurement.evaluation import Detection, score, score_by_class
from searchd.domain.breakdown import ErrorKind
from searchd.domain.resolution import Resolution


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> CocoSplit:
    folder = tmp_path_factory.mktemp("shapes")
    spec = make_shapes(folder, num_train=1, num_validation=12, image_size=64)
    return CocoSplit(spec.validation)


def perfect(split: CocoSplit) -> list[Detection]:
    """Every object, found with certainty."""
    return [
        {
            "image_id": record.image_id,
            "category_id": split.category_ids[label],
            "bbox": [x1, y1, x2 - x1, y2 - y1],
            "score": 0.9,
        }
        for record in split.records
        for (x1, y1, x2, y2), label in zip(
            record.boxes.tolist(), record.labels.tolist(), strict=True
        )
    ]


def test_a_class_that_is_called_another_costs_its_ap_as_classification_errors(
    split: CocoSplit,
) -> None:
    first, second = split.category_ids[:2]
    found = [
        each | {"category_id": second if each["category_id"] == first else each["category_id"]}
        for each in perfect(split)
    ]
    precision, class_aps = score_by_class(split, found)

    result = break_down(split, found, class_aps)

    assert precision == score(split, found)
    assert result.class_aps[split.class_names[0]] == 0
    confused = sum(int((record.labels == 0).sum()) for record in split.records)
    assert result.errors[ErrorKind.CLASSIFICATION].count == confused > 0
    assert result.errors[ErrorKind.CLASSIFICATION].lost_ap > 0.2
    assert result.errors[ErrorKind.MISSED].count == 0
    assert result.num_error_images == 12


def test_errors_are_counted_on_some_images_of_a_large_split(split: CocoSplit) -> None:
    result = break_down(split, [], {}, max_images=3)

    assert result.num_error_images == 3
    chosen = [split.records[index] for index in (0, 5, 11)]
    assert result.errors[ErrorKind.MISSED].count == sum(len(each.labels) for each in chosen)


def test_sample_images_have_the_best_detections_by_score(split: CocoSplit) -> None:
    record = next(each for each in split.records if len(each.labels))
    box: dict[str, Any] = {"image_id": record.image_id, "category_id": split.category_ids[2]}
    found = [
        box | {"bbox": [1.04, 2, 3, 4], "score": 0.4},
        box | {"bbox": [5, 6, 7, 8], "score": 0.80001},
        box | {"bbox": [5, 6, 7, 8], "score": 0.01},
    ]

    result = sample_predictions(split, Resolution(64, 64), found)

    assert len(result.images) == 4
    first = result.images[0]
    assert Path(first.path) == record.path
    assert [(each.score, each.bbox) for each in first.boxes] == [
        (0.8, (5, 6, 7, 8)),
        (0.4, (1.0, 2, 3, 4)),
    ]
    assert first.boxes[0].class_name == split.class_names[2]
    assert result.images[1].boxes == ()
