"""A one-stage student's regions are its own boxes, and know where they came from."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from mmdet.models.dense_heads import SSDHead
from mmdet.structures.bbox import bbox_overlaps
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData
from torch import Tensor, nn

from detection.data.batches import Batch
from detection.distillation.dense_predictions import DensePredictions
from detection.distillation.predicted_regions import sample_regions
from detection.distillation.recorded_calls import recorded_calls
from detection.distillation.student import student_step
from detection.distillation.taps import Regions, StudentTaps
from detection.families.tood_epochs import tell_epoch
from searchd.domain.detector import Family
from tests.detection.distillation.conftest import tiny
from tests.detection.distillation.teaching import expect_two_strides

pytestmark = pytest.mark.timeout(60)  # real detectors are trained

ONE_STAGE = [
    Family.RETINANET,
    Family.FCOS,
    Family.ATSS,
    Family.GFL,
    Family.VFNET,
    Family.TOOD,
]
STRIDES = (8, 16, 32, 64, 128)


def student_of(family: Family, num_regions: int = 32) -> Any:
    """A student whose boxes are 32 pixels wide on its first level, with some noise."""
    torch.manual_seed(1)
    model = tiny("resnet18", 16, family)
    model.train_cfg = {**(model.train_cfg or {}), "sampled_rois": num_regions}
    if family is Family.FCOS:
        nn.init.constant_(model.bbox_head.conv_reg.bias, 2)
    if family is Family.GFL:
        expect_two_strides(model)
    if family is Family.VFNET:  # its first boxes are 64 pixels wide there
        nn.init.constant_(model.bbox_head.vfnet_reg.bias, -1)
    return model


def outputs_of(model: Any, batch: Batch) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
    """Class scores and box deltas per level, in train mode; BN sees the same batch."""
    scores, deltas, *others = model.bbox_head(model.extract_feat(batch.inputs))
    is_refined = type(model.bbox_head).__name__ == "VFNetHead"
    return scores, others[0] if is_refined else deltas


def features_of_classes(model: Any, batch: Batch) -> list[Tensor]:
    """What the layer of the class scores reads; of VFNet before it is sampled."""
    levels, head = list(model.extract_feat(batch.inputs)), model.bbox_head
    if hasattr(head, "cls_convs"):
        for conv in head.cls_convs:
            levels = [conv(level) for level in levels]
        return levels
    maps = []
    for conv in head.inter_convs:
        levels = [conv(level) for level in levels]
        maps.append(levels)
    return [head.cls_decomp(torch.cat(each, dim=1)) for each in zip(*maps, strict=True)]


def objects_of(batch: Batch, image: int) -> Tensor:
    boxes: Tensor = batch.samples[image].gt_instances.bboxes
    return boxes


def places_of(taps: StudentTaps, scores: Sequence[Tensor]) -> list[tuple[int, int, int, int, int]]:
    """Image, level, row, column and anchor of every region."""
    cells = taps.regions.cells
    assert cells is not None
    images = taps.regions.rois[:, 0].long().tolist()
    rows = zip(
        images, cells.level.tolist(), cells.cell.tolist(), cells.anchor.tolist(), strict=True
    )
    return [
        (image, level, *divmod(cell, scores[level].shape[3]), anchor)
        for image, level, cell, anchor in rows
    ]


@pytest.mark.parametrize("family", ONE_STAGE)
def test_positives_overlap_an_object_of_their_class_and_others_do_not(
    family: Family, batch: Batch
) -> None:
    regions = student_step(student_of(family), batch).taps.regions

    assert regions.is_positive.any()
    for roi, label, is_positive in zip(
        regions.rois, regions.labels.tolist(), regions.is_positive.tolist(), strict=True
    ):
        objects = batch.samples[int(roi[0])].gt_instances
        overlap, best = bbox_overlaps(roi[None, 1:], objects.bboxes).max(dim=1)
        assert (float(overlap) >= 0.5) == is_positive
        assert label == (int(objects.labels[best]) if is_positive else 4)


def test_a_quarter_of_the_regions_is_positive_when_there_are_enough(batch: Batch) -> None:
    regions = _regions_around_objects(batch, num_regions=8)

    for image in range(4):
        here = regions.rois[:, 0] == image
        assert int(here.sum()) == 8
        assert int(regions.is_positive[here].sum()) == 2


def test_negatives_fill_up_when_positives_are_few(batch: Batch) -> None:
    batch.samples[1].gt_instances = batch.samples[1].gt_instances[:0]

    regions = _regions_around_objects(batch, num_regions=8)

    here = regions.rois[:, 0] == 1
    assert int(here.sum()) == 8
    assert int(regions.is_positive[here].sum()) == 0


def _regions_around_objects(batch: Batch, *, num_regions: int) -> Regions:
    """Of a RetinaNet, of whose anchors several overlap the only object of each image."""
    student = student_of(Family.RETINANET)
    for sample in batch.samples:
        sample.gt_instances = sample.gt_instances[:1]
        sample.gt_instances.bboxes[:] = torch.tensor([12.0, 12.0, 52.0, 52.0])
    scores, deltas = outputs_of(student, batch)
    dense = DensePredictions(student.bbox_head, scores, deltas, STRIDES)
    return sample_regions(dense, batch, num_classes=4, num_regions=num_regions)[1]


@pytest.mark.parametrize("family", ONE_STAGE)
def test_remembered_cell_and_anchor_predict_the_regions_box(family: Family, batch: Batch) -> None:
    student = student_of(family)
    taps = student_step(student, batch).taps
    scores, deltas = outputs_of(student, batch)
    head = student.bbox_head
    priors = head.prior_generator.grid_priors([s.shape[-2:] for s in scores], device="cpu")

    for roi, (image, level, row, column, anchor) in zip(
        taps.regions.rois, places_of(taps, scores), strict=True
    ):
        num_anchors = scores[level].shape[1] // 4
        number = (row * scores[level].shape[3] + column) * num_anchors + anchor
        prior, delta = priors[level][number][None], deltas[level][image, :, row, column]
        if family is Family.GFL:  # the mean of each side's distribution, from the anchor's centre
            delta = (delta.view(4, 17).softmax(dim=1) * torch.arange(17)).sum(dim=1)
            prior = (prior[:, :2] + prior[:, 2:]) / 2
        delta = delta[4 * anchor : 4 * anchor + 4][None]
        if family in (Family.FCOS, Family.GFL, Family.TOOD):  # in strides while it is trained
            delta = delta * STRIDES[level]
        if family is not Family.TOOD:  # which predicts boxes
            delta = head.bbox_coder.decode(prior, delta)
        box = delta[0].clamp(0, 64)
        torch.testing.assert_close(roi[1:], box.detach(), rtol=1e-4, atol=1e-3)
        assert int(roi[0]) == image


@pytest.mark.parametrize("family", ONE_STAGE)
def test_logits_and_embeddings_are_read_at_the_regions_cell(family: Family, batch: Batch) -> None:
    student = student_of(family)
    taps = student_step(student, batch).taps
    scores, _ = outputs_of(student, batch)
    towers = features_of_classes(student, batch)

    places = places_of(taps, scores)
    logits = [scores[lv][i, 4 * a : 4 * a + 4, y, x] for i, lv, y, x, a in places]
    if family is Family.TOOD:  # whose scores are probabilities
        logits = [torch.log(p / (1 - p)) for p in logits]
    embeddings = [towers[lv][i, :, y, x] for i, lv, y, x, _ in places]

    torch.testing.assert_close(taps.class_logits, torch.stack(logits))
    torch.testing.assert_close(taps.embeddings, torch.stack(embeddings))
    assert len({level for _, level, *_ in places}) > 1
    (taps.class_logits.sum() + taps.embeddings.sum()).backward()
    assert student.backbone.conv1.weight.grad.abs().max() > 0


@pytest.mark.parametrize("family", ONE_STAGE)
def test_regions_are_detached_and_do_not_include_the_objects(family: Family, batch: Batch) -> None:
    regions = student_step(student_of(family), batch).taps.regions

    assert not regions.rois.requires_grad
    assert regions.is_compared.all()
    objects = {tuple(b) for s in batch.samples for b in s.gt_instances.bboxes.tolist()}
    assert not objects & {tuple(box) for box in regions.rois[:, 1:].tolist()}


@pytest.mark.parametrize("family", ONE_STAGE)
def test_images_without_objects_give_negatives_alone(
    family: Family, batch_without_objects: Batch
) -> None:
    taps = student_step(student_of(family), batch_without_objects).taps
    matched = taps.matched_predictions

    assert not taps.regions.is_positive.any()
    assert (taps.regions.labels == 4).all()
    assert set(taps.regions.rois[:, 0].tolist()) == {0, 1, 2, 3}
    assert matched.boxes.shape == (0, 4)
    assert matched.logits.shape == (0, 4)


@pytest.mark.parametrize("family", ONE_STAGE)
def test_regions_stay_inside_their_own_image_of_a_padded_batch(
    family: Family, batch: Batch
) -> None:
    batch.samples[2].set_metainfo({"img_shape": (40, 56)})

    rois = student_step(student_of(family), batch).taps.regions.rois

    limits = torch.tensor([[64.0, 64.0]] * 4)
    limits[2] = torch.tensor([56.0, 40.0])
    assert (rois[:, 3:] <= limits[rois[:, 0].long()]).all()
    assert (rois[:, 3:] > rois[:, 1:3]).all()
    assert rois[rois[:, 0] != 2][:, 4].max() > 40


def test_student_all_of_whose_boxes_are_empty_has_no_regions(batch: Batch) -> None:
    student = student_of(Family.FCOS)
    nn.init.zeros_(student.bbox_head.conv_reg.weight)
    nn.init.constant_(student.bbox_head.conv_reg.bias, -1)

    taps = student_step(student, batch).taps

    assert taps.regions.rois.shape == (0, 5)
    assert taps.embeddings.shape == (0, 16)
    assert taps.class_logits.shape == (0, 4)
    assert taps.region_levels.shape == (5, 0, 16, 7, 7)


@pytest.mark.parametrize("family", ONE_STAGE)
def test_region_features_come_from_the_level_of_their_size(family: Family, batch: Batch) -> None:
    taps = student_step(student_of(family), batch).taps
    rois = taps.regions.rois
    side = ((rois[:, 3] - rois[:, 1]) * (rois[:, 4] - rois[:, 2])).sqrt()

    levels = taps.region_levels

    assert levels.shape == (5, len(rois), 16, 7, 7)
    assert side.max() < 224  # all belong to the finest level, of stride 8
    torch.testing.assert_close(taps.region_features, levels[0])


def test_box_deltas_by_class_are_not_to_be_had(batch: Batch) -> None:
    taps = student_step(student_of(Family.RETINANET), batch).taps

    with pytest.raises(AttributeError, match="no box deltas of its own for each class"):
        _ = taps.box_deltas


def ssd() -> Any:
    """A detector with SSD's head: softmax, background last, 4 or 6 anchors per cell, no tower."""
    model = student_of(Family.RETINANET)
    torch.manual_seed(3)
    model.bbox_head = SSDHead(
        num_classes=4,
        in_channels=(16,) * 5,
        anchor_generator={
            "type": "SSDAnchorGenerator",
            "scale_major": False,
            "min_sizes": [8, 16, 24, 32, 48],
            "max_sizes": [16, 24, 32, 48, 64],
            "strides": list(STRIDES),
            "ratios": [[2], [2, 3], [2, 3], [2], [2]],
        },
        bbox_coder={"type": "DeltaXYWHBBoxCoder", "target_stds": [0.1, 0.1, 0.2, 0.2]},
        train_cfg=ConfigDict(
            assigner={
                "type": "MaxIoUAssigner",
                "pos_iou_thr": 0.5,
                "neg_iou_thr": 0.5,
                "min_pos_iou": 0.0,
                "gt_max_assign_all": False,
            },
            sampler={"type": "PseudoSampler"},
            smoothl1_beta=1.0,
            allowed_border=-1,
            pos_weight=-1,
            neg_pos_ratio=3,
        ),
    )
    return model


@pytest.mark.parametrize("kind", ["retinanet", "fcos", "ssd", "atss", "gfl", "vfnet", "tood"])
def test_matched_predictions_are_those_that_mmdet_trains_on_an_object(
    kind: str, batch: Batch
) -> None:
    student = ssd() if kind == "ssd" else student_of(Family(kind))
    head = student.bbox_head
    with recorded_calls(head, "get_targets") as calls:
        student.loss(batch.inputs, batch.samples)
    places = {"fcos": (0, 1), "atss": (1, 3), "gfl": (1, 3), "tood": (1, 3)}
    at, index = places.get(kind, (0, 2))
    labels = torch.cat([level.view(4, -1) for level in calls[0].result[at]], dim=1)
    targets = torch.cat([level.view(4, -1, 4) for level in calls[0].result[index]], dim=1)
    scores, deltas = outputs_of(student, batch)
    dense = DensePredictions(head, scores, deltas, STRIDES)

    matched = student_step(student, batch).taps.matched_predictions

    image, place = (labels < 4).nonzero(as_tuple=True)
    assert len(image) > 4
    assert matched.image.tolist() == image.tolist()
    found = list(zip(matched.image.tolist(), matched.object.tolist(), strict=True))
    objects = [batch.samples[i].gt_instances[o] for i, o in found]
    assert [int(o.labels) for o in objects] == labels[image, place].tolist()
    torch.testing.assert_close(matched.logits, dense.logits[image, place])
    boxes = torch.cat([o.bboxes for o in objects])
    if kind in ("atss", "gfl", "tood"):  # their targets are boxes
        found_boxes = targets[image, place]
    else:
        dense.deltas = targets  # mmdet's targets, decoded, are the objects' boxes
        found_boxes = dense.boxes(image, place)
    torch.testing.assert_close(found_boxes, boxes, rtol=1e-4, atol=1e-3)
    matched.boxes.sum().backward()
    layers = {
        "retinanet": "retina_reg",
        "fcos": "conv_reg",
        "ssd": "reg_convs",
        "vfnet": "vfnet_reg_refine",
    }
    layer = layers.get(kind, f"{kind}_reg")
    gradients = [p.grad for p in getattr(head, layer).parameters()]
    assert any(g is not None and g.abs().max() > 0 for g in gradients)


def test_two_objects_of_a_class_are_distinguished(batch: Batch) -> None:
    batch.samples[0].gt_instances = InstanceData(
        bboxes=torch.tensor([[4.0, 4.0, 28.0, 28.0], [34.0, 34.0, 62.0, 62.0]]),
        labels=torch.tensor([3, 3]),
    )

    matched = student_step(student_of(Family.FCOS), batch).taps.matched_predictions

    assert set(matched.object[matched.image == 0].tolist()) == {0, 1}


@pytest.mark.parametrize("epoch", [0, 11])
def test_objects_of_tood_are_known_by_label_and_box_in_every_epoch(
    epoch: int, batch: Batch
) -> None:
    student = student_of(Family.TOOD)
    boxes = [[4.0, 4.0, 28.0, 28.0], [34.0, 34.0, 62.0, 62.0], [4.0, 4.0, 28.0, 28.0]]
    batch.samples[0].gt_instances = InstanceData(
        bboxes=torch.tensor(boxes), labels=torch.tensor([3, 3, 1])
    )
    tell_epoch(epoch, 12)

    with recorded_calls(student.bbox_head, "get_targets") as calls:
        matched = student_step(student, batch).taps.matched_predictions

    labels, targets = (torch.cat(calls[0].result[each], dim=1) for each in (1, 3))
    assert matched.places is not None  # every place of a dense head has a number
    here = matched.image == 0
    known = batch.samples[0].gt_instances
    assert len(set(matched.object[here].tolist())) > 1
    places = matched.places[here]
    assert known.labels[matched.object[here]].tolist() == labels[0, places].tolist()
    assert torch.equal(known.bboxes[matched.object[here]], targets[0, places])


def test_tood_has_no_towers(batch: Batch) -> None:
    taps = student_step(student_of(Family.TOOD), batch).taps

    with pytest.raises(AttributeError, match="TOODHead has no classification tower"):
        _ = taps.towers


def test_ssd_has_regions_and_logits_but_no_tower(batch: Batch) -> None:
    taps = student_step(ssd(), batch).taps

    assert taps.class_logits.shape == (len(taps.regions.rois), 5)
    with pytest.raises(AttributeError, match="SSDHead has no classification tower"):
        _ = taps.embeddings
