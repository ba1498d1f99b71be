"""A distiller runs the chosen methods, and teaches the student without being taught."""

from collections import defaultdict
from collections.abc import Callable

import numpy as np
import pytest
import torch
from mmdet.models import FasterRCNN
from torch import Tensor
from torch.nn.utils import clip_grad_norm_
from torch.optim import SGD

from detection.data.batches import Batch, TrainingBatches
from detection.data.coco import CocoSplit
from detection.distillation.distiller import Distiller, pair_of
from detection.distillation.student import student_step
from searchd.domain.distillation_methods import JOINT_DETNAS, MethodName
from searchd.domain.resolution import Resolution
from searchd.spec import MethodSpec

pytestmark = pytest.mark.timeout(60)  # real detectors are trained

MakeDistiller = Callable[..., Distiller]
ALL = tuple(MethodSpec(name=name) for name in JOINT_DETNAS)


@pytest.fixture
def distiller(student: FasterRCNN, shapes: CocoSplit) -> MakeDistiller:
    def make(
        teacher: FasterRCNN, methods: tuple[MethodSpec, ...] = ALL, max_channels: int = 24
    ) -> Distiller:
        pair = pair_of(student, teacher, shapes, max_teacher_channels=max_channels)
        return Distiller(methods, teacher, pair)

    return make


def test_each_method_gives_one_weighted_loss(
    distiller: MakeDistiller, student: FasterRCNN, teacher: FasterRCNN, batch: Batch
) -> None:
    step = student_step(student, batch)
    once = distiller(teacher, (MethodSpec(name=MethodName.CLASSIFICATION, weight=1),))
    thrice = distiller(teacher, (MethodSpec(name=MethodName.CLASSIFICATION, weight=3),))

    losses = distiller(teacher)(step.taps)

    assert set(losses) == {"proposal_feature", "classification", "class_aware_localisation"}
    torch.testing.assert_close(
        thrice(step.taps)["classification"], 3 * once(step.taps)["classification"]
    )


@pytest.mark.parametrize("name", JOINT_DETNAS)
def test_gradient_reaches_the_student_and_its_adapter_and_never_the_teacher(
    distiller: MakeDistiller,
    name: MethodName,
    student: FasterRCNN,
    teacher: FasterRCNN,
    batch: Batch,
) -> None:
    chosen = distiller(teacher, (MethodSpec(name=name),))
    before = {key: value.clone() for key, value in teacher.state_dict().items()}

    chosen(student_step(student, batch).taps)[name.value].backward()

    adapters = [parameter.grad for parameter in chosen.parameters()]
    assert student.backbone.conv1.weight.grad.abs().max() > 0
    assert all(gradient is not None and gradient.any() for gradient in adapters)
    assert all(parameter.grad is None for parameter in teacher.parameters())
    assert not teacher.training
    assert all(torch.equal(value, before[key]) for key, value in teacher.state_dict().items())


def test_adapters_are_the_only_state_and_are_handed_on(
    distiller: MakeDistiller, teacher: FasterRCNN
) -> None:
    parent, child = distiller(teacher), distiller(teacher)

    child.load_state_dict(parent.state_dict())

    assert list(parent.state_dict()) == [
        "proposal_feature.adapter.weight",
        "proposal_feature.adapter.bias",
    ]
    assert sum(1 for _ in parent.parameters()) == 2
    assert all(
        torch.equal(a, b)
        for a, b in zip(parent.state_dict().values(), child.state_dict().values(), strict=True)
    )


def test_adapters_of_another_size_are_refused(
    distiller: MakeDistiller, teacher: FasterRCNN
) -> None:
    with pytest.raises(RuntimeError, match="size mismatch"):
        distiller(teacher).load_state_dict(distiller(teacher, max_channels=32).state_dict())


def test_a_child_with_other_methods_inherits_the_adapters_that_it_still_has(
    distiller: MakeDistiller, teacher: FasterRCNN
) -> None:
    kept, gone, new = (
        MethodSpec(name=name)
        for name in (MethodName.PROPOSAL_FEATURE, MethodName.SGFI, MethodName.CKD)
    )
    parent, child = distiller(teacher, (kept, gone)), distiller(teacher, (kept, new))
    built = {key: value.clone() for key, value in child.state_dict().items()}

    child.load_state_dict(parent.state_dict())

    found = child.state_dict()
    assert found.keys() == built.keys()
    for key, value in found.items():
        source = parent.state_dict() if key.startswith("proposal_feature") else built
        assert torch.equal(value, source[key])
    assert child.inherited == {"proposal_feature"}


def test_adapters_of_no_method_and_incomplete_ones_are_refused(
    distiller: MakeDistiller, teacher: FasterRCNN
) -> None:
    state = distiller(teacher).state_dict()
    with pytest.raises(RuntimeError, match="of no distillation method: backbone.conv1.weight"):
        distiller(teacher).load_state_dict({**state, "backbone.conv1.weight": torch.zeros(1)})
    del state["proposal_feature.adapter.bias"]
    with pytest.raises(RuntimeError, match="Missing key.*proposal_feature.adapter.bias"):
        distiller(teacher).load_state_dict(state)


def test_losses_are_finite_when_no_image_has_an_object(
    distiller: MakeDistiller, student: FasterRCNN, teacher: FasterRCNN, batch_without_objects: Batch
) -> None:
    losses = distiller(teacher)(student_step(student, batch_without_objects).taps)
    torch.stack(list(losses.values())).sum().backward()

    assert float(losses["proposal_feature"].detach()) == 0
    assert all(torch.isfinite(loss) for loss in losses.values())


def test_training_on_shapes_lowers_every_loss_when_the_adapter_is_frozen(
    distiller: MakeDistiller, student: FasterRCNN, teacher: FasterRCNN, shapes: CocoSplit
) -> None:
    batches = TrainingBatches(shapes, batch_size=4, resolutions=[Resolution(64, 64)], seed=1)
    _train(teacher, 12, lambda step: student_step(teacher, batches.batch(step)).losses)
    chosen = distiller(teacher)

    def distilled(step: int) -> dict[str, Tensor]:
        found = student_step(student, batches.batch(step))
        return found.losses | chosen(found.taps)

    history = _train(student, 32, distilled)

    for name in JOINT_DETNAS:
        assert np.mean(history[name.value][-8:]) < 0.8 * np.mean(history[name.value][:8])


def _train(
    model: FasterRCNN, num_steps: int, losses_at: Callable[[int], dict[str, Tensor]]
) -> dict[str, list[float]]:
    """Each loss, step by step."""
    history: dict[str, list[float]] = defaultdict(list)
    optimizer = SGD(model.parameters(), lr=0.03, momentum=0.9)
    torch.manual_seed(0)
    for step in range(num_steps):
        losses = losses_at(step)
        optimizer.zero_grad()
        torch.stack(list(losses.values())).sum().backward()
        clip_grad_norm_(model.parameters(), 10)
        optimizer.step()
        for name, value in losses.items():
            history[name].append(float(value.detach()))
    return history
