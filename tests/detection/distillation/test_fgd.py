"""Focal and global distillation against NumPy: masks, attentions, context blocks."""

import math

import numpy as np
import pytest
import torch
from mmdet.models.task_modules import AnchorGenerator
from torch import Tensor, nn

from detection.distillation.fgd import (
    ONE_STAGE,
    TWO_STAGE,
    Fgd,
    Relations,
    Weights,
    attentions,
    background_mask,
    focal_loss,
    relation_loss,
)
from detection.distillation.method import Sizes
from searchd.domain.method_options import FgdOptions
from tests.detection.distillation.known import taps
from tests.detection.distillation.neck_features import Floats, adapted, holding, neck, pair, sizes

WEIGHTS = Weights(foreground=0.7, background=0.3, attention=0.2, relation=0.1)
OPTIONS = FgdOptions(temperature=0.6, foreground=0.7, background=0.3, attention=0.2, relation=0.1)
ANCHORS = AnchorGenerator(strides=[8], scales=[2.0], ratios=[1.0])


def fgd(student: int, teacher: int) -> Fgd:
    """With context blocks that do something, as after some training."""
    torch.manual_seed(0)
    method = Fgd.build(OPTIONS, pair(sizes(student), sizes(teacher))).double()
    for parameter in method.parameters():
        nn.init.normal_(parameter, std=0.3)
    return method


def softmax(values: Floats) -> Floats:
    raised = np.exp(values - values.max())
    return np.asarray(raised / raised.sum())


def reference_attentions(image: Floats, temperature: float) -> tuple[Floats, Floats]:
    """Of one image's C x H x W."""
    channels, height, width = image.shape
    spatial = softmax(np.abs(image).mean(axis=0).ravel() / temperature) * height * width
    channel = softmax(np.abs(image).mean(axis=(1, 2)) / temperature) * channels
    return spatial.reshape(height, width), channel


def reference_focal(student: Floats, teacher: Floats, foreground: Floats, t: float) -> float:
    total = 0.0
    for own, given, mask in zip(student, teacher, foreground, strict=True):
        (s_t, c_t), (s_s, c_s) = reference_attentions(given, t), reference_attentions(own, t)
        background = (mask == 0) / max((mask == 0).sum(), 1)
        for c, y, x in np.ndindex(*given.shape):
            weight = 0.7 * mask[y, x] + 0.3 * background[y, x]
            total += weight * s_t[y, x] * c_t[c] * (given[c, y, x] - own[c, y, x]) ** 2
        total += 0.2 * (np.abs(s_t - s_s).sum() + np.abs(c_t - c_s).sum())
    return total / len(teacher)


def reference_relations(block: nn.Module, features: Floats) -> Floats:
    """GCNet's block on N x C x H x W."""
    values = {name: value.numpy() for name, value in block.state_dict().items()}
    related = features.copy()
    for image in range(len(features)):
        flat = features[image].reshape(features.shape[1], -1)
        scores = values["block.conv_mask.weight"].ravel() @ flat + values["block.conv_mask.bias"]
        context = flat @ softmax(scores)
        hidden = values["block.channel_add_conv.0.weight"][:, :, 0, 0] @ context
        hidden = hidden + values["block.channel_add_conv.0.bias"]
        hidden = (hidden - hidden.mean()) / np.sqrt(hidden.var() + 1e-5)
        hidden = hidden * values["block.channel_add_conv.1.weight"].ravel()
        hidden = np.maximum(hidden + values["block.channel_add_conv.1.bias"].ravel(), 0)
        added = values["block.channel_add_conv.3.weight"][:, :, 0, 0] @ hidden
        added = added + values["block.channel_add_conv.3.bias"]
        related[image] += added[:, None, None]
    return related


def masks(size: tuple[int, int]) -> Tensor:
    """Two images: one with an object of 3 x 2 cells, one without."""
    foreground = torch.zeros(2, *size, dtype=torch.float64)
    foreground[0, 1:3, 1:4] = 1 / 6
    return foreground


def test_attentions_equal_numpy_and_sum_to_their_number() -> None:
    features = 2 * neck(3, 8)[8]

    spatial, channel = attentions(features, 0.5)

    for image in range(2):
        expected = reference_attentions(features[image].numpy(), 0.5)
        np.testing.assert_allclose(spatial[image].numpy(), expected[0], rtol=1e-12)
        np.testing.assert_allclose(channel[image].numpy(), expected[1], rtol=1e-12)
    assert spatial.sum(dim=(1, 2)).tolist() == pytest.approx([32, 32])
    assert channel.sum(dim=1).tolist() == pytest.approx([3, 3])


def test_background_mask_shares_one_among_the_cells_without_object() -> None:
    found = background_mask(masks((4, 8)))

    assert torch.unique(found[0]).tolist() == pytest.approx([0, 1 / 26])
    assert not found[0, 1:3, 1:4].any()
    assert torch.unique(found[1]).tolist() == pytest.approx([1 / 32])
    assert not background_mask(torch.ones(1, 2, 2)).any()


def test_focal_loss_equals_numpy() -> None:
    student, teacher = neck(3, 8)[8], 2 * neck(3, 8, seed=1)[8]
    foreground = masks((4, 8))

    loss = focal_loss(student, teacher, foreground, 0.6, WEIGHTS)

    expected = reference_focal(student.numpy(), teacher.numpy(), foreground.numpy(), 0.6)
    assert float(loss) == pytest.approx(expected, rel=1e-12)
    assert float(focal_loss(teacher, teacher, foreground, 0.6, WEIGHTS)) == 0


def test_focal_loss_of_flat_attentions_by_hand() -> None:
    # |F| is 1 everywhere on the teacher's side: both attentions are 1, and so are the student's.
    teacher, student = torch.ones(1, 2, 2, 2), torch.full((1, 2, 2, 2), -1.0)
    foreground = torch.tensor([[[1.0, 0.0], [0.0, 0.0]]])

    loss = focal_loss(student, teacher, foreground, 0.5, WEIGHTS)

    # (F_t - F_s)^2 = 4 in 2 channels: 8 in the object's cell, a mean of 8 in the background.
    assert float(loss) == pytest.approx(0.7 * 8 + 0.3 * 8)


def test_context_blocks_equal_numpy() -> None:
    block = fgd(3, 5).student_relations["8"]
    features = neck(5, 8)[8]

    np.testing.assert_allclose(
        block(features).detach().numpy(), reference_relations(block, features.numpy()), rtol=1e-10
    )


def test_a_fresh_context_block_changes_nothing() -> None:
    features = neck(5, 8)[8].float()

    assert torch.equal(Relations(5)(features), features)


def test_a_context_block_serves_narrower_features_by_its_leading_channels() -> None:
    block = fgd(3, 5).student_relations["8"]
    features = neck(4, 8)[8]
    padded = torch.cat([features, torch.zeros(2, 1, 4, 8).double()], dim=1)

    torch.testing.assert_close(block(features), block(padded)[:, :4])


def test_relation_loss_sums_over_everything_but_the_batch() -> None:
    assert float(relation_loss(torch.zeros(2, 3, 4, 5), torch.full((2, 3, 4, 5), 2.0))) == 240


def test_the_whole_loss_equals_numpy() -> None:
    method = fgd(3, 5)
    batch = holding([[8.0, 8.0, 30.0, 24.0]], [])
    student, teacher = neck(3, 8, 16), neck(5, 8, 16, seed=1)

    loss = method(taps(neck=student, batch=batch), taps(neck=teacher))

    expected = 0.0
    coarse = np.zeros((2, 2, 4))
    coarse[0, 0:2, 0:2] = 1 / 4
    for stride, foreground in ((8, masks((4, 8)).numpy()), (16, coarse)):
        own = adapted(method.adapters.convs[str(stride)], student[stride])
        given = teacher[stride].numpy()
        expected += reference_focal(own, given, foreground, 0.6)
        own = reference_relations(method.student_relations[str(stride)], own)
        given = reference_relations(method.teacher_relations[str(stride)], given)
        expected += 0.1 * float(((given - own) ** 2).sum()) / 2
    assert float(loss.detach()) == pytest.approx(expected, rel=1e-10)


def test_gradient_reaches_the_student_and_both_context_blocks() -> None:
    method = fgd(3, 12)
    student = {stride: level.requires_grad_() for stride, level in neck(3, 8, 16).items()}
    batch = holding([[8.0, 8.0, 30.0, 24.0]], [])

    method(taps(neck=student, batch=batch), taps(neck=neck(12, 8, 16, seed=1))).backward()

    weights = [p for name, p in method.named_parameters() if name.endswith("weight")]
    assert all(p.grad is not None and p.grad.any() for p in [*weights, *student.values()])


def test_the_objects_of_a_teacher_that_sees_a_larger_image_cover_more_of_its_cells() -> None:
    weights = Weights(foreground=1, background=0, attention=0, relation=0)
    method = Fgd(pair(sizes(2, (8,)), sizes(2, (8,))), temperature=0.5, weights=weights).double()
    batch = holding(
        [[8.0, 8.0, 32.0, 24.0]]
    )  # 3 x 2 of the student's cells, 6 x 4 of the teacher's
    student = taps(neck={8: torch.zeros(1, 2, 4, 8).double()}, batch=batch)
    everywhere = torch.ones(1, 2, 8, 16).double()
    below = torch.zeros(1, 2, 8, 16).double()
    below[:, :, 4:] = 1e-3  # too weak to draw attention

    whole = method(student, taps(neck={8: everywhere}))
    half = method(student, taps(neck={8: below}))

    # Of the box's rows 2..5 two are below row 4; two channels.
    assert float(whole) == pytest.approx(2)
    assert float(half) == pytest.approx(2 * 1e-6 / 2, rel=0.01)


@pytest.mark.parametrize(
    ("student", "weights", "temperature"),
    [
        (sizes(3, two_stage=True, anchors=ANCHORS), TWO_STAGE, 0.5),
        (sizes(3, anchors=ANCHORS), ONE_STAGE, 0.5),
        (sizes(3), ONE_STAGE, 0.8),
    ],
    ids=["two-stage", "one-stage", "anchor-free"],
)
def test_published_numbers_are_the_default_of_each_kind_of_student(
    student: Sizes, weights: Weights, temperature: float
) -> None:
    method = Fgd.build(FgdOptions(), pair(student, sizes(3)))

    assert method._weights == weights
    assert method._temperature == temperature


def test_published_numbers_are_those_of_the_paper() -> None:
    assert (ONE_STAGE.foreground, ONE_STAGE.background) == (1e-3, 5e-4)
    assert (ONE_STAGE.attention, ONE_STAGE.relation) == (1e-3, 5e-6)
    assert (TWO_STAGE.foreground, TWO_STAGE.background) == (5e-5, 2.5e-5)
    assert (TWO_STAGE.attention, TWO_STAGE.relation) == (5e-5, 5e-7)


def test_losses_pass_gradcheck() -> None:
    student, teacher = neck(2, 16)[16].requires_grad_(), neck(2, 16, seed=1)[16]
    foreground = torch.zeros(2, 2, 4, dtype=torch.float64)
    foreground[0, 0, 1] = 1

    assert torch.autograd.gradcheck(
        lambda s: focal_loss(s, teacher, foreground, 0.6, WEIGHTS), student
    )


def test_large_features_stay_finite() -> None:
    student, teacher = 1e4 * neck(3, 8)[8].float(), -1e4 * neck(3, 8, seed=1)[8].float()

    loss = focal_loss(student, teacher, masks((4, 8)).float(), 0.5, ONE_STAGE)

    assert math.isfinite(float(loss))
