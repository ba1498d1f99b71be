"""Every input that people have is read right or refused with file, record and cure."""

from pathlib import Path

import mmcv
import numpy as np
import pytest
import torch

from detection.data.batches import TrainingBatches, fixed_batches
from detection.data.coco import CocoSplit, check_dataset
from detection.data.inspection import inspect_dataset
from detection.measurement.evaluation import Detection, score
from searchd.domain.errors import DataError
from searchd.domain.resolution import Resolution
from searchd.spec import DatasetSpec
from tests.detection.data import field_cases, field_image_cases
from tests.detection.data.field_draft import CASES, COLOURS, Case, good, write

ODD_PIXELS = ("pixels_of_16_bits", "pixels_png_l", "pixels_png_la", "pixels_png_1", "pixels_jpeg_l")
"""Cases whose pixels have no colour."""
REGISTERED_BY = (field_cases, field_image_cases)
"""Modules that register their cases when they are imported."""
ACCEPTED = [case for case in CASES if case.expect != "refuse"]
REFUSED = [case for case in CASES if case.expect == "refuse"]


def dataset(case: Case, folder: Path) -> DatasetSpec:
    draft = good()
    case.edit(draft)
    return write(draft, folder)


def perfect(split: CocoSplit) -> list[Detection]:
    """Return the annotated boxes as detections."""
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


def test_good_data_set_has_no_findings(tmp_path: Path) -> None:
    found = inspect_dataset(write(good(), tmp_path)).as_json()

    assert found["accepted"]
    assert found["warnings"] == found["faults"] == found["repairs"] == []


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.name)
def test_data_set_is_refused_with_the_reason(case: Case, tmp_path: Path) -> None:
    spec = dataset(case, tmp_path)

    with pytest.raises(DataError) as caught:
        check_dataset(spec)

    assert case.word in str(caught.value)
    assert ".json" in str(caught.value)
    found = inspect_dataset(spec).as_json()
    assert not found["accepted"]
    assert found["faults"][0]["examples"]


@pytest.mark.parametrize("case", ACCEPTED, ids=lambda case: case.name)
def test_data_set_is_accepted_and_its_oddities_are_reported(case: Case, tmp_path: Path) -> None:
    found = inspect_dataset(dataset(case, tmp_path)).as_json()

    reported = [each["message"] for each in found["warnings"] + found["repairs"]]
    assert found["faults"] == []
    if case.expect == "accept":
        assert reported == []
    assert any(case.word in message for message in reported) or not case.word


@pytest.mark.parametrize("case", ACCEPTED, ids=lambda case: case.name)
def test_boxes_are_where_they_were_drawn(case: Case, tmp_path: Path) -> None:
    split = CocoSplit(dataset(case, tmp_path).train)

    record, image = split.records[0], split.image(0)

    assert image.shape == (record.height, record.width, 3)
    # mmcv leaves WebP as stored, and does not read files that end too early.
    if not case.name.endswith("webp") and "last bytes" not in case.word:
        assert np.array_equal(image, mmcv.imread(str(record.path), channel_order="rgb"))
    for box, label in zip(record.boxes.astype(int), record.labels, strict=True):
        x1, y1, x2, y2 = box
        inside = np.median(image[y1:y2, x1:x2].reshape(-1, 3), axis=0)
        category = {"red": 1, "blue": 2}.get(split.class_names[label])
        if case.name not in (*ODD_PIXELS, "two_classes_of_one_name") and category is not None:
            np.testing.assert_allclose(inside, COLOURS[category], atol=25)


@pytest.mark.parametrize("case", ACCEPTED, ids=lambda case: case.name)
def test_batches_can_be_made(case: Case, tmp_path: Path) -> None:
    split = CocoSplit(dataset(case, tmp_path).train)
    both = [Resolution(96, 96), Resolution(64, 64)]

    batches = TrainingBatches(split, batch_size=2, resolutions=both, seed=0)
    made = [batches.batch(step) for step in range(batches.num_iterations * 2)]
    fixed = list(fixed_batches(split, both[0], 8))

    assert all(torch.isfinite(batch.inputs).all() for batch in made + fixed)
    assert min(min(sample.img_shape) for batch in fixed for sample in batch.samples) >= 1


@pytest.mark.parametrize("case", ACCEPTED, ids=lambda case: case.name)
def test_perfect_detections_have_ap_1(case: Case, tmp_path: Path) -> None:
    spec = dataset(case, tmp_path)

    for split in (CocoSplit(spec.train), CocoSplit(spec.validation)):
        found = score(split, perfect(split)).ap
        bounded = case.name == "many_boxes" and split.spec == spec.train  # 100 detections
        assert found == pytest.approx(1) or bounded
