"""ICD in training: its decoder learns, and the student is taught when it is due."""

import math
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_
from torch.optim import SGD

from detection.data.batches import Batch, TrainingBatches, make_batch
from detection.data.coco import CocoSplit
from detection.distillation.distiller import Distiller, pair_of
from detection.distillation.icd import Icd, identification_accuracy
from detection.distillation.method import Pair, Sizes
from detection.distillation.student import student_step
from detection.iteration import NonFiniteLossError
from detection.training import Training
from searchd.domain.detector import Family
from searchd.domain.distillation_methods import MethodName
from searchd.domain.method_options import IcdOptions
from searchd.domain.resolution import Resolution
from searchd.spec import MethodSpec, TrainingSpec
from tests.detection.distillation.conftest import tiny
from tests.detection.distillation.known import taps

pytestmark = pytest.mark.timeout(60)  # real detectors are trained

SPEC = TrainingSpec(epochs=2, batch_size=4, learning_rate=0.02, resolutions=(Resolution(64, 64),))
SIZES = Sizes(
    two_stage=True,
    num_classes=4,
    strides=(8,),
    neck_channels=32,
    embedding_channels=None,
    num_anchors=1,
)
FAMILIES = (Family.FASTER_RCNN, Family.RETINANET)


def student(family: Family = Family.FASTER_RCNN) -> Any:
    torch.manual_seed(1)
    return tiny("resnet18", 16, family)


def distiller(shapes: CocoSplit, family: Family = Family.FASTER_RCNN, **options: int) -> Distiller:
    torch.manual_seed(2)
    teacher = tiny("resnet18", 24, family)
    spec = MethodSpec(name=MethodName.ICD, options=dict(options))
    return Distiller((spec,), teacher, pair_of(student(family), teacher, shapes))


def training(shapes: CocoSplit, **options: int) -> Training:
    chosen = distiller(shapes, Family.FASTER_RCNN, **options)
    return started(Training(student(), shapes, SPEC, seed=0, distiller=chosen))


def started(training: Training) -> Training:
    """A training whose value projection has been fitted, so that only steps change it."""
    for _ in training.start_adapters():
        pass
    return training


def copied(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in state.items()}


def changed(before: dict[str, Tensor], after: dict[str, Tensor]) -> set[str]:
    """Which parts of ICD moved, for example "decoder"."""
    return {name.split(".")[1] for name in before if not torch.equal(before[name], after[name])}


def painted(batch: Batch, channels: int) -> Tensor:
    """Features of stride 8, B x channels x H x W, that tell where objects of which class are."""
    height, width = (size // 8 for size in batch.inputs.shape[2:])
    features = torch.zeros(len(batch.samples), channels, height, width)
    codes = 3 * torch.randn(4, channels, generator=torch.Generator().manual_seed(5))
    for image, sample in zip(features, batch.samples, strict=True):
        objects = sample.gt_instances
        for box, label in zip((objects.bboxes / 8).round().int(), objects.labels, strict=True):
            left, top, right, bottom = box.tolist()
            image[:, top:bottom, left:right] = codes[label][:, None, None]
    return features


def test_decoder_learns_what_is_there_and_where(shapes: CocoSplit) -> None:
    torch.manual_seed(0)
    options = IcdOptions(fake_per_object=2, learning_rate=5e-4)
    method = Icd(options, Pair(student=SIZES, teacher=SIZES, train_split=shapes))
    batch = make_batch(shapes, range(4), Resolution(64, 64), [False] * 4)
    teacher: Any = taps(neck={8: painted(batch, 32)})
    own = method.own_optimizer(500)
    right: list[float] = []
    regression: list[float] = []

    for step in range(300):
        decoded = method._decode(taps(batch=batch, step=step), teacher)
        losses = method._auxiliary(decoded)
        own.optimizer.zero_grad()
        (losses["identification"] + losses["regression"]).backward()
        own.clip()
        own.step()
        said = method.predictor(decoded.knowledge.embeddings)[..., 0] > 0
        used = decoded.instances.is_used
        right.append(float((said == decoded.instances.is_real)[used].float().mean()))
        regression.append(float(losses["regression"].detach()))

    assert np.mean(right[:20]) < 0.75  # 2 of 3 are fakes
    assert np.mean(right[-40:]) > 0.9
    # the first steps only learn the mean box; what comes after reads the features
    assert np.mean(regression[-40:]) < 0.8 * np.mean(regression[40:80])


@pytest.mark.parametrize("family", FAMILIES)
def test_gradient_reaches_student_and_modules_and_never_the_teacher(
    shapes: CocoSplit, batch: Batch, family: Family
) -> None:
    model, chosen = student(family), distiller(shapes, family, warmup_iterations=0)
    before = copied(chosen.teacher.state_dict())

    losses = chosen(student_step(model, batch).taps)
    torch.stack(list(losses.values())).sum().backward()

    assert set(losses) == {"icd", "icd.identification", "icd.regression"}
    assert model.backbone.conv1.weight.grad.abs().max() > 0
    assert all(p.grad is not None and p.grad.any() for p in chosen.parameters() if p.dim() > 1)
    assert all(p.grad is None for p in chosen.teacher.parameters())
    assert changed(before, chosen.teacher.state_dict()) == set()


@pytest.mark.parametrize("family", FAMILIES)
def test_training_lowers_the_distillation_loss_when_all_of_icd_is_frozen(
    shapes: CocoSplit, family: Family
) -> None:
    batches = TrainingBatches(shapes, batch_size=4, resolutions=[Resolution(64, 64)], seed=1)
    model, chosen = student(family), distiller(shapes, family, warmup_iterations=0)
    optimizer = SGD(model.parameters(), lr=0.03, momentum=0.9)
    history: list[float] = []
    torch.manual_seed(0)

    for step in range(16):
        found = student_step(model, batches.batch(step), step)
        distilled = chosen(found.taps)["icd"]
        optimizer.zero_grad()
        (torch.stack(list(found.losses.values())).sum() + distilled).backward()
        clip_grad_norm_(model.parameters(), 10)
        optimizer.step()
        history.append(float(distilled.detach()))

    assert np.mean(history[-4:]) < 0.9 * np.mean(history[:4])


def test_student_learns_nothing_from_icd_before_it_is_warm(shapes: CocoSplit) -> None:
    cold = training(shapes, warmup_iterations=1)
    warm = training(shapes, warmup_iterations=0)
    before = copied(cold.state_dict()["adapters"])
    plain = Training(student(), shapes, SPEC, seed=0)
    for each in (cold, warm, plain):
        next(each.run())

    torch.testing.assert_close(cold.model.state_dict(), plain.model.state_dict(), rtol=0, atol=0)
    first = "backbone.conv1.weight"
    assert not torch.equal(warm.model.state_dict()[first], plain.model.state_dict()[first])
    everything = {"encoder", "decoder", "predictor", "student_value", "iterations"}
    assert changed(before, cold.state_dict()["adapters"]) == everything


@pytest.mark.parametrize(
    ("num_iterations", "last_cold_step"), [(40, 3), (9_000, 899), (90_000, 999)]
)
def test_a_tenth_of_a_short_training_warms_up_and_1000_steps_of_a_long_one(
    shapes: CocoSplit, num_iterations: int, last_cold_step: int
) -> None:
    method = Icd(IcdOptions(), Pair(student=SIZES, teacher=SIZES, train_split=shapes))
    method.own_optimizer(num_iterations)
    batch = make_batch(shapes, [0], Resolution(64, 64), [False])
    teacher: Any = taps(neck={8: painted(batch, 32)})

    def reaches_the_student(step: int) -> bool:
        features = painted(batch, 32).requires_grad_()
        method(taps(neck={8: features}, batch=batch, step=step), teacher).backward()
        return features.grad is not None

    assert not reaches_the_student(last_cold_step)
    assert reaches_the_student(last_cold_step + 1)


def test_the_warm_up_is_counted_over_the_lineage(shapes: CocoSplit) -> None:
    """Trials of four iterations: the second child is the first whose student is taught."""
    adapters: dict[str, Tensor] = {}
    notes, taught = [], []
    for _ in range(3):
        chosen = distiller(shapes, warmup_iterations=6)
        if adapters:
            chosen.load_state_dict(adapters)
        trial = started(Training(student(), shapes, SPEC, seed=0, distiller=chosen))
        plain = Training(student(), shapes, SPEC, seed=0)
        for _ in (*trial.run(), *plain.run()):
            pass
        equal = zip(trial.model.parameters(), plain.model.parameters(), strict=True)
        taught.append(not all(torch.equal(ours, theirs) for ours, theirs in equal))
        notes.append(chosen.notes)
        adapters = copied(chosen.state_dict())

    assert taught == [False, True, True]
    assert notes == [
        (
            "icd teaches the student nothing in this training of 4 iterations: 6 iterations of its "
            "warm-up are left (option warmup_iterations)",
        ),
        (),
        (),
    ]
    assert int(adapters["icd.iterations"]) == 12


def test_adapters_of_an_earlier_version_start_counting_at_zero(shapes: CocoSplit) -> None:
    earlier = distiller(shapes).state_dict()
    del earlier["icd.iterations"]
    chosen = distiller(shapes)

    chosen.load_state_dict(earlier)

    assert int(chosen.state_dict()["icd.iterations"]) == 0


def test_epochs_tell_how_well_the_decoder_tells_real_from_fake(shapes: CocoSplit) -> None:
    under_way = training(shapes)
    step = next(under_way.run()).losses
    for _ in under_way.run():
        pass

    assert "icd.identification_accuracy" in under_way.epochs[0].losses
    parts = {name: value for name, value in step.items() if "accuracy" not in name}
    assert sum(parts.values()) == pytest.approx(2 * step["loss"], rel=1e-5)


@pytest.mark.parametrize(
    ("logits", "accuracy"),
    [
        ([1.0, 1.0, -1.0, -1.0, -1.0, -1.0, 9.0], 1.0),
        ([-1.0] * 6 + [9.0], 0.5),
        ([1.0, -1.0, -1.0, -1.0, -1.0, 1.0, 9.0], (0.5 + 0.75) / 2),
    ],
    ids=["all right", "never real", "half and three quarters"],
)
def test_two_real_and_four_fake_instances_count_alike(logits: list[float], accuracy: float) -> None:
    is_real = torch.tensor([[True, True, False, False, False, False, False]])
    is_used = torch.tensor([[True] * 6 + [False]])

    found = identification_accuracy(torch.tensor([logits]), is_real, is_used)

    assert float(found) == accuracy
    nothing = identification_accuracy(torch.tensor([logits]), is_real, torch.zeros_like(is_used))
    assert float(nothing) == 0.5


def test_decoder_only_stage_leaves_the_student_untouched(shapes: CocoSplit) -> None:
    prepared = training(shapes, decoder_only_iterations=3)
    student_before = copied(prepared.model.state_dict())
    before = copied(prepared.state_dict()["adapters"])

    done = list(islice(prepared.run(), 3))

    assert [(d.epoch, d.iteration) for d in done] == [(0, 1), (0, 2), (0, 3)]
    figures = {"icd.identification", "icd.regression", "loss", "icd.identification_accuracy"}
    assert all(set(d.losses) == figures for d in done)
    torch.testing.assert_close(prepared.model.state_dict(), student_before, rtol=0, atol=0)
    after = prepared.state_dict()["adapters"]
    assert changed(before, after) == {"encoder", "decoder", "predictor"}


RESUMED = {"decoder_only_iterations": 2, "warmup_iterations": 2}


@pytest.fixture(scope="module")
def uninterrupted(shapes: CocoSplit) -> tuple[Training, list[dict[str, float]]]:
    """A training after its last step, and the losses of every step."""
    straight = training(shapes, **RESUMED)
    return straight, [done.losses for done in straight.run()]


@pytest.mark.parametrize("stopped_after", [1, 3], ids=["in preparation", "in training"])
def test_resumed_run_equals_an_uninterrupted_one_to_the_bit(
    shapes: CocoSplit,
    uninterrupted: tuple[Training, list[dict[str, float]]],
    tmp_path: Path,
    stopped_after: int,
) -> None:
    straight, expected = uninterrupted
    first = training(shapes, **RESUMED)
    seen = [d.losses for d in islice(first.run(), stopped_after)]
    torch.save(first.state_dict(), tmp_path / "resume.pt")

    second = training(shapes, **RESUMED)
    second.load_state_dict(torch.load(tmp_path / "resume.pt", weights_only=True))
    torch.rand(7)  # another random state than the first run left
    seen += [d.losses for d in second.run()]

    assert len(expected) == 2 + 2 * 2
    assert seen == expected
    for part in ("model", "adapters", "own_optimizers"):
        torch.testing.assert_close(
            second.state_dict()[part], straight.state_dict()[part], rtol=0, atol=0
        )


def test_own_optimizer_alone_moves_icds_modules(shapes: CocoSplit) -> None:
    under_way = training(shapes)
    before = copied(under_way.state_dict()["adapters"])

    next(under_way.run())

    after = under_way.state_dict()["adapters"]
    assert int(after.pop("icd.iterations") - before.pop("icd.iterations")) == 1
    # AdamW's first step is the rate, here a tenth of 1e-4 of the warm-up, whatever the gradient
    moves = torch.cat([(after[name] - before[name]).flatten() for name in before]).abs()
    assert float(moves.max()) < 1.2e-5
    assert float(moves.median()) > 0.5e-5
    rates = [
        g["lr"]
        for g in under_way.state_dict()["own_optimizers"]["icd"]["optimizer"]["param_groups"]
    ]
    assert rates == pytest.approx([1e-4 * 0.2 * (1 + math.cos(math.pi / 4)) / 2])


def test_trained_student_is_shaped_like_any_other(shapes: CocoSplit) -> None:
    taught = training(shapes, warmup_iterations=0)
    next(taught.run())

    fresh = {name: value.shape for name, value in student().state_dict().items()}
    assert {n: v.shape for n, v in taught.model.state_dict().items()} == fresh


def test_gradient_of_icd_that_is_not_finite_is_refused_before_weights_are_changed(
    shapes: CocoSplit,
) -> None:
    chosen = distiller(shapes)
    method = chosen.methods["icd"]
    assert isinstance(method, Icd)
    method.predictor.layers[0].weight.register_hook(lambda gradient: gradient * math.inf)
    poisoned = started(Training(student(), shapes, SPEC, seed=0, distiller=chosen))
    before = {"model": copied(poisoned.model.state_dict()), "icd": copied(chosen.state_dict())}

    with pytest.raises(NonFiniteLossError, match="icd.gradient_norm"):
        next(poisoned.run())

    assert changed(before["icd"], chosen.state_dict()) == set()
    parameters = dict(poisoned.model.named_parameters())
    assert all(torch.equal(value, before["model"][name]) for name, value in parameters.items())
