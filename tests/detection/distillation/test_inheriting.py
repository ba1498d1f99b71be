"""Inheriting: neck and head of the first teacher, once in a student's lineage, and no loss."""

from typing import Any

import pytest
import torch
from torch import nn

from detection.build import build_detector
from detection.data.batches import Batch
from detection.data.coco import CocoSplit
from detection.distillation.distiller import Distiller, pair_of
from detection.distillation.inheriting import inherit
from detection.distillation.student import student_step
from detection.training import Training
from searchd.domain.architecture import preset
from searchd.domain.detector import Detector, Family
from searchd.domain.distillation_methods import MethodName
from searchd.domain.errors import InvalidValueError
from searchd.domain.resolution import Resolution
from searchd.spec import MethodSpec, TrainingSpec
from tests.detection.distillation.conftest import tiny

pytestmark = pytest.mark.timeout(60)  # real detectors are trained

FAMILIES = list(Family)
PARTS = {
    Family.FASTER_RCNN: {"neck", "rpn_head", "roi_head"},
    Family.MASK_RCNN: {"neck", "rpn_head", "roi_head"},
    Family.CASCADE_RCNN: {"neck", "rpn_head", "roi_head"},
    Family.CASCADE_MASK_RCNN: {"neck", "rpn_head", "roi_head"},
    Family.RETINANET: {"neck", "bbox_head"},
    Family.FCOS: {"neck", "bbox_head"},
    Family.ATSS: {"neck", "bbox_head"},
    Family.GFL: {"neck", "bbox_head"},
    Family.VFNET: {"neck", "bbox_head"},
    Family.TOOD: {"neck", "bbox_head"},
}


def detector(seed: int, family: Family = Family.FASTER_RCNN, name: str = "resnet18") -> Any:
    torch.manual_seed(seed)
    model = tiny(name, 16, family)
    for value in model.state_dict().values():
        if value.is_floating_point():
            nn.init.normal_(value)  # biases and statistics too, so that every copy can be told
    return model


def distiller(student: Any, teacher: Any, shapes: CocoSplit, *more: MethodSpec) -> Distiller:
    spec = MethodSpec(name=MethodName.INHERITING)
    return Distiller((spec, *more), teacher, pair_of(student, teacher, shapes))


def taken_over(before: dict[str, Any], model: nn.Module, teacher: nn.Module) -> set[str]:
    """Names that were not the teacher's before and are now; everything else must be as it was."""
    given = teacher.state_dict()
    copied = set()
    for name, value in model.state_dict().items():
        if not torch.equal(value, before[name]):
            assert torch.equal(value, given[name])
            copied.add(name)
    return copied


def state(model: nn.Module) -> dict[str, Any]:
    return {name: value.clone() for name, value in model.state_dict().items()}


@pytest.mark.parametrize("family", FAMILIES)
def test_neck_and_head_are_the_teachers_and_the_backbone_is_not(
    family: Family, shapes: CocoSplit
) -> None:
    student, teacher = detector(1, family), detector(2, family)
    before = state(student)

    frozen = distiller(student, teacher, shapes).prepare(student)

    inherited = {
        name
        for name, value in before.items()
        if name.split(".")[0] in PARTS[family] and not torch.equal(value, state(teacher)[name])
    }
    assert taken_over(before, student, teacher) == inherited
    assert {name.split(".")[0] for name in inherited} == PARTS[family]
    assert frozen == ()
    assert all(p.requires_grad for p in student.neck.parameters())


def test_the_copy_is_the_students_own(shapes: CocoSplit) -> None:
    student, teacher = detector(1), detector(2)
    distiller(student, teacher, shapes).prepare(student)
    given = state(teacher)

    for parameter in student.parameters():
        nn.init.zeros_(parameter)

    assert all(torch.equal(value, given[name]) for name, value in teacher.state_dict().items())


def test_nothing_is_copied_a_second_time(shapes: CocoSplit) -> None:
    student, first, second = detector(1), detector(2), detector(3)
    parents = distiller(student, first, shapes)
    parents.prepare(student)
    inherited = state(student)

    parents.prepare(student)
    the_child = distiller(student, second, shapes)
    the_child.load_state_dict(parents.state_dict())
    the_child.prepare(student)

    assert parents.state_dict() == {"inheriting.done": torch.tensor(True)}
    assert taken_over(inherited, student, second) == set()


def test_a_child_without_the_parents_adapters_would_copy(shapes: CocoSplit) -> None:
    student, first, second = detector(1), detector(2), detector(3)
    distiller(student, first, shapes).prepare(student)
    before = state(student)

    distiller(student, second, shapes).prepare(student)

    assert taken_over(before, student, second)


@pytest.mark.parametrize("family", FAMILIES)
def test_convolutions_that_read_a_backbone_of_other_widths_stay_the_students(
    family: Family,
) -> None:
    student, teacher = detector(1, family), detector(2, family, "resnet50")
    before, given = state(student), state(teacher)

    inherit(student, teacher)

    kept = {
        name
        for name, value in state(student).items()
        if name.split(".")[0] in PARTS[family] and not torch.equal(value, given[name])
    }
    laterals = len(student.neck.lateral_convs)
    expected = {
        f"neck.lateral_convs.{level}.conv.{part}"
        for level in range(laterals)
        for part in ("weight", "bias")
    }
    if family is Family.RETINANET:  # its P6 reads C5
        expected |= {"neck.fpn_convs.3.conv.weight", "neck.fpn_convs.3.conv.bias"}
    assert kept == expected
    assert all(torch.equal(student.state_dict()[name], before[name]) for name in kept)
    assert torch.equal(student.neck.fpn_convs[0].conv.weight, teacher.neck.fpn_convs[0].conv.weight)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"neck_channels": 24}, r"neck\.\S+ is \(16, .*\) in the student and \(24, .*\) in the"),
        ({"head_channels": 48}, r"roi_head\.\S+ is \(.*32.*\) in the student and \(.*48.*\) in"),
        ({"num_classes": 5}, r"roi_head\.bbox_head\.fc_\S+ is \(.*\) in the student and \(.*\) in"),
    ],
    ids=["neck", "head", "classes"],
)
def test_a_teacher_of_other_shapes_is_refused_before_anything_is_copied(
    change: dict[str, int], message: str
) -> None:
    student = tiny("resnet18", 16)
    settings: dict[str, Any] = {
        "num_classes": 4,
        "neck_channels": 16,
        "tower_channels": 16,
        "tower_convs": 2,
        "head_channels": 32,
    }
    architecture = preset("resnet18", base_channels=8)
    teacher = build_detector(Detector(architecture=architecture, **(settings | change)))
    before = state(student)

    with pytest.raises(InvalidValueError, match=message):
        inherit(student, teacher)

    assert all(torch.equal(value, before[name]) for name, value in student.state_dict().items())


def test_a_teacher_of_another_family_is_refused() -> None:
    with pytest.raises(InvalidValueError, match=r"only one of them has bbox_head\."):
        inherit(detector(1), detector(2, Family.RETINANET))


def test_it_adds_no_loss_and_leaves_the_other_methods_theirs(
    shapes: CocoSplit, batch: Batch
) -> None:
    student, teacher = tiny("resnet18", 16), tiny("resnet18", 16)
    both = distiller(student, teacher, shapes, MethodSpec(name=MethodName.FEATURE_MATCHING))
    taps = student_step(student, batch).taps

    assert distiller(student, teacher, shapes)(taps) == {}
    assert taps.computed == set()
    assert set(both(taps)) == {"feature_matching"}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_resumed_training_stands_where_it_stood_and_exports_a_plain_student(
    family: Family, shapes: CocoSplit
) -> None:
    torch.manual_seed(1)
    student, teacher = tiny("resnet18", 16, family), tiny("resnet18", 16, family)
    spec = TrainingSpec(epochs=1, batch_size=4, resolutions=(Resolution(64, 64),))
    fresh = {name: value.shape for name, value in tiny("resnet18", 16, family).state_dict().items()}
    training = Training(
        student, shapes, spec, seed=0, distiller=distiller(student, teacher, shapes)
    )

    losses = [iteration.losses for iteration in training.run()]
    resumed = Training(
        tiny("resnet18", 16, family),
        shapes,
        spec,
        seed=0,
        distiller=distiller(student, teacher, shapes),
    )
    resumed.load_state_dict(training.state_dict())

    assert not any("inheriting" in name for step in losses for name in step)
    assert {name: value.shape for name, value in student.state_dict().items()} == fresh
    trained = student.state_dict()
    assert all(torch.equal(v, trained[name]) for name, v in resumed.model.state_dict().items())
    assert any(
        not torch.equal(v, teacher.state_dict()[n]) for n, v in trained.items() if "neck" in n
    )
