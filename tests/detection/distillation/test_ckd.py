"""CKD tells a region's teacher embedding from those of other regions."""

import math
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, distributed, nn
from torch.nn import functional

from detection.data.coco import CocoSplit
from detection.data_parallel import AveragedGradients
from detection.distillation.ckd import (
    Ckd,
    DecoupledEmbedding,
    SharedEmbedding,
    ckd_loss,
    same_object,
)
from detection.distillation.method import Pair, Sizes
from detection.distillation.taps import Cells, Regions
from detection.training import Training
from searchd.domain.detector import Family
from searchd.domain.distillation_methods import MethodName
from searchd.domain.method_options import CkdOptions
from searchd.domain.resolution import Resolution
from searchd.spec import TrainingSpec
from tests.detection.distillation.conftest import tiny
from tests.detection.distillation.known import taps
from tests.detection.distillation.teaching import distiller_of, student_of
from tests.detection.two_processes import run_in_two_processes

pytestmark = pytest.mark.timeout(60)  # real detectors are trained

Floats = NDArray[np.float64]
BOXES = torch.tensor(
    [
        [0.0, 0, 0, 10, 10],
        [0.0, 0, 0, 10, 8],  # IoU 0.8 with the first
        [0.0, 5, 0, 15, 10],  # IoU 1/3 with the first
        [1.0, 0, 0, 10, 10],  # the first's place in another image
        [1.0, 40, 40, 60, 60],
    ]
)


def draw(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def regions(rois: Tensor = BOXES, anchors: Tensor | None = None) -> Regions:
    everywhere = torch.ones(len(rois), dtype=torch.bool)
    zeros = torch.zeros(len(rois), dtype=torch.long)
    return Regions(
        rois=rois.double(),
        is_positive=everywhere,
        is_compared=everywhere,
        labels=zeros,
        cells=None if anchors is None else Cells(level=zeros, cell=zeros, anchor=anchors),
    )


def ckd(width: int = 6, **options: Any) -> Ckd:
    torch.manual_seed(0)
    chosen = CkdOptions(**({"projection_channels": 4, "queue_size": 8} | options))
    return Ckd(SharedEmbedding(width, 6), 6, chosen).double()


def call(method: Ckd, student: Tensor, teacher: Tensor, rois: Tensor = BOXES) -> Tensor:
    loss: Tensor = method(taps(embeddings=student, regions=regions(rois)), taps(embeddings=teacher))
    return loss


def projected(method: Ckd, embeddings: Tensor) -> Floats:
    weight, bias = (p.detach().numpy() for p in method.projection.parameters())
    found = embeddings.detach().numpy() @ weight.T + bias
    return np.asarray(found / np.linalg.norm(found, axis=1, keepdims=True))


def reference_loss(
    student: Floats, teacher: Floats, queue: Floats, negatives: list[set[int]], gamma: float
) -> float:
    total = 0.0
    for region, allowed in enumerate(negatives):
        own = np.exp(student[region] @ teacher[region] / gamma)
        others = sum(np.exp(student[region] @ teacher[j] / gamma) for j in allowed)
        remembered = np.exp(queue @ student[region] / gamma).sum()
        total -= math.log(own / (own + others + remembered))
    return total / len(negatives)


def test_loss_equals_numpy_with_filter_and_queue() -> None:
    method = ckd()
    earlier = draw(3, 6, seed=8)
    call(method, draw(3, 6, seed=7), earlier, BOXES[:3])
    student, teacher = draw(5, 6), draw(5, 6, seed=1)

    loss = call(method, student, teacher)

    negatives = [{2, 3, 4}, {2, 3, 4}, {0, 1, 3, 4}, {0, 1, 2, 4}, {0, 1, 2, 3}]
    sides = projected(method, student), projected(method, teacher)
    expected = reference_loss(*sides, projected(method, earlier), negatives, 0.07)
    assert float(loss.detach()) == pytest.approx(expected, rel=1e-10)


def test_loss_equals_numpy_without_filter_and_queue() -> None:
    method = ckd(queue_size=0, iou_threshold=1.0, temperature=0.5)
    student, teacher = draw(5, 6), draw(5, 6, seed=1)
    call(method, student, teacher)

    loss = call(method, student, teacher)

    negatives = [set(range(5)) - {region} for region in range(5)]
    sides = projected(method, student), projected(method, teacher)
    expected = reference_loss(*sides, np.zeros((0, 4)), negatives, 0.5)
    assert float(loss.detach()) == pytest.approx(expected, rel=1e-10)


def test_loss_is_the_log_of_the_number_of_candidates_when_all_are_alike() -> None:
    same = functional.normalize(torch.ones(3, 4))

    loss = ckd_loss(
        same,
        same,
        same[:1].expand(10, 4),
        first=0,
        excluded=torch.zeros(3, 3, dtype=torch.bool),
        temperature=0.07,
    )

    assert float(loss) == pytest.approx(math.log(2 + 10 + 1), rel=1e-6)


def test_loss_is_positive_and_vanishes_when_every_region_is_recognised() -> None:
    axes = torch.eye(4)
    nobody = torch.zeros(4, 4, dtype=torch.bool)

    def loss_of(student: Tensor) -> float:
        found = ckd_loss(
            student, axes, torch.zeros(0, 4), first=0, excluded=nobody, temperature=0.07
        )
        return float(found)

    assert 0 <= loss_of(axes) < 1e-5
    assert loss_of(axes.flip(0)) > 10


def test_one_region_without_negatives_costs_nothing() -> None:
    assert float(call(ckd(), draw(1, 6), draw(1, 6, seed=1), BOXES[:1]).detach()) == 0


def test_only_boxes_of_the_same_image_that_overlap_by_more_than_the_threshold_are_excluded() -> (
    None
):
    pairs = {(a, b) for a, b in same_object(BOXES, 0.5).nonzero().tolist() if a != b}
    assert pairs == {(0, 1), (1, 0)}
    assert len(same_object(BOXES, 0.3).nonzero()) == 5 + 4  # 1 and 2 overlap by 0.29
    assert not same_object(BOXES, 1.0).any()


def test_excluded_pairs_contribute_nothing() -> None:
    """The first two boxes show the same object, so neither is a negative of the other."""
    student, teacher = draw(2, 6), draw(2, 6, seed=1)

    filtered, unfiltered = (
        float(call(ckd(iou_threshold=iou), student, teacher, BOXES[:2]).detach())
        for iou in (0.5, 1.0)
    )

    assert filtered == 0
    assert unfiltered > 0


def test_batch_is_remembered_after_the_loss_normalised_and_without_gradient() -> None:
    method = ckd()
    student, teacher = draw(5, 6), draw(5, 6, seed=1)

    first = call(method, student, teacher)
    remembered = method.queue.filled.clone()
    second = call(method, student, teacher)

    np.testing.assert_allclose(remembered.flip(0), projected(method, teacher), rtol=1e-12)
    assert float(second.detach()) > float(first.detach())  # the same, with more negatives
    assert not method.queue.filled.requires_grad
    second.backward()  # though the queue has changed since


def test_gradients_pass_gradcheck() -> None:
    teacher, queue = functional.normalize(draw(4, 3, seed=1)), functional.normalize(draw(5, 3))

    assert torch.autograd.gradcheck(
        lambda s, t: ckd_loss(
            s, t, queue, first=1, excluded=same_object(BOXES[:3], 0.5), temperature=0.5
        ),
        (draw(3, 3, seed=2).requires_grad_(), teacher.requires_grad_()),
    )


def test_gradient_reaches_student_and_projection_but_not_the_teacher() -> None:
    method = ckd(width=5)
    student = draw(5, 5).requires_grad_()
    teacher = draw(5, 6, seed=1).requires_grad_()

    call(method, student, teacher).backward()

    assert student.grad is not None
    assert student.grad.abs().max() > 0
    assert teacher.grad is None
    assert all(p.grad is not None and p.grad.any() for p in method.parameters())


def test_without_regions_the_loss_is_zero_with_a_graph_and_nothing_is_remembered() -> None:
    method = ckd()
    call(method, draw(5, 6), draw(5, 6, seed=1))
    before = method.queue.filled.clone()
    student = torch.zeros(0, 6, dtype=torch.float64, requires_grad=True)

    loss = call(method, student, torch.zeros(0, 6).double(), BOXES[:0])
    loss.backward()

    assert float(loss.detach()) == 0
    assert all(p.grad is not None and not p.grad.any() for p in method.parameters())
    assert torch.equal(method.queue.filled, before)


def test_large_embeddings_give_a_finite_loss_and_gradient() -> None:
    method = ckd().float()
    student = (1e6 * draw(5, 6).float()).requires_grad_()

    loss = call(method, student, 1e6 * draw(5, 6, seed=1).float())
    loss.backward()

    assert torch.isfinite(loss)
    assert student.grad is not None
    assert student.grad.isfinite().all()


def sizes(embedding: int, *, two_stage: bool, num_anchors: int = 1) -> Sizes:
    strides = (4, 8, 16, 32, 64) if two_stage else (8, 16, 32, 64, 128)
    return Sizes(
        two_stage=two_stage,
        num_classes=4,
        strides=strides,
        neck_channels=16,
        embedding_channels=embedding,
        num_anchors=num_anchors,
    )


@pytest.mark.parametrize(
    ("student", "adapters"),
    [
        (sizes(6, two_stage=True), {}),
        (sizes(5, two_stage=True), {"weight": (6, 5), "bias": (6,)}),
        (sizes(6, two_stage=False), {"weight": (6, 6), "bias": (6,)}),
        (sizes(5, two_stage=False, num_anchors=9), {"weight": (54, 5), "bias": (54,)}),
    ],
    ids=["two-stage, same width", "two-stage, other width", "FCOS", "RetinaNet"],
)
def test_students_embedding_is_taken_to_the_teachers_width(
    student: Sizes, adapters: dict[str, tuple[int, ...]], shapes: CocoSplit
) -> None:
    pair = Pair(student=student, teacher=sizes(6, two_stage=True), train_split=shapes)

    method = Ckd.build(CkdOptions(queue_size=4), pair)

    found = {n: tuple(p.shape) for n, p in method.student_embedding.linear.named_parameters()}  # type: ignore[union-attr] # its kinds have one
    assert found == adapters
    assert tuple(method.projection.weight.shape) == (128, 6)


@pytest.mark.parametrize(("regions", "size"), [(64, 8 * 64), (None, 81_920)])
def test_the_queue_spans_at_most_an_epoch(
    regions: int | None, size: int, shapes: CocoSplit
) -> None:
    student = replace(sizes(6, two_stage=True), regions_per_image=regions)
    pair = Pair(student=student, teacher=sizes(6, two_stage=True), train_split=shapes)

    method = Ckd.build(CkdOptions(), pair)

    assert len(shapes) == 8
    assert len(method.queue.vectors) == size


def test_decoupling_equals_a_convolution_that_is_read_at_the_cell_and_anchor() -> None:
    torch.manual_seed(0)
    decoupled = DecoupledEmbedding(5, 6, num_anchors=9).double()
    tower = draw(2, 5, 3, 4)
    conv = nn.Conv2d(5, 9 * 6, 1).double()
    conv.load_state_dict(
        {
            "weight": decoupled.linear.weight[:, :, None, None],
            "bias": decoupled.linear.bias,
        }
    )
    image, row, column = torch.tensor([0, 1, 1]), torch.tensor([2, 0, 1]), torch.tensor([3, 1, 0])
    anchor = torch.tensor([8, 0, 4])

    found = decoupled(tower[image, :, row, column], regions(BOXES[:3], anchor))

    everywhere = conv(tower).unflatten(1, (9, 6))
    torch.testing.assert_close(found, everywhere[image, anchor, :, row, column])


def test_decoupling_of_a_single_anchor_is_the_whole_output() -> None:
    decoupled = DecoupledEmbedding(5, 6, num_anchors=1).double()
    embeddings = draw(3, 5)

    found = decoupled(embeddings, regions(BOXES[:3], torch.zeros(3, dtype=torch.long)))

    torch.testing.assert_close(found, decoupled.linear(embeddings))


SPEC = TrainingSpec(epochs=2, batch_size=4, learning_rate=0.02, resolutions=(Resolution(64, 64),))


def training_of(shapes: CocoSplit) -> Training:
    student, teacher = student_of(Family.FCOS), tiny("resnet18", 24)
    distiller = distiller_of(MethodName.CKD, student, teacher, shapes, options={"queue_size": 100})
    return Training(student, shapes, SPEC, seed=0, distiller=distiller)


def test_resumed_training_equals_an_uninterrupted_one_to_the_bit(
    shapes: CocoSplit, tmp_path: Path
) -> None:
    expected = [done.losses for done in training_of(shapes).run()]
    first = training_of(shapes)
    seen = [done.losses for done in islice(first.run(), 2)]
    torch.save(first.state_dict(), tmp_path / "resume.pt")

    second = training_of(shapes)
    second.load_state_dict(torch.load(tmp_path / "resume.pt", weights_only=True))
    seen += [done.losses for done in second.run()]

    assert len(expected) == 4
    assert seen == expected


def test_queue_is_not_handed_on_to_children(shapes: CocoSplit) -> None:
    student, teacher = student_of(Family.RETINANET), tiny("resnet18", 24)

    parent = distiller_of(MethodName.CKD, student, teacher, shapes)

    assert set(parent.state_dict()) == {
        "ckd.student_embedding.linear.weight",
        "ckd.student_embedding.linear.bias",
        "ckd.projection.weight",
        "ckd.projection.bias",
    }
    assert parent.resume_state()["ckd.queue.vectors"].shape == (8 * 16, 128)  # one epoch


NUM_REGIONS = ((3, 2), (0, 4), (5, 0))
"""Of rank 0 and 1, step by step."""


def side(step: int, rank: int) -> tuple[Tensor, Tensor, Tensor]:
    """A rank's student and teacher embeddings and rois; ranks number their images alike."""
    count, seed = NUM_REGIONS[step][rank], 10 * step + rank
    student, teacher = draw(count, 6, seed=seed), draw(count, 6, seed=seed + 100)
    return student, teacher, BOXES[:count]


def test_two_processes_equal_one_with_the_batch_of_both(tmp_path: Path) -> None:
    run_in_two_processes(_rank, str(tmp_path))

    zero, one = (torch.load(tmp_path / f"rank{r}.pt", weights_only=True) for r in (0, 1))

    alone = ckd()
    for step in range(3):
        (student, teacher, rois), (other_student, other_teacher, other_rois) = (
            side(step, rank) for rank in (0, 1)
        )
        moved = other_rois + torch.tensor([2.0, 0, 0, 0, 0])  # other images
        alone.zero_grad()
        loss = call(
            alone,
            torch.cat([student, other_student]),
            torch.cat([teacher, other_teacher]),
            torch.cat([rois, moved]),
        )
        loss.backward()
        gradients = [p.grad for p in alone.parameters()]
        mean = (zero["losses"][step] + one["losses"][step]) / 2
        assert mean == pytest.approx(float(loss.detach()), rel=1e-10)
        torch.testing.assert_close(zero["gradients"][step], gradients)
        torch.testing.assert_close(zero["queues"][step], alone.queue.filled)
    torch.testing.assert_close(one["queues"], zero["queues"], rtol=0, atol=0)
    assert [len(queue) for queue in zero["queues"]] == [5, 8, 8]


def _losses(method: Ckd, step: int, rank: int) -> dict[str, Tensor]:
    return {"loss": call(method, *side(step, rank))}


def _rank(rank: int, folder: str) -> None:
    """One of two data-parallel processes."""
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2
    )
    method = ckd()
    ranks = AveragedGradients(method.parameters(), 2)
    losses, gradients, queues = [], [], []
    for step in range(3):
        method.zero_grad()
        loss = ranks.losses(partial(_losses, method, step, rank))["loss"]
        loss.backward()
        losses.append(float(loss.detach()))
        gradients.append([p.grad.clone() for p in method.parameters() if p.grad is not None])
        queues.append(method.queue.filled.clone())
    state = {"losses": losses, "gradients": gradients, "queues": queues}
    torch.save(state, f"{folder}/rank{rank}.pt")
    distributed.destroy_process_group()
