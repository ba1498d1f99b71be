"""The methods on neck features between real detectors, of one family and of two."""

from typing import Any

import numpy as np
import pytest
import torch

from detection.data.batches import Batch, make_batch
from detection.data.coco import CocoSplit
from detection.distillation.distiller import Distiller, pair_of
from detection.distillation.student import student_step
from searchd.domain.detector import Family
from searchd.domain.distillation_methods import MethodName
from searchd.domain.resolution import Resolution
from searchd.spec import MethodSpec
from tests.detection.distillation.conftest import tiny
from tests.detection.distillation.teaching import train

pytestmark = pytest.mark.timeout(60)  # real detectors are trained

METHODS = [
    MethodName.FEATURE_MATCHING,
    MethodName.FEATURE_IMITATION,
    MethodName.CWD,
    MethodName.FGD,
    MethodName.MGD,
]
MASKS = ["whole", "anchor", "gaussian", "ground_truth"]
PAIRS = [
    (Family.FASTER_RCNN, Family.FASTER_RCNN),
    (Family.RETINANET, Family.FASTER_RCNN),
    (Family.FCOS, Family.RETINANET),
]

WEIGHTS = {MethodName.MGD: 3000.0}
"""MGD's published scale is made for sums over maps a thousand times as large as these."""
LOWERED = {MethodName.MGD: 0.95}
"""A random generator can restore little from half of the cells."""
NUM_STEPS = {MethodName.FEATURE_IMITATION: 12, MethodName.CWD: 12}
"""Of a training that lowers the loss by more than is asserted; 24 for the other methods."""


def detectors(families: tuple[Family, Family], student_channels: int = 24) -> tuple[Any, Any]:
    """A student, and a teacher with a neck of 16 channels."""
    torch.manual_seed(1)
    student = tiny("resnet18", student_channels, families[0])
    torch.manual_seed(2)
    return student, tiny("resnet18", 16, families[1])


def distiller(student: Any, teacher: Any, shapes: CocoSplit, *methods: MethodSpec) -> Distiller:
    torch.manual_seed(3)
    return Distiller(methods, teacher, pair_of(student, teacher, shapes))


@pytest.fixture
def large_batch(shapes: CocoSplit) -> Batch:
    """Images of 120 pixels, padded to 128, so that the coarsest levels have several cells."""
    return make_batch(shapes, [0, 1], Resolution(120, 120), [False, True])


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("families", PAIRS, ids=lambda families: "-".join(families))
def test_gradient_reaches_the_student_and_its_adapters_and_never_the_teacher(
    name: MethodName, families: tuple[Family, Family], shapes: CocoSplit, large_batch: Batch
) -> None:
    student, teacher = detectors(families)
    chosen = distiller(student, teacher, shapes, MethodSpec(name=name))
    before = {key: value.clone() for key, value in teacher.state_dict().items()}

    chosen(student_step(student, large_batch).taps)[name.value].backward()

    adapters = [parameter.grad for parameter in chosen.parameters()]
    assert student.backbone.conv1.weight.grad.abs().max() > 0
    assert all(gradient is not None and gradient.isfinite().all() for gradient in adapters)
    assert any(gradient is not None and gradient.any() for gradient in adapters)
    assert all(parameter.grad is None for parameter in teacher.parameters())
    assert all(torch.equal(value, before[key]) for key, value in teacher.state_dict().items())


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("families", PAIRS, ids=lambda families: "-".join(families))
def test_losses_are_finite_without_objects_and_reach_every_adapter(
    name: MethodName,
    families: tuple[Family, Family],
    shapes: CocoSplit,
    batch_without_objects: Batch,
) -> None:
    student, teacher = detectors(families)
    chosen = distiller(student, teacher, shapes, MethodSpec(name=name))

    loss = chosen(student_step(student, batch_without_objects).taps)[name.value]
    loss.backward()

    assert torch.isfinite(loss)
    assert all(p.grad is not None and p.grad.isfinite().all() for p in chosen.parameters())


@pytest.mark.parametrize("mask", MASKS)
def test_masked_imitation_of_a_batch_in_which_one_image_has_no_object(
    mask: str, shapes: CocoSplit, batch: Batch
) -> None:
    student, teacher = detectors(PAIRS[0])
    spec = MethodSpec(name=MethodName.FEATURE_IMITATION, options={"mask": mask})
    batch.samples[1].gt_instances = batch.samples[1].gt_instances[:0]

    losses = distiller(student, teacher, shapes, spec)(student_step(student, batch).taps)

    assert float(losses["feature_imitation"].detach()) > 0


def test_the_anchor_mask_is_refused_for_fcos(shapes: CocoSplit) -> None:
    spec = MethodSpec(name=MethodName.FEATURE_IMITATION, options={"mask": "anchor"})

    with pytest.raises(ValueError, match="needs a student with anchors"):
        distiller(*detectors(PAIRS[2]), shapes, spec)


@pytest.mark.parametrize("name", METHODS)
def test_necks_of_equal_width_need_no_adapter_but_what_the_method_itself_learns(
    name: MethodName, shapes: CocoSplit, batch: Batch
) -> None:
    student, teacher = detectors(PAIRS[0], student_channels=16)
    chosen = distiller(student, teacher, shapes, MethodSpec(name=name))

    loss = chosen(student_step(student, batch).taps)[name.value]

    assert float(loss.detach()) > 0
    assert not any("convs" in key for key in chosen.state_dict())


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("families", PAIRS[::2], ids=lambda families: "-".join(families))
def test_training_on_shapes_lowers_the_loss_when_the_adapters_are_frozen(
    name: MethodName, families: tuple[Family, Family], shapes: CocoSplit
) -> None:
    student, teacher = detectors(families)
    fresh = {key: value.shape for key, value in student.state_dict().items()}
    chosen = distiller(student, teacher, shapes, MethodSpec(name=name, weight=WEIGHTS.get(name)))
    before = {key: value.clone() for key, value in chosen.state_dict().items()}

    losses = train(student, shapes, NUM_STEPS.get(name, 24), chosen)[name.value]

    assert np.mean(losses[-6:]) < LOWERED.get(name, 0.8) * np.mean(losses[:6])
    assert all(torch.equal(value, before[key]) for key, value in chosen.state_dict().items())
    assert {key: value.shape for key, value in student.state_dict().items()} == fresh
