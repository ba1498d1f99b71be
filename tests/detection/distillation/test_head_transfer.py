"""The student's head becomes the teacher's and stays so."""

from typing import Any

import pytest
import torch
from mmdet.registry import MODELS
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from detection.data.batches import Batch
from detection.data.coco import CocoSplit
from detection.distillation.student import student_step
from detection.training import Training
from searchd.domain.detector import Family
from searchd.domain.distillation_methods import MethodName
from searchd.domain.resolution import Resolution
from searchd.spec import TrainingSpec
from tests.detection.distillation.conftest import tiny
from tests.detection.distillation.teaching import distiller_of

SPEC = TrainingSpec(epochs=2, batch_size=4, learning_rate=0.02, resolutions=(Resolution(64, 64),))
FAMILIES = [family for family in Family if family.two_stage]


def pair_of_equal_heads(family: Family) -> tuple[Any, Any]:
    torch.manual_seed(1)
    return tiny("resnet18", 16, family), tiny("resnet18", 16, family)


def head_of(model: Any) -> dict[str, Tensor]:
    state = model.state_dict()
    return {n: v.clone() for n, v in state.items() if n.startswith(("rpn_head.", "roi_head."))}


@pytest.mark.parametrize("family", FAMILIES)
def test_head_equals_the_teachers_after_training_and_the_rest_has_learned(
    family: Family, shapes: CocoSplit
) -> None:
    student, teacher = pair_of_equal_heads(family)
    before = {name: value.clone() for name, value in student.state_dict().items()}
    distiller = distiller_of(MethodName.HEAD_TRANSFER, student, teacher, shapes)

    done = list(Training(student, shapes, SPEC, seed=0, distiller=distiller).run())

    assert len(done) == 4
    torch.testing.assert_close(head_of(student), head_of(teacher), rtol=0, atol=0)
    changed = {
        name.split(".")[0]
        for name, value in student.state_dict().items()
        if not torch.equal(value, before[name])
    }
    assert changed == {"backbone", "neck", "rpn_head", "roi_head"}
    assert not torch.equal(student.backbone.conv1.weight, before["backbone.conv1.weight"])
    shapes_before = {name: value.shape for name, value in before.items()}
    assert {n: v.shape for n, v in student.state_dict().items()} == shapes_before


def test_it_adds_no_loss_and_the_detection_losses_still_teach_the_neck(
    shapes: CocoSplit, batch: Batch
) -> None:
    student, teacher = pair_of_equal_heads(Family.FASTER_RCNN)
    distiller = distiller_of(MethodName.HEAD_TRANSFER, student, teacher, shapes)
    frozen = distiller.prepare(student)

    step = student_step(student, batch)
    torch.stack(list(step.losses.values())).sum().backward()

    assert distiller(step.taps) == {}
    assert set(frozen) == {student.rpn_head, student.roi_head}
    assert all(p.grad is None for part in frozen for p in part.parameters())
    assert student.neck.fpn_convs[0].conv.weight.grad.abs().max() > 0


def test_teachers_head_is_copied_and_not_shared(shapes: CocoSplit) -> None:
    student, teacher = pair_of_equal_heads(Family.FASTER_RCNN)
    distiller_of(MethodName.HEAD_TRANSFER, student, teacher, shapes).prepare(student)

    student.rpn_head.rpn_cls.bias.data += 1

    assert not torch.equal(student.rpn_head.rpn_cls.bias, teacher.rpn_head.rpn_cls.bias)


def test_batch_norm_inside_a_head_is_not_updated(shapes: CocoSplit) -> None:
    student, teacher = (_with_batch_norm(seed) for seed in (1, 2))
    distiller = distiller_of(MethodName.HEAD_TRANSFER, student, teacher, shapes)

    next(Training(student, shapes, SPEC, seed=0, distiller=distiller).run())

    norms = [m for m in student.roi_head.modules() if isinstance(m, _BatchNorm)]
    assert norms
    assert not any(norm.training for norm in norms)
    assert student.backbone.bn1.training
    torch.testing.assert_close(head_of(student), head_of(teacher), rtol=0, atol=0)


def _with_batch_norm(seed: int) -> Any:
    """Faster R-CNN whose RoI head has convolutions with BN before its layers."""
    torch.manual_seed(seed)
    model = tiny("resnet18", 16)
    config = {
        "type": "Shared4Conv1FCBBoxHead",
        "in_channels": 16,
        "conv_out_channels": 8,
        "fc_out_channels": 16,
        "roi_feat_size": 7,
        "num_classes": 4,
        "norm_cfg": {"type": "BN"},
        "bbox_coder": {"type": "DeltaXYWHBBoxCoder"},
        "loss_cls": {"type": "CrossEntropyLoss", "use_sigmoid": False},
        "loss_bbox": {"type": "L1Loss"},
    }
    model.roi_head.bbox_head = MODELS.build(config)
    return model


def test_head_of_another_shape_is_refused(shapes: CocoSplit) -> None:
    student, teacher = tiny("resnet18", 16), tiny("resnet18", 24)
    distiller = distiller_of(MethodName.HEAD_TRANSFER, student, teacher, shapes)

    with pytest.raises(RuntimeError, match="size mismatch for rpn_conv.weight"):
        distiller.prepare(student)
