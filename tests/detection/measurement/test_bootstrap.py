"""AP from matches is COCO's, of all images and of any multiset of them."""

import contextlib
import io
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from detection.data.coco import CocoSplit
from detection.measurement.bootstrap import average_precision, resample, resampled_ap
from detection.measurement.evaluation import Detection
from detection.measurement.matches import ClassMatches, match, match_image
from searchd.spec import SplitSpec


def crowded_document(num_images: int, num_classes: int, seed: int) -> dict[str, Any]:
    """Overlapping objects, some crowds, and images without objects."""
    rng = np.random.default_rng(seed)
    annotations: list[dict[str, Any]] = []
    for image in range(num_images):
        for _ in range(int(rng.integers(0, 6))):
            width, height = (int(side) for side in rng.integers(8, 40, 2))
            left, top = (int(edge) for edge in rng.integers(0, 24, 2))
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image + 1,
                    "category_id": int(rng.integers(1, num_classes + 1)),
                    "bbox": [left, top, width, height],
                    "area": width * height,
                    "iscrowd": int(rng.uniform() < 0.15),
                }
            )
    return {
        "images": [
            {"id": i + 1, "file_name": f"{i}.png", "width": 64, "height": 64}
            for i in range(num_images)
        ],
        "annotations": annotations,
        "categories": [{"id": i + 1, "name": f"class {i}"} for i in range(num_classes)],
    }


def noisy_detections(document: dict[str, Any], seed: int) -> list[Detection]:
    """Jittered true boxes, several of some objects, with wrong classes, and false ones."""
    rng = np.random.default_rng(seed)
    num_classes = len(document["categories"])
    found: list[Detection] = []
    for annotation in document["annotations"]:
        for _ in range(int(rng.integers(0, 4))):
            wrong = rng.uniform() < 0.2
            category = int(rng.integers(1, num_classes + 1))
            found.append(
                {
                    "image_id": annotation["image_id"],
                    "category_id": category if wrong else annotation["category_id"],
                    "bbox": (np.array(annotation["bbox"]) * rng.normal(1, 0.06, 4)).tolist(),
                    "score": float(rng.uniform()),
                }
            )
    for image in document["images"]:
        left, top, width, height = (float(number) for number in rng.integers(4, 30, 4))
        found.append(
            {
                "image_id": image["id"],
                "category_id": int(rng.integers(1, num_classes + 1)),
                "bbox": [left, top, width, height],
                "score": float(rng.uniform()),
            }
        )
    return found


def by_pycocotools(document: dict[str, Any], detections: list[Detection]) -> float:
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = document
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(detections), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return float(evaluation.stats[0])


def multiset(
    document: dict[str, Any], detections: list[Detection], counts: list[int]
) -> tuple[dict[str, Any], list[Detection]]:
    """The document and the detections of a multiset of the images, each copy an image."""
    copies = [
        image for image, count in zip(document["images"], counts, strict=True) for _ in range(count)
    ]
    images = [image | {"id": number} for number, image in enumerate(copies, start=1)]
    annotations = [
        annotation | {"image_id": number}
        for number, image in enumerate(copies, start=1)
        for annotation in document["annotations"]
        if annotation["image_id"] == image["id"]
    ]
    numbered = [{**each, "id": number} for number, each in enumerate(annotations, start=1)]
    found = [
        detection | {"image_id": number}
        for number, image in enumerate(copies, start=1)
        for detection in detections
        if detection["image_id"] == image["id"]
    ]
    return document | {"images": images, "annotations": numbered}, found


def make_split(folder: Path, document: dict[str, Any]) -> CocoSplit:
    for image in document["images"]:
        Image.new("RGB", (64, 64)).save(folder / image["file_name"])
    annotations = folder / "annotations.json"
    annotations.write_text(json.dumps(document))
    return CocoSplit(SplitSpec(annotations=annotations, images=folder))


def matches_of(
    folder: Path, *, num_images: int, num_classes: int, seed: int
) -> tuple[tuple[ClassMatches, ...], dict[str, Any], list[Detection]]:
    document = crowded_document(num_images, num_classes, seed)
    # The split clips boxes to their images, so that the reference gets the split's own document.
    split = make_split(folder, document)
    detections = noisy_detections(document, seed + 1)
    return match(split, detections), split.ground_truth(), detections


@pytest.mark.parametrize("seed", range(5))
def test_ap_of_all_images_once_is_that_of_pycocotools(tmp_path: Path, seed: int) -> None:
    matches, document, detections = matches_of(tmp_path, num_images=30, num_classes=3, seed=seed)

    (found,) = average_precision(matches, np.ones((1, 30), dtype=np.int64))

    assert any(annotation["iscrowd"] for annotation in document["annotations"])
    assert len({a["image_id"] for a in document["annotations"]}) < 30  # some have no objects
    assert 0.1 < found < 0.9
    assert found == pytest.approx(by_pycocotools(document, detections), abs=1e-9)


def test_ap_of_resamples_is_that_of_copied_images(tmp_path: Path) -> None:
    matches, document, detections = matches_of(tmp_path, num_images=8, num_classes=3, seed=3)
    counts = resample(8, num_resamples=40, seed=1)

    found = average_precision(matches, counts)

    assert len(set(found.round(6))) > 30
    expected = [by_pycocotools(*multiset(document, detections, row)) for row in counts.tolist()]
    np.testing.assert_allclose(found, expected, atol=1e-9)


def test_ap_of_images_without_objects_is_undefined(tmp_path: Path) -> None:
    matches, document, _ = matches_of(tmp_path, num_images=8, num_classes=3, seed=3)
    with_objects = {a["image_id"] for a in document["annotations"] if not a["iscrowd"]}
    counts = np.array([[int(image not in with_objects) for image in range(1, 9)]])

    assert counts.sum() > 0
    assert average_precision(matches, counts).tolist() == [-1.0]


def test_ap_without_detections_is_zero(tmp_path: Path) -> None:
    document = crowded_document(4, 2, seed=0)
    matches = match(make_split(tmp_path, document), [])

    assert average_precision(matches, np.ones((2, 4), dtype=np.int64)).tolist() == [0.0, 0.0]


def test_every_split_has_the_same_resamples_each_time() -> None:
    counts = resample(5, num_resamples=3)

    assert counts.sum(axis=1).tolist() == [5, 5, 5]
    np.testing.assert_array_equal(counts, resample(5, num_resamples=3))
    assert not np.array_equal(counts, resample(5, num_resamples=3, seed=1))


def test_a_detection_matches_one_object_and_a_crowd_any_number_of_them() -> None:
    detections: list[Detection] = [{"bbox": [0.0, 0.0, 10.0, 10.0], "score": 1.0}] * 3

    one = match_image(detections, np.array([[0.0, 0, 10, 10]]), np.zeros((0, 4)))
    crowd = match_image(detections, np.array([[0.0, 0, 10, 10]]), np.array([[0.0, 0, 60, 60]]))

    assert one[0].all(axis=0).tolist() == [True, False, False]
    assert not one[1].any()
    assert crowd[0].all(axis=0).tolist() == [True, False, False]
    assert crowd[1].all(axis=0).tolist() == [False, True, True]


def test_a_thousand_resamples_of_a_hundred_images_take_seconds(tmp_path: Path) -> None:
    matches, document, detections = matches_of(tmp_path, num_images=100, num_classes=3, seed=0)
    started_s = time.process_time()

    found = resampled_ap(matches)

    assert time.process_time() - started_s < 5
    assert len(found) == 1000
    assert found.mean() == pytest.approx(by_pycocotools(document, detections), abs=0.02)
