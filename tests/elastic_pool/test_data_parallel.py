"""A pool on two workers as on one: real supernets and losses, in two processes (gloo)."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from mmdet.models.task_modules import RandomSampler
from torch import Tensor, distributed, nn

from detection.build import load_student
from detection.data.coco import CocoSplit
from detection.data.shapes import make_shapes
from detection.data_parallel import AveragedGradients
from detection.distillation.distiller import Distiller, pair_of
from elastic_pool.sandwich import SandwichTraining
from elastic_pool.supernet import extract
from elastic_pool.training import PoolTraining
from searchd.domain.resolution import Resolution
from searchd.spec import DatasetSpec, MethodsSpec, PoolSpec, TrainingSpec
from tests.detection.two_processes import run_in_two_processes
from tests.elastic_pool.tiny import TINY_HEAD, TINY_SPACE, make_pool_spec, make_supernet

pytestmark = pytest.mark.timeout(120)  # several processes, which import torch each

SIZE = Resolution(64, 64)
HEAD = TINY_HEAD.model_copy(update={"sampled_rois": 16})
"""Every image has as many sampled boxes, over which losses are means."""
Gradients = dict[str, Tensor]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> DatasetSpec:
    folder: Path = tmp_path_factory.mktemp("shapes")
    return make_shapes(folder, num_train=8, num_validation=4, image_size=64, num_classes=3)


@pytest.fixture
def chance_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Boxes are sampled without a random draw, which would differ between ranks."""
    torch.set_num_threads(1)
    monkeypatch.setattr(RandomSampler, "random_choice", _first)


def _first(_: RandomSampler, gallery: Tensor, num: int) -> Tensor:
    return gallery[:num]


def join(rank: int, folder: str) -> None:
    """Become one of two ranks, which sample boxes as `chance_is_left_out`."""
    torch.set_num_threads(1)
    RandomSampler.random_choice = _first
    distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2
    )


def of_two_ranks(function: Callable[..., None], folder: Path, *arguments: Any) -> list[Any]:
    """Return what `function(rank, folder, *arguments)` saved in each of two processes."""
    run_in_two_processes(function, str(folder), *arguments)
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]


def frozen_step(data: DatasetSpec, *, batch_size: int, rank: int = 0, ranks: int = 1) -> Gradients:
    """Return the gradients of one step of the largest and the smallest subnet, with frozen BN,
    under a teacher."""
    split, supernet = CocoSplit(data.train), make_supernet(head=HEAD)
    teacher = load_student(extract(make_supernet(seed=1, head=HEAD), TINY_SPACE.largest))
    torch.manual_seed(2)
    pair = pair_of(supernet.detector, teacher, split)
    distiller = Distiller(MethodsSpec().methods, teacher, pair)
    training = SandwichTraining(
        supernet,
        lambda: (TINY_SPACE.largest, TINY_SPACE.smallest),
        split,
        TrainingSpec(
            batch_size=batch_size,
            learning_rate=0.01,
            flip_probability=0,
            norm_eval=True,
            resolutions=(SIZE,),
        ),
        seed=0,
        distiller=distiller,
        rank=rank,
        world_size=ranks,
    )
    next(training.run())
    return gradients(supernet.detector) | {
        f"adapter.{number}": parameter.grad
        for number, parameter in enumerate(distiller.parameters())
        if parameter.grad is not None
    }


def gradients(model: nn.Module) -> Gradients:
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def _frozen_rank(rank: int, folder: str, data: DatasetSpec) -> None:
    join(rank, folder)
    torch.save(frozen_step(data, batch_size=2, rank=rank, ranks=2), f"{folder}/{rank}.pt")
    distributed.destroy_process_group()


@pytest.mark.usefixtures("chance_is_left_out")
def test_gradients_of_two_workers_equal_those_of_one_with_the_whole_batch(
    data: DatasetSpec, tmp_path: Path
) -> None:
    zero, one = of_two_ranks(_frozen_rank, tmp_path, data)

    whole = frozen_step(data, batch_size=4)

    assert zero.keys() == one.keys() == whole.keys()
    of_both, of_the_largest = "backbone.conv1.weight", "backbone.layer2.2.conv1.weight"
    assert all(whole[name].abs().max() > 1e-4 for name in (of_both, of_the_largest, "adapter.0"))
    for name, expected in whole.items():
        assert torch.equal(zero[name], one[name]), name
        torch.testing.assert_close(zero[name], expected, rtol=1e-3, atol=1e-5, msg=name)


def pool_of(*, batch_size: int) -> PoolSpec:
    """Three phases of one epoch, on images that are not flipped."""
    spec = make_pool_spec()
    training = spec.training.model_copy(update={"batch_size": batch_size, "flip_probability": 0.0})
    phases = tuple(phase.model_copy(update={"epochs": 1}) for phase in spec.phases)
    return spec.model_copy(update={"head": HEAD, "training": training, "phases": phases})


def _pool_rank(rank: int, folder: str, data: DatasetSpec) -> None:
    join(rank, folder)
    training = PoolTraining(pool_of(batch_size=2), CocoSplit(data.train), rank=rank, world_size=2)
    steps = training.run()
    next(steps)
    first = {name: grad.clone() for name, grad in gradients(training.supernet.detector).items()}
    phases = [at.phase.name for at in steps]
    torch.save((first, training.supernet.weights(), phases), f"{folder}/{rank}.pt")
    distributed.destroy_process_group()


@pytest.mark.usefixtures("chance_is_left_out")
def test_batch_statistics_of_two_workers_give_the_gradients_of_one_with_the_whole_batch(
    data: DatasetSpec, tmp_path: Path
) -> None:
    """And the workers stay equal through all phases, which begin with optimizers of their own."""
    (zero, ours, phases), (one, theirs, _) = of_two_ranks(_pool_rank, tmp_path, data)

    training = PoolTraining(pool_of(batch_size=4), CocoSplit(data.train))
    next(training.run())
    whole = gradients(training.supernet.detector)

    assert phases == ["supernet", "shrink-1", "shrink-1", "shrink-2", "shrink-2"]
    assert all(torch.equal(weights, theirs[name]) for name, weights in ours.items())
    assert zero.keys() == one.keys() == whole.keys()
    for name, expected in whole.items():
        torch.testing.assert_close(zero[name], expected, rtol=1e-3, atol=1e-5, msg=name)


def _partly_unused_rank(rank: int, folder: str) -> None:
    join(rank, folder)
    shared, of_one_rank, later = (nn.Parameter(torch.ones(2)) for _ in range(3))
    ranks = AveragedGradients([shared, of_one_rank, later], 2)

    def first() -> Gradients:
        used = shared * (rank + 1)
        return {"loss": (used * of_one_rank if rank else used).sum()}

    found = []
    for compute in (first, lambda: {"loss": (rank + 1) * later.sum()}):
        ranks.losses(compute)["loss"].backward()
        for parameter in (shared, of_one_rank, later):
            found.append(None if parameter.grad is None else parameter.grad.tolist())
            parameter.grad = None
    torch.save(found, f"{folder}/{rank}.pt")
    distributed.destroy_process_group()


def test_parameters_that_a_step_does_not_use_keep_no_gradient(tmp_path: Path) -> None:
    """So that no weight decay changes them. What one worker uses is averaged with zero."""
    zero, one = of_two_ranks(_partly_unused_rank, tmp_path)
    assert zero == one == [[1.5, 1.5], [1.0, 1.0], None, None, None, [1.5, 1.5]]


def _other_weights_rank(rank: int, folder: str) -> None:
    join(rank, folder)
    weight = nn.Parameter(torch.full((2,), float(rank)))
    AveragedGradients([weight], 2)
    torch.save(weight.detach(), f"{folder}/{rank}.pt")
    distributed.destroy_process_group()


def test_all_workers_start_from_the_weights_of_the_first(tmp_path: Path) -> None:
    zero, one = of_two_ranks(_other_weights_rank, tmp_path)
    assert zero.tolist() == one.tolist() == [0.0, 0.0]
