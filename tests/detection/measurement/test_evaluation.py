"""AP agrees with pycocotools, and boxes come back in the original image's pixels."""

import contextlib
import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from detection.build import build_detector
from detection.data.coco import CocoSplit
from detection.data.shapes import make_shapes
from detection.measurement.evaluation import Detection, evaluate, predict, score
from searchd.domain.accuracy import Accuracy
from searchd.domain.architecture import preset
from searchd.domain.detector import Detector
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


def by_pycocotools(split: Split, detections: list[Detection]) -> list[float]:
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(split.spec.annotations))
        evaluation = COCOeval(truth, truth.loadRes(detections), "bbox")
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
