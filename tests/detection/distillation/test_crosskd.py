"""CrossKD: the teacher's head goes on from the student's towers."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from detection.data.batches import Batch, make_batch
from detection.data.coco import CocoSplit
from detection.distillation.crosskd import Crosskd
from detection.distillation.distiller import pair_of
from detection.distillation.student import student_step
from detection.distillation.taps import TeacherTaps
from searchd.domain.detector import Family
from searchd.domain.distillation_methods import MethodName
from searchd.domain.errors import InvalidValueError
from searchd.domain.method_description import Tap
from searchd.domain.method_options import CrosskdOptions
from searchd.domain.resolution import Resolution
from tests.detection.distillation.boxes import giou
from tests.detection.distillation.conftest import tiny
from tests.detection.distillation.teaching import distiller_of, student_of, train

pytestmark = pytest.mark.timeout(60)  # real detectors are trained

WITH_TOWERS = [Family.RETINANET, Family.FCOS, Family.ATSS, Family.GFL, Family.VFNET]


def teacher_of(family: Family) -> Any:
    """A teacher with a wider neck and the student's towers, frozen."""
    torch.manual_seed(2)
    model = tiny("resnet18", 24, family).eval().requires_grad_(False)
    for name in ("retina_cls", "conv_cls", "atss_cls", "gfl_cls", "vfnet_cls"):
        if hasattr(model.bbox_head, name):
            torch.nn.init.normal_(getattr(model.bbox_head, name).weight, std=0.3)
    if family is Family.FCOS:  # untrained, its boxes are empty
        torch.nn.init.constant_(model.bbox_head.conv_reg.bias, 2)
    return model


def taps_of(student: Any, teacher: Any, batch: Batch) -> tuple[Any, TeacherTaps]:
    own = student_step(student, batch).taps
    return own, TeacherTaps(teacher, own, frozenset({Tap.DENSE_OUTPUTS}))


def test_the_loss_is_that_of_the_teachers_last_layers_on_the_students_maps(
    batch: Batch, shapes: CocoSplit
) -> None:
    student, teacher = student_of(Family.RETINANET), teacher_of(Family.RETINANET)
    own, others = taps_of(student, teacher, batch)

    loss = Crosskd(CrosskdOptions(), pair_of(student, teacher, shapes))(own, others)

    head = teacher.bbox_head
    sizes = [level.shape[-2:] for level in own.neck.values()]
    anchors = torch.cat(head.prior_generator.grid_priors(sizes, device="cpu"))
    classes, boxes = first_convs(student, own)
    crossed = [
        flattened([layer(conv(level)) for level in levels])
        for levels, conv, layer in (
            (classes, head.cls_convs[1], head.retina_cls),
            (boxes, head.reg_convs[1], head.retina_reg),
        )
    ]
    with torch.no_grad():
        target = [flattened(list(levels)) for levels in head(teacher.extract_feat(batch.inputs))]
    p, q = crossed[0].view(4, -1, 4).sigmoid(), target[0].view(4, -1, 4).sigmoid()
    focal = (p - q) ** 2 * functional.binary_cross_entropy(p, q, reduction="none")
    sure, apart = q.amax(dim=2), []
    for image in range(4):
        one, other = (
            head.bbox_coder.decode(anchors, side[1].view(4, -1, 4)[image])
            for side in (crossed, target)
        )
        apart.append(1 - giou(one, other))
    expected = (focal.sum() + (sure * torch.stack(apart)).sum()) / sure.sum()
    torch.testing.assert_close(loss, expected, rtol=1e-4, atol=0)


def first_convs(student: Any, own: Any) -> tuple[list[Tensor], list[Tensor]]:
    """What leaves the first convolution of both towers."""
    head, levels = student.bbox_head, own.neck.values()
    return [head.cls_convs[0](x) for x in levels], [head.reg_convs[0](x) for x in levels]


def flattened(levels: list[Tensor]) -> Tensor:
    return torch.cat([level.permute(0, 2, 3, 1).flatten(1) for level in levels], dim=1)


@pytest.mark.parametrize("family", WITH_TOWERS)
def test_gradient_reaches_the_students_first_layers_and_not_its_predictions(
    family: Family, batch: Batch, shapes: CocoSplit
) -> None:
    student, teacher = student_of(family), teacher_of(family)
    own, others = taps_of(student, teacher, batch)

    Crosskd(CrosskdOptions(), pair_of(student, teacher, shapes))(own, others).backward()

    head = student.bbox_head
    for tower in (head.cls_convs, head.reg_convs):
        assert tower[0].conv.weight.grad.abs().max() > 0
        assert tower[1].conv.weight.grad is None
    assert student.backbone.conv1.weight.grad.abs().max() > 0
    assert all(parameter.grad is None for parameter in teacher.parameters())
    assert [len(tower) for tower in (teacher.bbox_head.cls_convs, teacher.bbox_head.reg_convs)] == [
        2,
        2,
    ]


@pytest.mark.parametrize("family", WITH_TOWERS)
def test_from_its_own_maps_the_teacher_predicts_the_same(
    family: Family, batch: Batch, shapes: CocoSplit
) -> None:
    teacher = teacher_of(family)
    own, others = taps_of(student_of(family), teacher, batch)
    teacher.bbox_head.train()  # in which VFNet returns what its losses need
    own.__dict__["_towers"] = student_step(teacher, batch).taps.towers
    teacher.bbox_head.eval()

    loss = Crosskd(CrosskdOptions(), pair_of(teacher, teacher, shapes))(own, others)

    assert float(loss) == pytest.approx(0, abs=1e-6)


def test_a_student_may_have_other_towers_and_another_head(batch: Batch, shapes: CocoSplit) -> None:
    student, teacher = student_of(Family.FCOS), teacher_of(Family.GFL)
    own, others = taps_of(student, teacher, batch)
    method: Any = Crosskd(CrosskdOptions(teacher_convs=2), pair_of(student, teacher, shapes))

    method(own, others).backward()

    # Both towers are passed whole, so the necks of 16 and 24 channels meet.
    assert [tuple(adapter.weight.shape[:2]) for adapter in method.adapters] == [(24, 16)] * 2
    assert all(adapter.weight.grad.abs().max() > 0 for adapter in method.adapters)
    assert student.bbox_head.cls_convs[0].conv.weight.grad is None


def test_training_lowers_the_loss(shapes: CocoSplit) -> None:
    student, teacher = student_of(Family.GFL), teacher_of(Family.GFL)
    chosen = distiller_of(MethodName.CROSSKD, student, teacher, shapes)

    losses = train(student, shapes, 14, chosen, detection_losses=False)["crosskd"]

    assert np.mean(losses[-4:]) < 0.8 * np.mean(losses[:4])


def test_a_teacher_of_other_cells_is_refused(batch: Batch, shapes: CocoSplit) -> None:
    student, teacher = student_of(Family.GFL), teacher_of(Family.GFL)
    larger = make_batch(shapes, [0, 1, 2, 3], Resolution(96, 96), [False, True, False, True])
    own = student_step(student, batch).taps
    others = TeacherTaps(teacher, own, frozenset({Tap.DENSE_OUTPUTS}), larger)

    with pytest.raises(ValueError, match="the teacher's cells are not the student's"):
        Crosskd(CrosskdOptions(), pair_of(student, teacher, shapes))(own, others)


def test_a_teacher_with_fewer_convolutions_is_refused(shapes: CocoSplit) -> None:
    student, teacher = student_of(Family.GFL), teacher_of(Family.GFL)

    with pytest.raises(InvalidValueError, match="teacher_convs=3 needs .*, and this one has 2"):
        Crosskd(CrosskdOptions(teacher_convs=3), pair_of(student, teacher, shapes))


def test_options_out_of_range_are_refused() -> None:
    with pytest.raises(InvalidValueError, match="teacher_convs=-1 must be at least 0"):
        CrosskdOptions(teacher_convs=-1)
