"""Measures a detector's COCO AP on a split, at one resolution: of boxes, and of masks if it finds
masks."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal

import torch
from faster_coco_eval import COCO, COCOeval_faster
from mmdet.models import BaseDetector
from mmdet.structures import DetDataSample

from detection.data.batches import Batch, fixed_batches
from detection.data.coco import CocoSplit
from detection.data.masks import as_segmentation, encoded
from detection.data.record_ids import RecordId
from detection.eval_mode import eval_mode
from searchd.domain.accuracy import Accuracy
from searchd.domain.errors import DataError
from searchd.domain.resolution import Resolution

Detection = dict[str, Any]
"""One detection in COCO's result format: image_id and category_id as the annotation file has them,
bbox (x, y, width, height in pixels of the original image), score; segmentation (RLE) if the
detector finds masks."""


_STATS = (
    *("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large"),
    *("ar1", "ar10", "ar100", "ar_small", "ar_medium", "ar_large"),
)
"""What COCO's summary consists of, in its order."""
_FURTHER = {"ap70": 4, "ap90": 8}
"""Further APs that are read from the same evaluation: the indices of their IoU thresholds."""


def evaluate(
    model: BaseDetector,
    split: CocoSplit,
    resolution: Resolution,
    *,
    device: torch.device | str = "cpu",
    batch_size: int = 8,
) -> Accuracy:
    """Detect on every image of the split and compare the detections with its annotations.

    Args:
        model: The detector, on `device`. Its mode is the same afterwards.
        split: Usually the validation split.
        resolution: Long-side maximum and short-side target, in pixels.
        device: Device of the model.
        batch_size: Images per batch. It has no influence on the result.
    """
    found = predict(model, split, resolution, device=device, batch_size=batch_size)
    return score(split, [detection for batch in found for detection in batch])


def predict(
    model: BaseDetector,
    split: CocoSplit,
    resolution: Resolution,
    *,
    device: torch.device | str = "cpu",
    batch_size: int = 8,
) -> Iterator[list[Detection]]:
    """Yield the detections of each batch, so that a caller can report and stop in between.

    For the arguments see `evaluate`. The model is in eval mode only while a batch is computed.
    """
    for batch in fixed_batches(split, resolution, batch_size):
        yield _predict_batch(model, split, batch.to(device))


def score(split: CocoSplit, detections: list[Detection]) -> Accuracy:
    """Compute COCO's metrics of the detections on all images of the split.

    Raises:
        DataError: A detection is of an image that the split does not have.
    """
    return score_by_class(split, detections)[0]


def class_aps(split: CocoSplit, detections: list[Detection]) -> dict[str, float]:
    """Compute COCO's AP of each class on all images of the split, by the name of the class.

    Returns:
        APs in [0, 1]; -1, as in COCO, of a class without objects.

    Raises:
        DataError: A detection is of an image that the split does not have.
    """
    return score_by_class(split, detections)[1]


def score_by_class(
    split: CocoSplit, detections: list[Detection]
) -> tuple[Accuracy, dict[str, float]]:
    """Return both what `score` and what `class_aps` return, in the time of one of them."""
    evaluation = _evaluated(split, detections)
    figures = dict(zip(_STATS, map(float, evaluation.stats), strict=True))
    further = {name: _known_mean(_precision(evaluation)[at]) for name, at in _FURTHER.items()}
    accuracy = Accuracy(**figures, **further, **_mask_figures(split, detections))
    return accuracy, _class_aps(split, evaluation)


def _mask_figures(split: CocoSplit, detections: list[Detection]) -> dict[str, float]:
    """Return the figures of masks; none if there are no masks to compare."""
    with_mask = [_without_box(each) for each in detections if "segmentation" in each]
    if not with_mask or not split.has_masks:
        return {}
    stats = _evaluated(split, with_mask, "segm").stats
    return {"mask_ap": float(stats[0]), "mask_ap50": float(stats[1])}


def _without_box(detection: Detection) -> Detection:
    """Return a detection whose size is that of its mask."""
    return {name: value for name, value in detection.items() if name != "bbox"}


def _precision(evaluation: COCOeval_faster) -> Any:
    """Return the precision of objects of all sizes with most detections: IoU x recall x class."""
    return evaluation.eval["precision"][:, :, :, 0, -1]


def _known_mean(values: Any) -> float:
    """Return the mean of the values that are known; -1 if none is."""
    known = values[values > -1]
    return float(known.mean()) if known.size else -1.0


def _class_aps(split: CocoSplit, evaluation: COCOeval_faster) -> dict[str, float]:
    precision = _precision(evaluation)
    return {
        name: _known_mean(precision[:, :, label]) for label, name in enumerate(split.class_names)
    }


def _evaluated(
    split: CocoSplit, detections: list[Detection], by: Literal["bbox", "segm"] = "bbox"
) -> COCOeval_faster:
    document = split.ground_truth(masks=by == "segm")
    for annotation in document["annotations"] if by == "segm" else ():
        annotation.setdefault("segmentation", [corners(annotation["bbox"])])
    truth = COCO(document)
    found = truth.loadRes(renumbered(split, detections))
    evaluation = COCOeval_faster(truth, found, by, print_function=_silent)
    evaluation.run()
    return evaluation


def corners(bbox: list[float]) -> list[float]:
    """Return the polygon of a box (x, y, width, height), for a crowd without a mask."""
    x, y, width, height = bbox
    return [x, y, x + width, y, x + width, y + height, x, y + height]


def _predict_batch(model: BaseDetector, split: CocoSplit, batch: Batch) -> list[Detection]:
    with eval_mode(model), torch.inference_mode():
        samples = model.predict(batch.inputs, batch.samples, rescale=True)
    return [detection for sample in samples for detection in _detections(sample, split)]


def _detections(sample: DetDataSample, split: CocoSplit) -> Iterable[Detection]:
    found = sample.pred_instances
    boxes = torch.cat([found.bboxes[:, :2], found.bboxes[:, 2:] - found.bboxes[:, :2]], dim=1)
    for number, (box, value, label) in enumerate(
        zip(boxes.tolist(), found.scores.tolist(), found.labels.tolist(), strict=True)
    ):
        yield {
            "image_id": sample.img_id,
            "category_id": split.category_ids[label],
            "bbox": box,
            "score": value,
            **_segmentation(found, number),
        }


def _segmentation(found: Any, number: int) -> dict[str, Any]:
    """Return the mask of a detection, if the detector finds masks."""
    if "masks" not in found:
        return {}
    mask = found.masks[number].cpu().numpy()  # height x width of the original image
    return {"segmentation": as_segmentation(encoded(mask), *mask.shape[::-1])}


def renumbered(split: CocoSplit, detections: Iterable[Detection]) -> list[Detection]:
    """Return detections with the ids of `CocoSplit.ground_truth`.

    Detections of a category that the split does not have are left out: they match nothing.
    """
    images = {record.image_id: number for number, record in enumerate(split.records, start=1)}
    categories = {identity: label + 1 for label, identity in enumerate(split.category_ids)}
    return [
        detection
        | {
            "image_id": _image(detection, images),
            "category_id": categories[detection["category_id"]],
        }
        for detection in detections
        if detection["category_id"] in categories
    ]


def _image(detection: Detection, images: Mapping[RecordId, int]) -> int:
    identity = detection["image_id"]
    if identity not in images:
        raise DataError(f"a detection is of image {identity!r}, which the split does not have")
    return images[identity]


def _silent(*_: object) -> None:
    """Replace the print function of COCO's tools, so that they print nothing."""
