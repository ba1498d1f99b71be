"""The sandwich rule and in-place distillation, on a real, tiny pool."""

import io
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from detection.data.coco import CocoSplit
from detection.data.shapes import make_shapes
from elastic_pool.schedule import Phase, phases, sandwich_at
from elastic_pool.training import PoolTraining
from searchd.domain.subnet import Subnet
from searchd.spec import PoolSpec
from searchd.spec.forecasts import phase_of
from tests.elastic_pool.tiny import TINY_SPACE, make_pool_spec

pytestmark = pytest.mark.timeout(60)  # real detectors are trained

KD_LOSSES = {"proposal_feature", "classification", "class_aware_localisation"}
WEIGHT = "roi_head.bbox_head.fc_cls.weight"


def pool(**changes: Any) -> PoolSpec:
    """One phase over all subnets, for one epoch of two steps, distilled in place."""
    phase = make_pool_spec().phases[-1].model_dump()
    phase |= {"name": "sandwich", "epochs": 1, "sandwich": 1, "in_place": True} | changes
    training = make_pool_spec().training.model_dump() | {"warmup_iterations": 0}
    fields = {**make_pool_spec().model_dump(), "phases": [phase], "training": training}
    return PoolSpec.model_validate(fields)


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> CocoSplit:
    folder: Path = tmp_path_factory.mktemp("shapes")
    spec = make_shapes(folder, num_train=8, num_validation=4, image_size=64, num_classes=3)
    torch.set_num_threads(1)
    return CocoSplit(spec.train)


def copied(training: PoolTraining) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in training.supernet.weights().items()}


def gradients(training: PoolTraining, which: str) -> dict[str, Tensor]:
    """Return the gradients of the first step's losses: of all, of the subnets' own, or of the
    distillation losses alone."""
    steps = training._training
    for _ in steps.start_adapters():
        pass
    batch, _ = next(steps._read(range(1)))
    steps._enter_train_mode()
    steps.model.zero_grad()
    torch.manual_seed(0)
    losses = steps.losses(batch, batch, distils=which != "own")
    kept = [loss for name, loss in losses.items() if which != "taught" or name in KD_LOSSES]
    torch.stack(kept).sum().backward()
    found = {name: parameter.grad for name, parameter in steps.model.named_parameters()}
    return {name: grad.clone() for name, grad in found.items() if grad is not None}


def test_every_step_has_the_largest_the_smallest_and_random_subnets() -> None:
    (phase,) = phases(pool(sandwich=2))
    drawn = [sandwich_at(phase, seed=3, step=step) for step in range(20)]
    assert {each[:2] for each in drawn} == {(TINY_SPACE.largest, TINY_SPACE.smallest)}
    assert {len(each) for each in drawn} == {4}
    assert len({subnet for each in drawn for subnet in each[2:]}) > 20
    assert sandwich_at(phase, seed=3, step=7) == drawn[7]


def test_a_step_is_taught_by_the_largest_subnet_with_the_weights_of_the_step(
    split: CocoSplit,
) -> None:
    training = PoolTraining(pool(), split)
    assert training._distiller is not None
    teacher = training._distiller.teacher
    weights = []
    for at in training.run():
        assert set(at.iteration.losses) >= KD_LOSSES
        weights.append((teacher.state_dict()[WEIGHT].clone(), copied(training)[WEIGHT]))
    (before_1, after_1), (before_2, after_2) = weights
    assert torch.equal(before_2, after_1)  # the teacher of step 2 is what step 1 left
    assert not torch.equal(before_1, before_2)
    assert not torch.equal(after_1, after_2)


def test_the_teacher_normalises_by_its_batch_and_has_no_gradient(split: CocoSplit) -> None:
    training = PoolTraining(pool(), split)
    next(training.run())
    assert training._distiller is not None
    teacher = training._distiller.teacher
    norms = [module for module in teacher.modules() if isinstance(module, nn.BatchNorm2d)]
    assert norms
    assert all(norm.training for norm in norms)
    assert not any(parameter.requires_grad for parameter in teacher.parameters())


def test_teaching_pulls_the_smallest_subnet_and_not_its_teacher(
    split: CocoSplit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The gradient of a step is that of both subnets' own losses, plus that of the distillation
    losses, which is zero where only the largest subnet has weights."""

    def both_ends(phase: Phase, **_: int) -> tuple[Subnet, ...]:
        return (phase.space.largest, phase.space.smallest)

    monkeypatch.setattr("elastic_pool.training.sandwich_at", both_ends)
    training = PoolTraining(pool(), split)
    step, own, taught = (gradients(training, which) for which in ("all", "own", "taught"))

    assert step.keys() == own.keys() >= taught.keys()
    for name, gradient in step.items():
        expected = own[name] + taught.get(name, torch.zeros_like(gradient))
        assert torch.allclose(gradient, expected, rtol=1e-3, atol=1e-5), name
    deepest = "backbone.layer2.2.bn3.weight"  # the smallest subnet has one block of three there
    assert own[deepest].abs().max() > 1e-4
    assert float(taught[deepest].abs().max() if deepest in taught else 0) == 0
    first = taught["backbone.conv1.weight"]  # half of its channels are the smallest subnet's
    assert first.abs().max() > 1e-4


def test_the_largest_subnet_has_no_teacher(
    split: CocoSplit, monkeypatch: pytest.MonkeyPatch
) -> None:
    def largest_alone(phase: Phase, **_: int) -> tuple[Subnet, ...]:
        return (phase.space.largest,)

    monkeypatch.setattr("elastic_pool.training.sandwich_at", largest_alone)
    at = next(PoolTraining(pool(), split).run())
    assert not set(at.iteration.losses) & KD_LOSSES


def test_losses_are_means_over_the_subnets(
    split: CocoSplit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two equal subnets have the losses of one, since they see the same images; the draws of
    proposals and RoIs differ."""

    def smallest(num: int) -> Any:
        return lambda phase, **_: (phase.space.smallest,) * num

    found = []
    for num in (1, 2):
        monkeypatch.setattr("elastic_pool.training.sandwich_at", smallest(num))
        spec = pool(distil=False, in_place=False)
        found.append(next(PoolTraining(spec, split).run()).iteration.losses)
    assert found[0]["loss_rpn_cls"] == pytest.approx(found[1]["loss_rpn_cls"], rel=0.3)
    assert found[0].keys() == found[1].keys()


def test_a_resumed_sandwich_equals_an_uninterrupted_one_to_the_bit(split: CocoSplit) -> None:
    training = PoolTraining(pool(), split)
    steps = training.run()
    next(steps)
    file = io.BytesIO()
    torch.save(training.state_dict(), file)
    rest = [at.iteration.losses for at in steps]
    resumed = PoolTraining(pool(), split)
    resumed.load_state_dict(torch.load(io.BytesIO(file.getvalue()), weights_only=True))
    assert [at.iteration.losses for at in resumed.run()] == rest
    ours = resumed.supernet.weights()
    assert all(torch.equal(value, ours[name]) for name, value in copied(training).items())


@pytest.mark.parametrize("changes", [{"distil": False}, {"sandwich": 0}])
def test_in_place_distillation_needs_a_teacher_in_every_step(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="give distil: true and a sandwich of at least 1"):
        pool(**changes)


def test_without_in_place_the_first_phase_has_no_teacher() -> None:
    with pytest.raises(ValidationError, match="first phase cannot distil"):
        pool(in_place=False)


def test_a_forecast_counts_every_subnet_of_a_step() -> None:
    spec = pool(sandwich=2)
    alone = pool(sandwich=0, in_place=False, distil=False)
    several, one = phase_of(spec, spec.phases[0]), phase_of(alone, alone.phases[0])
    assert several.mean_area == 4 * one.mean_area
