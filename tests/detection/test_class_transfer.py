"""A trained detector gets other classes: classes of the same name keep their rows."""

import pytest
import torch
from torch import Tensor

from detection.build import Student, build_detector, load_student
from detection.class_transfer import are_same, with_classes
from searchd.domain.architecture import preset
from searchd.domain.detector import Detector, Family

pytestmark = pytest.mark.timeout(30)  # detectors are built

KNOWN = ("person", "traffic light", "bus")
WANTED = ("Traffic_Light", "rider")


def trained(family: Family, num_classes: int = 3) -> Student:
    """A detector in whose tensors every value differs."""
    detector = Detector(
        architecture=preset("resnet18", base_channels=4),
        num_classes=num_classes,
        family=family,
        neck_channels=4,
        head_channels=8,
        mask_channels=4,
        tower_channels=8,
        tower_convs=1,
    )
    torch.manual_seed(0)
    state = build_detector(detector).state_dict()
    return Student(
        detector=detector,
        weights={
            name: torch.arange(value.numel()).view(value.shape).to(value)
            for name, value in state.items()
        },
    )


def rows(student: Student, name: str) -> Tensor:
    return student.weights[name]


def test_classifier_and_box_regressor_of_faster_rcnn() -> None:
    old = trained(Family.FASTER_RCNN)

    new = with_classes(old, KNOWN, WANTED).student

    assert new.detector.num_classes == 2
    cls, reg = "roi_head.bbox_head.fc_cls.weight", "roi_head.bbox_head.fc_reg.weight"
    assert rows(new, cls).shape == (3, 8)
    assert torch.equal(rows(new, cls)[0], rows(old, cls)[1])  # the traffic light
    assert torch.equal(rows(new, cls)[2], rows(old, cls)[3])  # the background
    assert rows(new, cls)[1].abs().max() < 1  # drawn anew
    assert torch.equal(rows(new, reg)[:4], rows(old, reg)[4:8])
    assert rows(new, reg)[4:].abs().max() < 1
    unchanged = [name for name in new.weights if "fc_cls" not in name and "fc_reg" not in name]
    assert all(torch.equal(new.weights[name], old.weights[name]) for name in unchanged)
    load_student(new)


def test_masks_of_classes_of_the_same_name_are_kept() -> None:
    old = trained(Family.MASK_RCNN)

    new = with_classes(old, KNOWN, WANTED).student

    logits = "roi_head.mask_head.conv_logits.weight"
    assert rows(new, logits).shape == (2, 4, 1, 1)
    assert torch.equal(rows(new, logits)[0], rows(old, logits)[1])  # the traffic light
    assert rows(new, logits)[1].abs().max() < 4  # drawn anew
    shared = "roi_head.mask_head.convs.0.conv.weight"
    assert torch.equal(rows(new, shared), rows(old, shared))
    load_student(new)


def test_every_head_of_cascade_rcnn() -> None:
    old = trained(Family.CASCADE_MASK_RCNN)

    new = with_classes(old, KNOWN, WANTED).student

    for stage in range(3):
        logits = f"roi_head.mask_head.{stage}.conv_logits.weight"
        assert torch.equal(rows(new, logits)[0], rows(old, logits)[1])  # the traffic light
        name = f"roi_head.bbox_head.{stage}.fc_cls.bias"
        assert rows(new, name)[[0, 2]].tolist() == [1, 3]
        regressor = f"roi_head.bbox_head.{stage}.fc_reg.bias"  # of all classes together
        assert torch.equal(rows(new, regressor), rows(old, regressor))
    load_student(new)


def test_every_anchor_of_retinanet() -> None:
    old = trained(Family.RETINANET)

    new = with_classes(old, KNOWN, WANTED).student

    bias = rows(new, "bbox_head.retina_cls.bias").view(9, 2)
    assert bias[:, 0].tolist() == [3 * anchor + 1 for anchor in range(9)]
    assert bias[:, 1].tolist() == pytest.approx([-4.595] * 9, abs=1e-3)  # rare at first
    load_student(new)


@pytest.mark.parametrize(
    ("family", "layer"),
    [
        (Family.FCOS, "conv_cls"),
        (Family.ATSS, "atss_cls"),
        (Family.GFL, "gfl_cls"),
        (Family.VFNET, "vfnet_cls"),
        (Family.TOOD, "tood_cls"),
    ],
)
def test_classifier_of_one_prior_in_each_cell(family: Family, layer: str) -> None:
    new = with_classes(trained(family), KNOWN, WANTED).student

    assert rows(new, f"bbox_head.{layer}.bias").tolist() == pytest.approx([1, -4.595], abs=1e-3)
    load_student(new)


def test_notes_name_every_tensor_that_was_changed() -> None:
    found = with_classes(trained(Family.FASTER_RCNN), KNOWN, WANTED)

    classes = (
        "1 classes keep their rows (Traffic_Light), 1 are new (rider), 2 of the checkpoint are "
        "dropped"
    )
    head = "roi_head.bbox_head"
    total = len(found.student.weights)
    assert found.notes == (
        f"{total - 4} of {total} tensors are kept as they are",
        f"{head}.fc_cls.weight, 4 -> 3 rows: {classes}, the background keeps its row",
        f"{head}.fc_cls.bias, 4 -> 3 rows: {classes}, the background keeps its row",
        f"{head}.fc_reg.weight, 12 -> 8 rows: {classes}",
        f"{head}.fc_reg.bias, 12 -> 8 rows: {classes}",
    )


def test_without_names_no_class_keeps_its_rows() -> None:
    found = with_classes(trained(Family.FCOS), None, WANTED)

    assert rows(found.student, "bbox_head.conv_cls.bias").tolist() == pytest.approx(
        [-4.595] * 2, abs=1e-3
    )
    assert "the checkpoint does not name its 3 classes, so all 2 are new" in found.notes[1]


def test_a_name_that_occurs_twice_is_matched_once() -> None:
    found = with_classes(trained(Family.FCOS), ("a", "b", "b"), ("b", "B"))

    assert rows(found.student, "bbox_head.conv_cls.bias").tolist() == pytest.approx(
        [1, -4.595], abs=1e-3
    )


def test_classes_are_compared_by_name_and_order() -> None:
    assert are_same(("Stop-Sign", "dog"), ("stop sign", "Dog"))
    assert not are_same(("dog", "cat"), ("cat", "dog"))
    assert not are_same(("dog",), ("dog", "cat"))
    assert not are_same(None, ("dog",))
