"""Images, a pool of teachers, a trained base and its child, which the tests of workers share."""

from collections.abc import Iterator
from functools import partial

import pytest
import ray
import torch
from safetensors.torch import save_file

from detection.data.shapes import make_shapes
from detection.measurement.latency import measure
from elastic_pool.supernet import Supernet
from searchd import artifacts
from searchd.domain.trial import Outcome, Train
from searchd.messages.reports import Report
from searchd.messages.tasks import PoolRef
from searchd.spec import DatasetSpec, MethodsSpec
from tests.workers.trial.tasks import HEAD, SPACE, base_task, child_task
from workers.trial.run import run_trial


@pytest.fixture(autouse=True, scope="module")
def _latency_of_few_passes() -> Iterator[None]:
    """Let workers measure a latency in 2 passes instead of 20: no test here reads the value."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (
            "workers.trial.evaluated",
            "workers.teacher_evaluation",
            "workers.teacher_training",
            "elastic_pool.evaluation",
        ):
            patch.setattr(f"{module}.measure", partial(measure, num_images=2))
        yield


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> DatasetSpec:
    folder = tmp_path_factory.mktemp("shapes")
    return make_shapes(folder, seed=0, num_train=12, num_validation=6, image_size=64)


@pytest.fixture(scope="session")
def supernet() -> Supernet:
    torch.manual_seed(0)
    return Supernet(SPACE.space, HEAD, num_classes=4)


@pytest.fixture(scope="session")
def pool(supernet: Supernet, tmp_path_factory: pytest.TempPathFactory) -> PoolRef:
    file = tmp_path_factory.mktemp("pool") / "supernet.safetensors"
    save_file({k: v.contiguous() for k, v in supernet.weights().items()}, file)
    stored = artifacts.write(str(file), file.read_bytes(), name="supernet")
    return PoolRef(supernet=stored, space=SPACE, head=HEAD, bn_reset_images=8)


@pytest.fixture(scope="session")
def base(dataset: DatasetSpec, tmp_path_factory: pytest.TempPathFactory) -> Report:
    report = run_trial(base_task(dataset, tmp_path_factory.mktemp("base")))
    assert report.outcome is Outcome.SUCCEEDED, report.reason
    return report


@pytest.fixture(scope="session")
def child(
    dataset: DatasetSpec, base: Report, pool: PoolRef, tmp_path_factory: pytest.TempPathFactory
) -> Report:
    """A child that is trained further, with a floor of its teacher's AP."""
    floor = MethodsSpec(teacher_ap_floor=0.5)
    folder = tmp_path_factory.mktemp("child")
    task = child_task(dataset, base, pool, folder, Train(), distillation=floor)
    report = run_trial(task)
    assert report.outcome is Outcome.SUCCEEDED, report.reason
    return report


@pytest.fixture(scope="session")
def local_ray() -> Iterator[None]:
    """A Ray of this process's own, with two CPUs."""
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()
