"""ICD's formulas, and which loss teaches whom."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.structures import InstanceData
from torch import Tensor

from detection.data.batches import Batch, make_batch
from detection.data.coco import CocoSplit
from detection.distillation.icd import (
    Icd,
    distillation_loss,
    identification_loss,
    learning_rate_share,
    regression_loss,
)
from detection.distillation.method import Pair, Sizes
from searchd.domain.errors import InvalidValueError
from searchd.domain.method_options import IcdOptions
from searchd.domain.resolution import Resolution
from tests.detection.distillation.known import taps

pytestmark = pytest.mark.timeout(60)  # real detectors are trained

PYRAMID = (8, 16, 32)


def draw(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def sizes(
    channels: int, strides: tuple[int, ...] = PYRAMID, *, two_stage: bool = True, classes: int = 4
) -> Sizes:
    return Sizes(
        two_stage=two_stage,
        num_classes=classes,
        strides=strides,
        neck_channels=channels,
        embedding_channels=None,
        num_anchors=1,
    )


def icd(split: CocoSplit, student: Sizes | None = None, **options: Any) -> Icd:
    torch.manual_seed(0)
    pair = Pair(student=student or sizes(16), teacher=sizes(24), train_split=split)
    return Icd.build(IcdOptions(**options), pair)


def neck(
    batch: Batch, channels: int, strides: tuple[int, ...] = PYRAMID, seed: int = 1
) -> dict[int, Tensor]:
    """Random features that want gradients."""
    height, width = batch.inputs.shape[2:]
    return {
        s: draw(len(batch.samples), channels, height // s, width // s, seed=seed + s)
        .float()
        .requires_grad_()
        for s in strides
    }


def both(batch: Batch, *, step: int = 5000) -> tuple[Any, Any]:
    """A student's taps and a teacher's."""
    student = taps(batch=batch, step=step, neck=neck(batch, 16))
    return student, taps(neck=neck(batch, 24, seed=2))


def has_gradient(tensors: Any) -> set[bool]:
    """Whether each has one that is not zero."""
    return {t.grad is not None and bool(t.grad.any()) for t in tensors}


def test_identification_is_binary_cross_entropy() -> None:
    logits, is_real = draw(7), torch.tensor([1, 0, 0, 1, 0, 0, 0]).bool()

    scores = 1 / (1 + np.exp(-logits.numpy()))
    reference = -np.mean(np.log(np.where(is_real.numpy(), scores, 1 - scores)))
    assert float(identification_loss(logits, is_real)) == pytest.approx(reference, rel=1e-12)


def test_regression_is_the_error_of_distances_relative_to_the_box() -> None:
    outputs, rng = draw(5, 4), np.random.default_rng(0)
    corners = np.sort(rng.random((5, 2, 2)), axis=1)  # first and last corner, x and y
    centres = corners.mean(axis=1) + 0.1 * (rng.random((5, 2)) - 0.5)

    loss = regression_loss(
        outputs, torch.from_numpy(centres), torch.from_numpy(corners.reshape(5, 4))
    )

    reference = 0.0
    for i in range(5):
        (left, top), (right, bottom) = corners[i]
        x, y = centres[i]
        found = 1 / (1 + np.exp(-outputs[i].numpy()))
        width, height = right - left, bottom - top
        reference += abs(found[0] - (x - left)) / width + abs(found[2] - (right - x)) / width
        reference += abs(found[1] - (y - top)) / height + abs(found[3] - (bottom - y)) / height
    assert float(loss) == pytest.approx(reference / 5, rel=1e-12)


def test_regression_of_a_known_box() -> None:
    box, centre = torch.tensor([[0.2, 0.4, 0.6, 0.6]]), torch.tensor([[0.5, 0.5]])
    exact = torch.tensor([[0.3, 0.1, 0.1, 0.1]]).logit()

    assert float(regression_loss(exact, centre, box)) == pytest.approx(0, abs=1e-6)
    # every distance said to be 0.5: off by 0.2, 0.4, 0.4, 0.4 on a box of 0.4 x 0.2
    guess = regression_loss(torch.zeros(1, 4), centre, box)
    assert float(guess) == pytest.approx(0.2 / 0.4 + 0.4 / 0.2 + 0.4 / 0.4 + 0.4 / 0.2)


def test_regression_is_finite_for_an_object_that_clipping_left_no_width() -> None:
    box = torch.tensor([[1.0, 0.2, 1.0, 0.4]])

    assert torch.isfinite(regression_loss(torch.zeros(1, 4), box[:, :2], box))


@pytest.mark.parametrize("normalise", [True, False])
def test_distillation_equals_numpy(normalise: bool) -> None:
    attention = draw(2, 3, 4, 6).softmax(dim=3)
    is_real = torch.tensor([[1, 1, 0, 0], [1, 1, 1, 0]]).bool()
    ours, theirs = draw(2, 3, 5, 6, seed=1), draw(2, 3, 5, 6, seed=2)

    loss = distillation_loss(attention, is_real, ours, theirs, normalise=normalise)

    def value(values: Tensor, image: int, head: int, cell: int) -> Any:
        v = values[image, head, :, cell].numpy()
        return (v - v.mean()) / np.sqrt(v.var() + 1e-5) if normalise else v

    reference = 0.0
    for image in range(2):
        number = int(is_real[image].sum())
        for head in range(3):
            for instance in range(number):
                for cell in range(6):
                    a, b = (value(v, image, head, cell) for v in (ours, theirs))
                    mse = ((a - b) ** 2).mean()
                    reference += float(attention[image, head, instance, cell]) * mse / number
    assert float(loss) == pytest.approx(reference / (2 * 3), rel=1e-10)


def test_distillation_compares_only_what_real_instances_attend_to() -> None:
    attention = torch.zeros(1, 1, 2, 3)
    attention[0, 0, 0, 1] = attention[0, 0, 1, 2] = 1  # the real one looks at cell 1
    theirs = torch.zeros(1, 1, 4, 3)
    ours = torch.tensor([7.0, 2.0, 9.0]).expand(1, 1, 4, 3)

    loss = distillation_loss(
        attention, torch.tensor([[True, False]]), ours, theirs, normalise=False
    )

    assert float(loss) == 4.0


def test_distillation_vanishes_at_equality_and_ignores_scale_and_shift_of_normalised_values() -> (
    None
):
    attention, is_real = draw(1, 2, 3, 4).softmax(dim=3), torch.ones(1, 3).bool()
    values = draw(1, 2, 8, 4, seed=1)

    def loss(ours: Tensor, *, normalise: bool) -> float:
        return float(distillation_loss(attention, is_real, ours, values, normalise=normalise))

    assert loss(values, normalise=True) == loss(values, normalise=False) == 0
    assert loss(3 * values + 5, normalise=True) < 1e-8
    assert loss(3 * values + 5, normalise=False) > 1


def test_distillation_passes_gradcheck() -> None:
    attention, is_real = draw(1, 2, 2, 3).softmax(dim=3), torch.tensor([[True, False]])
    theirs = draw(1, 2, 4, 3, seed=2)

    assert torch.autograd.gradcheck(
        lambda ours: distillation_loss(attention, is_real, ours, theirs, normalise=True),
        draw(1, 2, 4, 3, seed=1).requires_grad_(),
    )


def test_auxiliary_losses_teach_encoder_decoder_and_predictor_alone(
    shapes: CocoSplit, batch: Batch
) -> None:
    method = icd(shapes)
    student, teacher = both(batch)

    losses = method.losses(student, teacher)
    (losses["identification"] + losses["regression"]).backward()

    taught = (method.encoder, method.decoder, method.predictor)
    assert has_gradient(p for m in taught for p in m.parameters() if p.dim() > 1) == {True}
    assert all(p.grad is not None for m in taught for p in m.parameters())
    assert all(p.grad is None for p in method.student_value.parameters())
    assert all(t.grad is None for t in student.neck.values())
    assert all(t.grad is None for t in teacher.neck.values())


def test_distillation_teaches_the_student_and_its_value_projection_alone(
    shapes: CocoSplit, batch: Batch
) -> None:
    method = icd(shapes)
    student, teacher = both(batch)

    method.losses(student, teacher)[""].backward()

    assert has_gradient(method.student_value.parameters()) == {True}
    assert has_gradient(student.neck.values()) == {True}
    others = (method.encoder, method.decoder, method.predictor)
    assert all(p.grad is None for m in others for p in m.parameters())
    assert all(t.grad is None for t in teacher.neck.values())


@pytest.mark.parametrize(("step", "reaches"), [(0, False), (999, False), (1000, True)])
def test_distillation_reaches_the_student_after_1000_iterations(
    shapes: CocoSplit, batch: Batch, step: int, reaches: bool
) -> None:
    method = icd(shapes)
    student, teacher = both(batch, step=step)

    method.losses(student, teacher)[""].backward()

    assert has_gradient(method.student_value.parameters()) == {True}
    assert has_gradient(student.neck.values()) == {reaches}


def test_preparation_has_the_auxiliary_losses_alone(shapes: CocoSplit, batch: Batch) -> None:
    method = icd(shapes, decoder_only_iterations=6000)

    losses = method.preparation_losses(*both(batch))

    assert set(losses) == {"identification", "regression"}
    assert method.preparation_iterations == 6000


def test_weight_is_of_the_distillation_loss_alone(shapes: CocoSplit, batch: Batch) -> None:
    method = icd(shapes)
    arguments = both(batch)

    def losses(weight: float) -> dict[str, Tensor]:
        torch.manual_seed(3)
        method.weight = weight
        return method.losses(*arguments)

    once, thrice = losses(1), losses(3)
    torch.manual_seed(3)
    torch.testing.assert_close(once[""], method(*arguments))
    torch.testing.assert_close(thrice[""], 3 * once[""])
    for part in ("identification", "regression"):
        torch.testing.assert_close(thrice[part], once[part])


def test_losses_are_zero_with_a_graph_when_no_image_has_an_object(
    shapes: CocoSplit, batch_without_objects: Batch
) -> None:
    method = icd(shapes)

    losses = method.losses(*both(batch_without_objects))
    torch.stack(list(losses.values())).sum().backward()

    assert [float(loss.detach()) for loss in losses.values()] == [0, 0, 0]
    assert all(p.grad is not None and not p.grad.any() for p in method.parameters())


def test_an_image_without_objects_beside_others_counts_nothing(
    shapes: CocoSplit, batch: Batch
) -> None:
    method = icd(shapes, fake_per_object=0)
    student, teacher = both(batch)
    batch.samples[0].gt_instances = batch.samples[0].gt_instances[:0]

    losses = method.losses(student, teacher)
    losses[""].backward()

    assert all(torch.isfinite(loss) for loss in losses.values())
    assert all(not t.grad[0].any() and t.grad[1].any() for t in student.neck.values())


def test_padding_does_not_matter(shapes: CocoSplit) -> None:
    method = icd(shapes)
    batch = make_batch(shapes, [0, 1], Resolution(64, 64), [False, False])
    batch.samples[1].set_metainfo({"img_shape": (40, 33)})  # the rest of it is padding
    student, teacher = both(batch)

    def losses() -> list[float]:
        torch.manual_seed(3)
        return [float(loss.detach()) for loss in method.losses(student, teacher).values()]

    before = losses()
    with torch.no_grad():
        for side in (student, teacher):
            side.neck[8][1, :, 5:] = side.neck[16][1, :, :, 3:] = 1e4
    assert losses() == pytest.approx(before, rel=1e-5)


def test_one_class_is_enough(shapes: CocoSplit, batch: Batch) -> None:
    for sample in batch.samples:
        sample.gt_instances.labels.zero_()
    records = [replace(record, labels=np.zeros_like(record.labels)) for record in shapes.records]
    split: Any = SimpleNamespace(records=records)

    losses = icd(split, sizes(16, classes=1)).losses(*both(batch))

    assert all(torch.isfinite(loss) and loss > 0 for loss in losses.values())


def test_levels_are_matched_by_stride(shapes: CocoSplit, batch: Batch) -> None:
    method = icd(shapes, sizes(16, (16, 32, 64), two_stage=False))
    student = taps(batch=batch, step=5000, neck=neck(batch, 16, (16, 32, 64)))
    teacher = taps(neck=neck(batch, 24))

    method.losses(student, teacher)[""].backward()

    assert has_gradient([student.neck[16], student.neck[32]]) == {True}
    assert student.neck[64].grad is None


def test_one_level_without_a_pyramid_is_enough(shapes: CocoSplit, batch: Batch) -> None:
    method = icd(shapes, sizes(32, (16,)))
    student = taps(batch=batch, step=5000, neck=neck(batch, 32, (16,)))

    losses = method.losses(student, taps(neck=neck(batch, 24)))

    assert all(torch.isfinite(loss) and loss > 0 for loss in losses.values())


def test_necks_without_a_common_stride_are_refused(shapes: CocoSplit) -> None:
    with pytest.raises(InvalidValueError, match=r"\(64, 128\).*\(8, 16, 32\)"):
        icd(shapes, sizes(16, (64, 128)))


def test_narrow_student_and_teacher_use_the_leading_part(shapes: CocoSplit, batch: Batch) -> None:
    method = icd(shapes)
    student = taps(batch=batch, step=5000, neck=neck(batch, 10))
    teacher = taps(neck=neck(batch, 12, seed=2))

    torch.stack(list(method.losses(student, teacher).values())).sum().backward()

    used = [
        (method.student_value, 1, 10),
        (method.decoder.key, 1, 12),
        (method.decoder.value, 1, 12),
        (method.decoder.position, 0, 12),
    ]
    for layer, axis, width in used:
        assert layer.weight.grad is not None
        gradient = layer.weight.grad.transpose(0, axis)
        assert gradient[:width].flatten(start_dim=1).any(dim=1).all()
        assert not gradient[width:].any()


@pytest.mark.parametrize(("two_stage", "most"), [(True, 100), (False, 300)])
def test_one_stage_students_have_more_instances_per_image(
    shapes: CocoSplit, batch: Batch, two_stage: bool, most: int
) -> None:
    method = icd(shapes, sizes(16, two_stage=two_stage))
    batch.samples[0].gt_instances = InstanceData(
        bboxes=torch.tensor([[8.0, 8.0, 24.0, 24.0]]).repeat(70, 1), labels=torch.zeros(70).long()
    )

    found = method.sampler(batch)

    assert int(found.is_used[0].sum()) == most
    assert int(found.is_real[0].sum()) == 70


def test_draws_follow_torchs_seed(shapes: CocoSplit, batch: Batch) -> None:
    method = icd(shapes)
    arguments = both(batch)

    def drawn(seed: int) -> list[float]:
        torch.manual_seed(seed)
        return [float(loss.detach()) for loss in method.losses(*arguments).values()]

    assert drawn(1) == drawn(1) != drawn(2)


def test_own_optimizer_is_adamw_over_all_modules(shapes: CocoSplit) -> None:
    method = icd(shapes)

    own = method.own_optimizer(100)

    (group,) = own.optimizer.param_groups
    assert isinstance(own.optimizer, torch.optim.AdamW)
    assert group["initial_lr"] == 1e-4
    assert group["weight_decay"] == 1e-4
    assert own.max_grad_norm == 0.01
    assert {id(p) for p in own.parameters} == {id(p) for p in method.parameters()}
    assert id(method.student_value.weight) in {id(p) for p in own.parameters}


def test_rate_warms_up_over_ten_iterations_and_falls_by_a_cosine() -> None:
    shares = [learning_rate_share(step, 100) for step in (0, 4, 9, 50, 100)]

    assert shares == pytest.approx([0.1, 0.498, 0.9801, 0.5, 0], abs=1e-3)
