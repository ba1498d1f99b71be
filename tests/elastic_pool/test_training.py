"""A real, tiny pool: trained through its phases on `shapes`, stopped and resumed."""

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from detection.data.coco import CocoSplit
from detection.data.shapes import make_shapes
from detection.measurement.complexity import count
from elastic_pool.evaluation import evaluate_subnet, evaluated_subnets
from elastic_pool.schedule import Phase, phases
from elastic_pool.training import PoolIteration, PoolTraining
from searchd.domain.resolution import Resolution
from searchd.domain.subnet import Subnet
from tests.elastic_pool.tiny import TINY_SPACE, make_pool_spec

pytestmark = pytest.mark.timeout(60)  # real detectors are trained

SPEC = make_pool_spec()
KD_LOSSES = {"proposal_feature", "classification", "class_aware_localisation"}
DETECTION_LOSSES = {"loss_rpn_cls", "loss_rpn_bbox", "loss_cls", "loss_bbox"}
END_OF_SUPERNET, INSIDE_SHRINK_1, END_OF_SHRINK_1 = 24, 26, 28
"""Iterations done; an epoch has four."""


@pytest.fixture(scope="module")
def splits(tmp_path_factory: pytest.TempPathFactory) -> tuple[CocoSplit, CocoSplit]:
    """Training and validation images."""
    folder: Path = tmp_path_factory.mktemp("shapes")
    spec = make_shapes(folder, num_train=16, num_validation=8, image_size=64, num_classes=3)
    return CocoSplit(spec.train), CocoSplit(spec.validation)


@dataclass(frozen=True)
class Trained:
    """A pool after all its phases, and what happened."""

    training: PoolTraining
    iterations: list[PoolIteration]
    checkpoints: dict[int, bytes]
    """State after some numbers of iterations."""

    def checkpoint(self, done: int) -> dict[str, Any]:
        state: dict[str, Any] = torch.load(io.BytesIO(self.checkpoints[done]), weights_only=True)
        return state


@pytest.fixture(scope="module")
def trained(splits: tuple[CocoSplit, CocoSplit]) -> Trained:
    torch.set_num_threads(1)
    training = PoolTraining(SPEC, splits[0])
    iterations: list[PoolIteration] = []
    checkpoints = {}
    for at in training.run():
        iterations.append(at)
        if len(iterations) in (END_OF_SUPERNET, INSIDE_SHRINK_1, END_OF_SHRINK_1):
            file = io.BytesIO()
            torch.save(training.state_dict(), file)
            checkpoints[len(iterations)] = file.getvalue()
    return Trained(training, iterations, checkpoints)


def test_detection_loss_falls_while_the_supernet_trains(trained: Trained) -> None:
    first, *_, last = [epoch for epoch in trained.training.epochs if epoch.phase == "supernet"]
    assert last.metrics.losses["loss"] < 0.7 * first.metrics.losses["loss"]


def test_phases_follow_each_other_with_their_rates_and_losses(trained: Trained) -> None:
    epochs = [(e.phase, e.metrics.epoch, set(e.metrics.losses)) for e in trained.training.epochs]
    plain, distilled = DETECTION_LOSSES | {"loss"}, DETECTION_LOSSES | KD_LOSSES | {"loss"}
    assert epochs == [
        *[("supernet", epoch, plain) for epoch in range(1, 7)],
        ("shrink-1", 1, distilled),
        ("shrink-2", 1, distilled),
        ("shrink-2", 2, distilled),
    ]
    assert len(trained.iterations) == 9 * 4


def test_iterations_left_count_down_over_all_phases(trained: Trained) -> None:
    left = [trained.training.iterations_left(at) for at in trained.iterations]
    assert left == list(range(35, -1, -1))


def test_each_iteration_trains_the_subnet_of_the_schedule(
    splits: tuple[CocoSplit, CocoSplit], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[int, int, int]] = []

    def smallest(phase: Phase, *, seed: int, step: int) -> Subnet:
        asked.append((phase.index, seed, step))
        return TINY_SPACE.smallest

    monkeypatch.setattr("elastic_pool.training.subnet_at", smallest)
    training = PoolTraining(SPEC, splits[0])
    before = training.supernet.weights()["backbone.layer4.1.conv1.weight"].clone()
    steps = training.run()
    next(steps), next(steps)
    assert asked == [(0, SPEC.seed, 0), (0, SPEC.seed, 1)]
    # no weight decay either: the smallest subnet does not run this block
    assert torch.equal(training.supernet.weights()["backbone.layer4.1.conv1.weight"], before)


@pytest.mark.parametrize("done", [INSIDE_SHRINK_1, END_OF_SHRINK_1])
def test_resumed_training_equals_an_uninterrupted_one_to_the_bit(
    trained: Trained, splits: tuple[CocoSplit, CocoSplit], done: int
) -> None:
    resumed = PoolTraining(SPEC, splits[0])
    resumed.load_state_dict(trained.checkpoint(done))
    rest = [at.iteration.losses for at in resumed.run()]
    assert rest == [at.iteration.losses for at in trained.iterations[done:]]
    weights = trained.training.supernet.weights()
    assert all(
        torch.equal(value, weights[name]) for name, value in resumed.supernet.weights().items()
    )
    names = [(epoch.phase, epoch.metrics.epoch) for epoch in resumed.epochs]
    assert names == [(epoch.phase, epoch.metrics.epoch) for epoch in trained.training.epochs]


def test_teacher_is_the_supernet_as_it_was_after_the_first_phase(trained: Trained) -> None:
    graduate = trained.checkpoint(END_OF_SUPERNET)["training"]["model"]
    assert trained.training._distiller is not None
    teacher = trained.training._distiller.teacher
    assert all(torch.equal(value, graduate[name]) for name, value in teacher.state_dict().items())
    assert not teacher.training
    assert not any(parameter.requires_grad for parameter in teacher.parameters())


def test_subnet_is_evaluated_at_every_resolution_of_the_pool(
    trained: Trained, splits: tuple[CocoSplit, CocoSplit]
) -> None:
    found = evaluate_subnet(
        trained.training.supernet, TINY_SPACE.smallest, SPEC, train=splits[0], validation=splits[1]
    )
    assert found.subnet == TINY_SPACE.smallest
    assert [str(at.resolution) for at in found.evaluations] == ["64x64", "48x48"]
    large, small = found.evaluations
    assert large.macs > small.macs > 0
    assert 0 <= large.ap <= large.ap50 <= 1
    static = trained.training.supernet.static(TINY_SPACE.smallest)
    assert found.params == count(static, Resolution(64, 64)).params


def test_evaluated_subnets_are_largest_smallest_and_random_ones() -> None:
    chosen = evaluated_subnets(TINY_SPACE, 5, seed=0)
    assert chosen[:2] == (TINY_SPACE.largest, TINY_SPACE.smallest)
    assert len(set(chosen)) == 5
    assert chosen == evaluated_subnets(TINY_SPACE, 5, seed=0)
    assert chosen[2:] != evaluated_subnets(TINY_SPACE, 5, seed=1)[2:]
    assert evaluated_subnets(TINY_SPACE, 1, seed=0) == (TINY_SPACE.largest,)


def test_evaluated_subnets_are_fewer_when_the_space_has_no_more() -> None:
    (only,) = phases(SPEC)[:1]
    assert evaluated_subnets(only.space, 4, seed=0) == (TINY_SPACE.largest,)


@pytest.fixture(scope="module")
def continued(trained: Trained, splits: tuple[CocoSplit, CocoSplit]) -> Trained:
    """A pool that trains the last phase again, for one epoch."""
    start = {name: w.clone() for name, w in trained.training.supernet.weights().items()}
    training = PoolTraining(SPEC.extended(epochs=1), splits[0], start=start)
    assert all(torch.equal(w, start[name]) for name, w in training.supernet.weights().items())
    iterations = list(training.run())
    file = io.BytesIO()
    torch.save(training.state_dict(), file)
    return Trained(training, iterations, {4: file.getvalue()})


def test_a_continued_pool_trains_subnets_under_the_supernet_that_it_starts_from(
    trained: Trained, continued: Trained
) -> None:
    epochs = continued.training.epochs
    assert [(epoch.phase, epoch.metrics.epoch) for epoch in epochs] == [("shrink-2", 1)]
    assert set(epochs[0].metrics.losses) == DETECTION_LOSSES | KD_LOSSES | {"loss"}
    start = trained.training.supernet.weights()
    assert continued.training._distiller is not None
    teacher = continued.training._distiller.teacher.state_dict()
    assert all(torch.equal(value, start[name]) for name, value in teacher.items())
    trained_name = "backbone.layer1.0.conv1.weight"
    assert not torch.equal(continued.training.supernet.weights()[trained_name], start[trained_name])


def test_a_continued_pool_resumes_from_its_checkpoint(
    trained: Trained, continued: Trained, splits: tuple[CocoSplit, CocoSplit]
) -> None:
    start = trained.training.supernet.weights()
    resumed = PoolTraining(SPEC.extended(epochs=1), splits[0], start=start)
    resumed.load_state_dict(continued.checkpoint(4))
    weights = continued.training.supernet.weights()
    assert all(torch.equal(w, weights[name]) for name, w in resumed.supernet.weights().items())
    assert list(resumed.run()) == []


def test_a_supernet_that_is_trained_again_teaches_the_phases_after_it(
    trained: Trained, splits: tuple[CocoSplit, CocoSplit]
) -> None:
    start = {name: w.clone() for name, w in trained.training.supernet.weights().items()}
    spec = SPEC.extended(epochs=1, phases=("supernet", "shrink-1"))
    training = PoolTraining(spec, splits[0], start=start)
    assert [at.phase.name for at in training.run()] == ["supernet"] * 4 + ["shrink-1"] * 4
    assert training._distiller is not None
    teacher = training._distiller.teacher.state_dict()
    assert not torch.equal(
        teacher["backbone.layer1.0.conv1.weight"], start["backbone.layer1.0.conv1.weight"]
    )
