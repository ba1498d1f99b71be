"""What all of G-DetKD's losses have in common, for every family that they teach."""

import copy
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from detection.data.batches import Batch
from detection.data.coco import CocoSplit
from detection.distillation.student import student_step
from detection.mmdet.config import build_config, model_config
from searchd.domain.detector import Family, MmdetDetector
from searchd.domain.distillation_methods import MethodName
from tests.detection.distillation.conftest import tiny
from tests.detection.distillation.teaching import distiller_of, student_of, train
from tests.detection.mmdet.test_config import RESNET18_C4

pytestmark = pytest.mark.timeout(60)  # real detectors are trained

OPTIONS: dict[MethodName, dict[str, Any]] = {MethodName.CKD: {"queue_size": 512}}
LOSSES = [
    (MethodName.SGFI, Family.FASTER_RCNN),
    (MethodName.SGFI, Family.RETINANET),
    (MethodName.SGFI, Family.FCOS),
    (MethodName.CKD, Family.FASTER_RCNN),
    (MethodName.CKD, Family.RETINANET),
    (MethodName.CKD, Family.FCOS),
    (MethodName.LOCALISATION, Family.FASTER_RCNN),
    (MethodName.PREDICTION_CONVERSION, Family.RETINANET),
    (MethodName.PREDICTION_CONVERSION, Family.FCOS),
]
NUM_STEPS = {MethodName.SGFI: 14, MethodName.PREDICTION_CONVERSION: 28}
"""Of a training that lowers the loss by far more than is asserted; 20 for the other methods."""
WITH_CASCADES = [
    *LOSSES,
    (MethodName.SGFI, Family.CASCADE_RCNN),
    (MethodName.CKD, Family.CASCADE_RCNN),
]


@pytest.fixture(scope="module")
def trained_teacher(shapes: CocoSplit) -> Iterator[Any]:
    torch.manual_seed(2)
    model = tiny("resnet18", 24)
    train(model, shapes, 16)
    return model


@pytest.mark.parametrize(("name", "family"), WITH_CASCADES)
def test_gradient_reaches_the_student_and_its_adapters_and_never_the_teacher(
    name: MethodName, family: Family, teacher: Any, shapes: CocoSplit, batch: Batch
) -> None:
    student = student_of(family)
    chosen = distiller_of(name, student, teacher, shapes, options=OPTIONS.get(name, {}))
    before = {key: value.clone() for key, value in teacher.state_dict().items()}

    loss = chosen(student_step(student, batch).taps)[name.value]
    loss.backward()

    assert float(loss.detach()) > 0
    assert student.backbone.conv1.weight.grad.abs().max() > 0
    gradients = [parameter.grad for parameter in chosen.parameters()]
    assert all(gradient is not None and gradient.any() for gradient in gradients)
    assert all(parameter.grad is None for parameter in teacher.parameters())
    assert all(torch.equal(value, before[key]) for key, value in teacher.state_dict().items())


@pytest.mark.parametrize(("name", "family"), WITH_CASCADES)
def test_loss_is_finite_when_no_image_has_an_object(
    name: MethodName, family: Family, teacher: Any, shapes: CocoSplit, batch_without_objects: Batch
) -> None:
    student = student_of(family)
    chosen = distiller_of(name, student, teacher, shapes, options=OPTIONS.get(name, {}))
    step = student_step(student, batch_without_objects)

    loss = chosen(step.taps)[name.value]
    loss.backward()

    assert torch.isfinite(loss)
    assert (float(loss.detach()) == 0) == (not step.taps.regions.is_compared.any()) or (
        name is MethodName.CKD
    )
    _check_gradients_are_there_and_finite(student, chosen.parameters())


@pytest.mark.parametrize(("name", "family"), LOSSES)
def test_loss_is_finite_on_a_padded_batch_with_an_empty_image(
    name: MethodName, family: Family, teacher: Any, shapes: CocoSplit, batch: Batch
) -> None:
    student = student_of(family)
    chosen = distiller_of(name, student, teacher, shapes, options=OPTIONS.get(name, {}))
    batch.samples[0].set_metainfo({"img_shape": (40, 48)})
    batch.samples[0].gt_instances = batch.samples[0].gt_instances[:0]

    loss = chosen(student_step(student, batch).taps)[name.value]
    loss.backward()

    assert torch.isfinite(loss)
    assert float(loss.detach()) > 0
    _check_gradients_are_there_and_finite(student, chosen.parameters())


@pytest.mark.parametrize(("name", "family"), LOSSES)
def test_training_on_shapes_lowers_the_loss_with_frozen_adapters_and_keeps_the_students_shape(
    name: MethodName, family: Family, trained_teacher: Any, shapes: CocoSplit
) -> None:
    student = student_of(family)
    if name is MethodName.LOCALISATION:  # untrained deltas are all small, the teacher's too
        torch.nn.init.normal_(student.roi_head.bbox_head.fc_reg.bias)
    options = {"queue_size": 0} if name is MethodName.CKD else {}  # a growing queue adds to it
    weight = 1 if family.two_stage else 20 if name is MethodName.PREDICTION_CONVERSION else 5
    chosen = distiller_of(name, student, trained_teacher, shapes, weight=weight, options=options)

    history = train(
        student,
        shapes,
        num_steps=NUM_STEPS.get(name, 20),
        distiller=chosen,
        # Learning to detect moves a one-stage student's regions from background to objects, on
        # which the losses are larger; so it is trained by the one loss alone.
        detection_losses=family.two_stage,
        learning_rate=0.003 if name is MethodName.LOCALISATION else 0.03,
    )

    losses = history[name.value]
    assert np.mean(losses[-4:]) < 0.9 * np.mean(losses[:4])
    fresh = student_of(family).state_dict()
    assert {key: value.shape for key, value in student.state_dict().items()} == {
        key: value.shape for key, value in fresh.items()
    }


@pytest.mark.parametrize(
    "name",
    [MethodName.PROPOSAL_FEATURE, MethodName.SGFI, MethodName.CKD, MethodName.CLASSIFICATION],
)
@pytest.mark.parametrize("student_has_fpn", [True, False])
def test_detectors_without_fpn_teach_and_learn(
    name: str, student_has_fpn: bool, c4: Any, shapes: CocoSplit, batch: Batch
) -> None:
    """The region features of a C4 detector come out of its last backbone stage."""
    method = MethodName(name)
    student, teacher = student_of(Family.FASTER_RCNN), c4
    if not student_has_fpn:
        student, teacher = copy.deepcopy(c4).train().requires_grad_(), student
    chosen = distiller_of(method, student, teacher, shapes, options=OPTIONS.get(method, {}))

    loss = chosen(student_step(student, batch).taps)[name]
    loss.backward()

    assert float(loss.detach()) > 0
    assert torch.isfinite(loss)
    gradients = [p.grad for p in (*chosen.parameters(), *student.roi_head.parameters())]
    assert any(gradient is not None and gradient.any() for gradient in gradients)


@pytest.fixture(scope="module")
def c4() -> Any:
    torch.manual_seed(4)
    options = RESNET18_C4 | {
        "train_cfg.rcnn.sampler.num": 8,
        "train_cfg.rpn_proposal.max_per_img": 20,
    }
    config = MmdetDetector(
        config="faster-rcnn_r50-caffe_c4-1x_coco", num_classes=4, options=options
    )
    return build_config(model_config(config))


def _check_gradients_are_there_and_finite(student: Any, adapters: Iterator[Any]) -> None:
    gradients = [parameter.grad for parameter in (student.backbone.conv1.weight, *adapters)]
    assert all(gradient is not None and gradient.isfinite().all() for gradient in gradients)
