"""Proves that an export finds what its detector finds, and measures both on the data set."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain, islice

from mmdet.models import BaseDetector, TwoStageDetector

from detection.build import predicts_masks
from detection.data.coco import CocoSplit
from detection.deployment.exported import Exported, Found, Request, Runner
from detection.deployment.images import Input, boxes_in_image, prepared, segmentations
from detection.deployment.parity import (
    TOLERANCES,
    Difference,
    Thresholds,
    check_ap,
    check_ap_loss,
    check_detections,
    difference,
    raw_difference,
)
from detection.deployment.torch_runner import TorchRunner
from detection.measurement.evaluation import Detection, class_aps, score
from searchd.domain.accuracy import Accuracy, ApKind
from searchd.domain.export_formats import PRECISIONS

NUM_COMPARED = 32
"""Number of images on which outputs before the selection of boxes are compared, too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitAps:
    """AP on a split."""

    total: Accuracy
    by_class: dict[str, float]
    """AP in [0, 1] of each class; -1 of a class without objects."""
    num_images: int
    """Number of images of the split."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """How an export compares with its detector."""

    num_images: int
    """Number of images that both detected on."""
    raw: float
    """Largest difference of raw outputs, over the larger of 1 and the output."""
    detections: Difference
    aps: SplitAps
    """APs of the export on the validation split."""
    in_torch: Accuracy
    """That of the detector on the same images."""
    example: Input
    """The first image."""


def compare(
    model: BaseDetector,
    exported: Exported,
    request: Request,
    validation: CocoSplit,
    train: CocoSplit,
) -> Comparison:
    """Compare on all validation images; on training images too, if those are fewer than
    `NUM_COMPARED`.

    Args:
        model: The detector in eval mode, on the CPU.
        exported: Its export.
        request: What was written.
        validation: The split that AP is measured on.
        train: The split of further images.

    Raises:
        ParityError: They differ, and the precision is exact; the message names the image and the
            difference. Or AP falls by more than the request allows: that of boxes, or of masks.
        DataError: An image cannot be read.
    """
    tolerances = TOLERANCES[request.precision]
    thresholds = replace(
        thresholds_of(model), tolerance=tolerances.detection, mask_tolerance=tolerances.mask
    )
    reference = TorchRunner(model)
    chosen = list(_chosen(validation, train))
    raw, found = 0.0, Difference()
    theirs: list[Detection] = []
    ours: list[Detection] = []
    for number, (split, index) in enumerate(chosen):
        image, name = inputs(split, index, request), str(split.records[index].path)
        if number < NUM_COMPARED:
            raw = max(
                raw,
                raw_difference(reference, exported.runner, image.pixels, name, tolerances.raw),
            )
        expected, seen = reference.detect(image.pixels), exported.runner.detect(image.pixels)
        found = found.joined(difference(expected, seen, thresholds, name))
        if split is validation:
            theirs += detections(expected, image, split, index)
            ours += detections(seen, image, split, index)
    aps, in_torch = _aps(validation, ours), score(validation, theirs)
    is_exact = PRECISIONS[request.precision].exact
    if is_exact:
        check_detections(found, thresholds)
    for kind in ap_kinds(model):
        expected_ap, ap = in_torch.of(kind), aps.total.of(kind)
        if is_exact:
            check_ap(expected_ap, ap, kind)
        check_ap_loss(expected_ap, ap, request.max_ap_loss, kind)
    return Comparison(
        num_images=len(chosen),
        raw=raw,
        detections=found,
        aps=aps,
        in_torch=in_torch,
        example=inputs(*chosen[0], request),
    )


def measure_aps(runner: Runner, request: Request, split: CocoSplit) -> SplitAps:
    """Return the APs of a runner on a split."""
    found: list[Detection] = []
    for index in range(len(split)):
        image = inputs(split, index, request)
        found += detections(runner.detect(image.pixels), image, split, index)
    return _aps(split, found)


def inputs(split: CocoSplit, index: int, request: Request) -> Input:
    """Return an image of a split as an export takes it."""
    fixed = request.size is not None
    return prepared(split.image(index), request.size or request.resolution, fixed=fixed)


def detections(found: Found, image: Input, split: CocoSplit, index: int) -> Iterator[Detection]:
    """Yield detections in COCO's result format."""
    record, boxes = split.records[index], boxes_in_image(found, image.scale)
    masks = segmentations(found, boxes, record.width, record.height)
    for (left, top, right, bottom), value, label, mask in zip(
        boxes.tolist(), found.scores.tolist(), found.labels.tolist(), masks, strict=True
    ):
        yield {
            "image_id": record.image_id,
            "category_id": split.category_ids[label],
            "bbox": [left, top, right - left, bottom - top],
            "score": value,
            **({} if mask is None else {"segmentation": mask}),
        }


def ap_kinds(model: BaseDetector) -> tuple[ApKind, ...]:
    """Return the kinds of AP that a detector has."""
    return tuple(ApKind) if predicts_masks(model) else (ApKind.BOX_AP,)


def thresholds_of(model: BaseDetector) -> Thresholds:
    """Return where a detector selects boxes at its end."""
    has_regions = isinstance(model, TwoStageDetector)
    config = model.test_cfg.rcnn if has_regions else model.test_cfg
    return Thresholds(
        score=config.score_thr,
        iou=config.nms.iou_threshold,
        max_detections=config.max_per_img,
        has_regions=has_regions,
    )


def _chosen(validation: CocoSplit, train: CocoSplit) -> Iterator[tuple[CocoSplit, int]]:
    further = max(0, NUM_COMPARED - len(validation))
    return chain(
        ((validation, index) for index in range(len(validation))),
        islice(((train, index) for index in range(len(train))), further),
    )


def _aps(split: CocoSplit, found: list[Detection]) -> SplitAps:
    return SplitAps(
        total=score(split, found), by_class=class_aps(split, found), num_images=len(split)
    )
