"""Samples regions of one-stage students from their predicted boxes (docs/papers.md 3.5).

G-DetKD section 4.3.2: the student's predicted boxes are matched to the objects and sampled, so that
a two-stage teacher can read them. Details that the paper leaves open are those of an RPN.
"""

import torch
from mmcv.ops import nms
from mmdet.models.task_modules import MaxIoUAssigner, RandomSampler
from mmengine.structures import InstanceData
from torch import Tensor

from detection.data.batches import Batch
from detection.distillation.dense_predictions import DensePredictions
from detection.distillation.taps import Cells, Regions
from detection.distillation.two_stage import clip_to_images

BEFORE_NMS, AFTER_NMS, NMS_IOU = 1000, 2000, 0.7
"""Boxes per level before NMS, boxes per image after it, and the IoU from which a box is dropped."""
POSITIVE_FRACTION = 0.25
"""Largest share of positive regions."""
POSITIVE_IOU = 0.5
"""Smallest IoU of a positive region with its object."""


@torch.no_grad()
def sample_regions(
    dense: DensePredictions, batch: Batch, *, num_classes: int, num_regions: int
) -> tuple[Tensor, Regions]:
    """Sample every image's predicted boxes, at most a quarter of them positive.

    Draws come from torch's global generator. The objects' own boxes are not added.

    Args:
        dense: The student's predictions.
        batch: The student's batch.
        num_classes: Number of classes, K.
        num_regions: Largest number of regions per image.

    Returns:
        The place that predicted each region (N, long), and the regions.
    """
    found = [
        _sample(dense, batch, image, num_classes, num_regions)
        for image in range(len(batch.samples))
    ]
    places, rois, labels = (torch.cat(parts) for parts in zip(*found, strict=True))
    cells = dense.cells
    is_positive = labels < num_classes
    return places, Regions(
        rois=rois,
        is_positive=is_positive,
        is_compared=torch.ones_like(is_positive),
        labels=labels,
        cells=Cells(
            level=cells.level[places], cell=cells.cell[places], anchor=cells.anchor[places]
        ),
    )


def _sample(
    dense: DensePredictions, batch: Batch, image: int, num_classes: int, num_regions: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Return places, rois (x 5) and labels of one image's regions, positives first."""
    places, boxes = _candidates(dense, batch, image)
    objects, candidates = batch.samples[image].gt_instances, InstanceData(priors=boxes)
    assigner = MaxIoUAssigner(
        POSITIVE_IOU, POSITIVE_IOU, min_pos_iou=POSITIVE_IOU, match_low_quality=False
    )
    sampler = RandomSampler(
        num=num_regions, pos_fraction=POSITIVE_FRACTION, add_gt_as_proposals=False
    )
    sampled = sampler.sample(assigner.assign(candidates, objects), candidates, objects)
    chosen = torch.cat([sampled.pos_inds, sampled.neg_inds])
    labels = places.new_full((len(chosen),), num_classes)
    labels[: len(sampled.pos_inds)] = sampled.pos_gt_labels
    number = boxes.new_full((len(chosen), 1), image)
    return places[chosen], torch.cat([number, boxes[chosen]], dim=1), labels


def _candidates(dense: DensePredictions, batch: Batch, image: int) -> tuple[Tensor, Tensor]:
    """Return the places and boxes (xyxy) of an image's best predictions after NMS.

    Boxes without area are left out, as in mmdet's RPN: RoIAlign reads nothing there.
    """
    scores = dense.best_scores(image)
    places = _best_of_each_level(scores, dense.level_sizes)
    boxes = clip_to_images(
        dense.boxes(image, places), torch.full_like(places, image), batch
    ).detach()
    has_area = (boxes[:, 2:] > boxes[:, :2]).all(dim=1)
    places, boxes = places[has_area], boxes[has_area]
    _, kept = nms(boxes, scores[places], NMS_IOU)
    return places[kept[:AFTER_NMS]], boxes[kept[:AFTER_NMS]]


def _best_of_each_level(scores: Tensor, level_sizes: list[int]) -> Tensor:
    best, start = [], 0
    for level in scores.split(level_sizes):
        best.append(start + level.topk(min(BEFORE_NMS, len(level))).indices)
        start += len(level)
    return torch.cat(best)
