"""An inherited neck starts with the maps that fit the teacher's outputs best."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from detection.data.batches import Batch
from detection.data.coco import CocoSplit
from detection.distillation.distiller import Distiller, pair_of
from detection.distillation.inheriting import inherit
from detection.distillation.neck_start import NeckStart
from detection.training import Training
from searchd.domain.detector import Family
from searchd.domain.distillation_methods import MethodName
from searchd.domain.resolution import Resolution
from searchd.spec import MethodSpec, TrainingSpec
from tests.detection.distillation.conftest import tiny

pytestmark = pytest.mark.timeout(60)  # real detectors are trained


def distiller(student: Any, teacher: Any, shapes: CocoSplit, **options: Any) -> Distiller:
    spec = MethodSpec(name=MethodName.INHERITING, options=options)
    return Distiller((spec,), teacher, pair_of(student, teacher, shapes))


def levels(model: Any, inputs: Tensor) -> list[Tensor]:
    with torch.no_grad():
        return list(model.neck(model.backbone(inputs)))


def rows(features: Tensor) -> Tensor:
    return features.permute(0, 2, 3, 1).flatten(0, 2).double()


def fitted(student: Any, teacher: Any, inputs: Tensor) -> tuple[str, ...]:
    start = NeckStart(student.eval(), teacher.eval(), num_images=128)
    start.add(inputs)
    return start.finish()


@pytest.mark.parametrize("family", [Family.FASTER_RCNN, Family.RETINANET, Family.FCOS])
def test_with_the_teachers_backbone_the_neck_becomes_the_teachers(family: Family) -> None:
    torch.manual_seed(0)
    student, teacher = tiny("resnet18", 16, family), tiny("resnet18", 16, family)
    student.backbone.load_state_dict(teacher.backbone.state_dict())
    inherit(student, teacher)
    for lateral in student.neck.lateral_convs:
        nn.init.normal_(lateral.conv.weight)
    inputs = torch.rand(4, 3, 320, 320)

    fitted(student, teacher, inputs)

    for ours, theirs in zip(levels(student, inputs), levels(teacher, inputs), strict=True):
        assert torch.allclose(ours, theirs, atol=0.01 * float(theirs.abs().max()))


def test_a_backbone_of_other_widths_gets_the_best_linear_map() -> None:
    torch.manual_seed(0)
    student, teacher = tiny("resnet18", 16), tiny("resnet50", 16)
    inherit(student, teacher)
    inputs = torch.rand(4, 3, 320, 320)

    notes = fitted(student, teacher, inputs)

    with torch.no_grad():
        read, lateral = student.backbone(inputs)[1], teacher.neck.lateral_convs[1]
        wanted = rows(lateral(teacher.backbone(inputs)[1]))
        error = (rows(student.neck.lateral_convs[1](read)) - wanted).square().sum()
        with_bias = torch.cat([rows(read), torch.ones(len(wanted), 1)], dim=1)
        best = torch.linalg.lstsq(with_bias, wanted, driver="gelsd").solution
    least = (with_bias @ best - wanted).square().sum()
    assert float(error) == pytest.approx(float(least), rel=0.01)
    assert len(notes) == 4
    assert notes[1].startswith(
        "inheriting: lateral_convs.1.conv of the neck starts by least squares and explains "
    )


def test_a_kernel_of_3x3_with_stride_2_is_fitted_too() -> None:
    torch.manual_seed(0)
    student, teacher = (tiny("resnet18", 16, Family.RETINANET) for _ in range(2))
    student.backbone.load_state_dict(teacher.backbone.state_dict())
    inherit(student, teacher)
    nn.init.normal_(student.neck.fpn_convs[3].conv.weight)  # P6 reads C5
    inputs = torch.rand(12, 3, 512, 512)

    fitted(student, teacher, inputs)

    ours, theirs = levels(student, inputs)[3], levels(teacher, inputs)[3]
    assert torch.allclose(ours, theirs, atol=0.05 * float(theirs.abs().max()))


def test_a_convolution_with_fewer_cells_than_weights_stays_as_it_is() -> None:
    torch.manual_seed(0)
    student, teacher = (tiny("resnet18", 16, Family.RETINANET) for _ in range(2))
    inherit(student, teacher)
    before = student.neck.fpn_convs[3].conv.weight.clone()

    *_, note = fitted(student, teacher, torch.rand(4, 3, 64, 64))

    assert torch.equal(student.neck.fpn_convs[3].conv.weight, before)
    assert note == (
        "inheriting: fpn_convs.3.conv of the neck stays as it is: the training images have 4 cells "
        "there, and least squares need 578"
    )


def test_a_neck_is_fitted_where_it_was_copied_and_not_in_children(
    shapes: CocoSplit, batch: Batch
) -> None:
    del batch
    student, teacher = tiny("resnet18", 16), tiny("resnet18", 16)
    parents = distiller(student, teacher, shapes)
    parents.prepare(student)
    child = distiller(student, teacher, shapes)
    child.load_state_dict(parents.state_dict())
    child.prepare(student)

    assert parents.neck_start(student) is not None
    assert child.neck_start(student) is None


def test_laterals_that_are_copied_are_not_fitted(shapes: CocoSplit) -> None:
    student, teacher = tiny("resnet18", 16), tiny("resnet18", 16)
    as_in_the_paper = distiller(student, teacher, shapes, laterals="copied")
    as_in_the_paper.prepare(student)

    assert as_in_the_paper.neck_start(student) is None


def test_a_training_fits_the_neck_before_its_first_step_and_says_so(shapes: CocoSplit) -> None:
    torch.manual_seed(1)
    student, teacher = tiny("resnet18", 16), tiny("resnet18", 16)
    spec = TrainingSpec(epochs=1, batch_size=4, resolutions=(Resolution(64, 64),))
    methods = distiller(student, teacher, shapes)
    training = Training(student, shapes, spec, seed=0, distiller=methods)
    copied = teacher.neck.lateral_convs[0].conv.weight
    assert torch.equal(student.neck.lateral_convs[0].conv.weight, copied)
    statistics = student.backbone.layer1[0].bn1.running_mean.clone()

    for _ in training.start_adapters():
        pass

    assert not torch.equal(student.neck.lateral_convs[0].conv.weight, copied)
    assert torch.equal(student.backbone.layer1[0].bn1.running_mean, statistics)
    assert training.start_notes[0].startswith("inheriting: lateral_convs.0.conv of the neck starts")
