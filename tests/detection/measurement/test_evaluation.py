"""AP agrees with pycocotools, and boxes come back in the original image's pixels."""

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from detection.build import build_detector
from detection.data.coco import CocoSplit
from detection.data.masks import as_segmentation, drawn, encoded
from detection.data.shapes import make_shapes
from detection.measurement.bootstrap import average_precision
from detection.measurement.evaluation import Detection, evaluate, predict, score
from detection.measurement.matches import match
from searchd.domain.accuracy import Accuracy, ApKind
from searchd.domain.architecture import preset
from searchd.domain.detector import Detector, Family
from searchd.domain.resolution import Resolution
from searchd.spec import SplitSpec

Split = CocoSplit


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> CocoSplit:
    folder = tmp_path_factory.mktemp("shapes")
    spec = make_shapes(folder, num_train=1, num_validation=24, image_size=256, max_objects=6)
    return CocoSplit(spec.validation)


def noisy_detections(split: Split, seed: int) -> list[Detection]:
    """Jittered true boxes, some with a wrong class, some dropped, and false ones."""
    rng = np.random.default_rng(seed)
    found = []
    for annotation in json.loads(split.spec.annotations.read_text())["annotations"]:
        for _ in range(int(rng.integers(0, 3))):
            box = np.array(annotation["bbox"]) * rng.normal(1, 0.05, 4)
            wrong = rng.uniform() < 0.2
            category = int(rng.integers(1, 5)) if wrong else annotation["category_id"]
            found.append(
                {
                    "image_id": annotation["image_id"],
                    "category_id": category,
                    "bbox": box.tolist(),
                    "score": float(rng.uniform()),
                }
            )
    return found


def by_pycocotools(split: Split, detections: list[Detection], by: str = "bbox") -> list[float]:
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(split.spec.annotations))
        evaluation = COCOeval(truth, truth.loadRes(detections), by)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return [float(value) for value in evaluation.stats]


def by_pycocotools_at(split: Split, detections: list[Detection], threshold: float) -> float:
    """AP at one IoU threshold."""
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(split.spec.annotations))
        evaluation = COCOeval(truth, truth.loadRes(detections), "bbox")
        evaluation.params.iouThrs = np.array([threshold])
        evaluation.evaluate()
        evaluation.accumulate()
    precision = evaluation.eval["precision"][:, :, :, 0, -1]
    return float(precision[precision > -1].mean())


@pytest.mark.parametrize("seed", range(3))
def test_every_ap_agrees_with_pycocotools(split: CocoSplit, seed: int) -> None:
    detections = noisy_detections(split, seed)

    ours = score(split, detections)

    assert 0.1 < ours.ap < 0.9
    theirs = by_pycocotools(split, detections)
    assert _numbers(ours) == pytest.approx(theirs[:6], abs=1e-12)
    assert _recalls(ours) == pytest.approx(theirs[6:], abs=1e-12)
    assert ours.ap70 == pytest.approx(by_pycocotools_at(split, detections, 0.7), abs=1e-12)
    assert ours.ap90 == pytest.approx(by_pycocotools_at(split, detections, 0.9), abs=1e-12)
    assert ours.ap50 > (ours.ap70 or 1) > (ours.ap90 or 1)


def test_ap_is_one_for_the_truth_itself_and_zero_without_detections(split: CocoSplit) -> None:
    truth = [
        {key: a[key] for key in ("image_id", "category_id", "bbox")} | {"score": 0.9}
        for a in json.loads(split.spec.annotations.read_text())["annotations"]
    ]

    assert _numbers(score(split, truth)) == pytest.approx([1.0] * 6)
    assert _numbers(score(split, [])) == [0.0] * 6
    assert _recalls(score(split, truth))[1:] == pytest.approx([1.0] * 5)
    assert _recalls(score(split, [])) == [0.0] * 6


def test_ap_of_a_size_that_does_not_occur_is_minus_one(tmp_path: Path) -> None:
    small = CocoSplit(make_shapes(tmp_path, num_train=1, num_validation=3, image_size=64).train)

    found = score(small, [])

    assert (found.ap, found.ap_small, found.ap_medium, found.ap_large) == (0, 0, -1, -1)
    assert (found.ar100, found.ar_small, found.ar_medium, found.ar_large) == (0, 0, -1, -1)


def test_optional_fields_of_annotations_are_filled_in(split: CocoSplit, tmp_path: Path) -> None:
    document = json.loads(split.spec.annotations.read_text())
    for annotation in document["annotations"]:
        annotation["area"] = annotation["bbox"][2] * annotation["bbox"][3]
    full, bare = tmp_path / "full.json", tmp_path / "bare.json"
    full.write_text(json.dumps(document))
    for annotation in document["annotations"]:
        del annotation["area"], annotation["iscrowd"]
    bare.write_text(json.dumps(document))

    results = [
        score(
            CocoSplit(SplitSpec(annotations=file, images=split.spec.images)),
            noisy_detections(split, 0),
        )
        for file in (full, bare)
    ]

    assert results[0] == results[1]


def test_detections_do_not_depend_on_the_batch_size_and_use_original_pixels(
    split: CocoSplit,
) -> None:
    torch.manual_seed(0)
    model = build_detector(
        Detector(
            architecture=preset("resnet18", base_channels=8),
            num_classes=4,
            neck_channels=16,
            head_channels=32,
            num_proposals=20,
        )
    )
    torch.nn.init.normal_(model.roi_head.bbox_head.fc_cls.weight, std=1.0)  # or nothing is found

    one = [d for batch in predict(model, split, Resolution(96, 96), batch_size=1) for d in batch]
    five = [d for batch in predict(model, split, Resolution(96, 96), batch_size=5) for d in batch]

    assert model.training
    assert len(one) > 20
    assert [d["image_id"] for d in one] == [d["image_id"] for d in five]
    boxes = np.array([d["bbox"] for d in one])
    np.testing.assert_allclose(boxes, [d["bbox"] for d in five], atol=1e-2)
    # The network saw 96 pixels, the original has 256.
    assert 96 < (boxes[:, :2] + boxes[:, 2:]).max() <= 256.01
    assert evaluate(model, split, Resolution(96, 96)) == score(split, five)


def mask_of(pixels: NDArray[np.bool_], **values: Any) -> Detection:
    """A detection of a mask in an image of 20 x 10 pixels."""
    found = {"image_id": 5, "category_id": 3, "bbox": [0, 0, 1, 1], "score": 0.9}
    return found | {"segmentation": as_segmentation(encoded(pixels), 20, 10)} | values


def square(left: int, right: int, top: int = 0) -> NDArray[np.bool_]:
    """The columns from `left` to `right` of an image of 20 x 10 pixels, below `top`."""
    pixels = np.zeros((10, 20), np.bool_)
    pixels[top:, left:right] = True
    return pixels


@pytest.fixture
def ten_columns(tmp_path: Path) -> CocoSplit:
    """An image of 20 x 10 pixels whose object is its left half; the right half is a crowd."""
    left, right = ({"bbox": [x, 0, 10, 10], "area": 100} for x in (0, 10))
    polygon = [[0, 0, 10, 0, 10, 10, 0, 10]]
    annotations = [
        {"id": 1, "iscrowd": 0, "segmentation": polygon, **left},
        {"id": 2, "iscrowd": 1, **right},
    ]
    document = {
        "images": [{"id": 5, "file_name": "a.png", "width": 20, "height": 10}],
        "annotations": [each | {"image_id": 5, "category_id": 3} for each in annotations],
        "categories": [{"id": 3, "name": "half"}],
    }
    (tmp_path / "a.json").write_text(json.dumps(document))
    return CocoSplit(SplitSpec(annotations=tmp_path / "a.json", images=tmp_path))


def test_mask_ap_counts_the_thresholds_that_the_overlap_of_masks_reaches(
    ten_columns: CocoSplit,
) -> None:
    six_columns_and_two_pixels = square(0, 6)
    six_columns_and_two_pixels[:2, 6] = True  # 62 of 100 pixels: .50, .55 and .60 are reached

    found = score(ten_columns, [mask_of(six_columns_and_two_pixels)])

    assert found.mask_ap == pytest.approx(0.3)
    assert found.mask_ap50 == pytest.approx(1.0)
    assert found.ap == 0.0  # its box overlaps by 1 of 100 pixels


def test_masks_inside_a_crowd_are_ignored_even_if_it_has_a_box_alone(
    ten_columns: CocoSplit,
) -> None:
    whole, in_crowd = mask_of(square(0, 10)), mask_of(square(12, 20), score=0.95)
    beside = mask_of(square(4, 9, top=5), score=0.95)

    assert score(ten_columns, [whole, in_crowd]).mask_ap == pytest.approx(1.0)
    assert score(ten_columns, [whole, beside]).mask_ap == pytest.approx(0.5)


def test_detections_of_boxes_have_no_mask_ap(split: CocoSplit) -> None:
    found = score(split, noisy_detections(split, 0))

    assert (found.mask_ap, found.mask_ap50) == (None, None)


def test_masks_on_a_split_without_masks_have_no_mask_ap(ten_columns: CocoSplit) -> None:
    document = json.loads(ten_columns.spec.annotations.read_text())
    del document["annotations"][0]["segmentation"]
    ten_columns.spec.annotations.write_text(json.dumps(document))
    boxes_alone = CocoSplit(ten_columns.spec)

    assert score(boxes_alone, [mask_of(square(0, 10))]).mask_ap is None


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools'
@pytest.mark.parametrize("seed", range(3))
def test_mask_ap_agrees_with_pycocotools(split: CocoSplit, seed: int) -> None:
    detections = shifted_masks(split, seed)

    ours = score(split, [each | {"bbox": [0, 0, 1, 1]} for each in detections])

    theirs = by_pycocotools(split, detections, "segm")
    assert 0.1 < theirs[0] < 0.9
    assert (ours.mask_ap, ours.mask_ap50) == pytest.approx(theirs[:2], abs=1e-12)


def test_matches_of_masks_have_the_mask_ap_of_the_split(split: CocoSplit) -> None:
    detections = [each | {"bbox": [0, 0, 1, 1]} for each in shifted_masks(split, 0)]

    every = np.ones((1, len(split)), dtype=np.int64)
    (of_masks,) = average_precision(match(split, detections, ApKind.MASK_AP), every)
    (of_boxes,) = average_precision(match(split, detections), every)

    assert of_masks == pytest.approx(score(split, detections).mask_ap, abs=1e-9)
    assert of_boxes < 1e-3  # the boxes are all wrong


def shifted_masks(split: CocoSplit, seed: int) -> list[Detection]:
    """True masks, some moved by some pixels, some with a wrong class, some dropped."""
    rng = np.random.default_rng(seed)
    found = []
    for annotation in json.loads(split.spec.annotations.read_text())["annotations"]:
        for _ in range(int(rng.integers(0, 3))):
            pixels = drawn(annotation["segmentation"]["counts"], 256, 256)
            moved = np.roll(pixels, rng.integers(-6, 7, 2).tolist(), (0, 1))
            wrong = rng.uniform() < 0.2
            found.append(
                {
                    "image_id": annotation["image_id"],
                    "category_id": int(rng.integers(1, 5)) if wrong else annotation["category_id"],
                    "segmentation": as_segmentation(encoded(moved), 256, 256),
                    "score": float(rng.uniform()),
                }
            )
    return found


def test_mask_rcnn_finds_a_mask_of_the_original_image_in_each_box(split: CocoSplit) -> None:
    torch.manual_seed(0)
    detector = Detector(
        architecture=preset("resnet18", base_channels=8),
        num_classes=4,
        family=Family.MASK_RCNN,
        neck_channels=16,
        head_channels=32,
        mask_channels=8,
        num_proposals=20,
    )
    model = build_detector(detector)
    torch.nn.init.normal_(model.roi_head.bbox_head.fc_cls.weight, std=1.0)  # or nothing is found

    found = [d for batch in predict(model, split, Resolution(96, 96)) for d in batch]

    assert len(found) > 20
    assert all(each["segmentation"]["size"] == [256, 256] for each in found)
    for each in found[:20]:
        rows, columns = np.nonzero(drawn(each["segmentation"]["counts"], 256, 256))
        x, y, width, height = each["bbox"]
        assert x - 1 <= columns.min(initial=255)
        assert columns.max(initial=0) <= x + width + 1
        assert y - 1 <= rows.min(initial=255)
        assert rows.max(initial=0) <= y + height + 1
    assert evaluate(model, split, Resolution(96, 96)).mask_ap is not None


def _recalls(found: Accuracy) -> list[float | None]:
    return [
        found.ar1,
        found.ar10,
        found.ar100,
        found.ar_small,
        found.ar_medium,
        found.ar_large,
    ]


def _numbers(found: Accuracy) -> list[float]:
    return [
        found.ap,
        found.ap50,
        found.ap75,
        found.ap_small,
        found.ap_medium,
        found.ap_large,
    ]
