"""Pool training by a task, in this process and on Ray Train."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ray.train import TrainingFailedError
from safetensors.torch import load

import detection.training
from detection.data.shapes import make_shapes
from detection.iteration import NonFiniteLossError
from searchd import artifacts
from searchd.domain.errors import StaleLeaseError
from searchd.domain.lifecycle import FailureCause
from searchd.domain.subnet import Subnet
from searchd.domain.trial import Outcome
from searchd.messages.codecs import POOL_REPORT
from searchd.messages.reports import PoolProgress
from searchd.messages.tasks import PoolTrainingTask
from searchd.spec import DatasetSpec, PoolSpec
from tests.elastic_pool.tiny import TINY_SPACE, make_pool_spec
from workers.pool import training as pool_training
from workers.pool.steps import train_pool_inline
from workers.pool.training import train_pool
from workers.trial.checkpoints import newest_checkpoint, write_checkpoint

pytestmark = pytest.mark.timeout(60)  # real detectors are trained

NUM_ITERATIONS = 5 * 2
"""Five epochs of two."""


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> DatasetSpec:
    return make_shapes(
        tmp_path_factory.mktemp("shapes"),
        num_train=8,
        num_validation=4,
        image_size=64,
        num_classes=3,
    )


def make_task(dataset: DatasetSpec, folder: Path, **changes: Any) -> PoolTrainingTask:
    spec = make_pool_spec()
    first = spec.phases[0].model_copy(update={"epochs": 2})
    task = PoolTrainingTask(
        pool="p-1",
        attempt=1,
        spec=spec.model_copy(update={"phases": (first, *spec.phases[1:])}),
        dataset=dataset,
        artifacts=str(folder / "attempt-1"),
        slice_s=1e-6,  # hands over after every iteration
    )
    return task.model_copy(update=changes)


def next_attempt(task: PoolTrainingTask) -> PoolTrainingTask:
    folder = task.artifacts.replace("attempt-1", "attempt-2")
    return task.model_copy(
        update={"attempt": 2, "artifacts": folder, "previous_attempts": (task.artifacts,)}
    )


def noting(seen: list[PoolProgress]) -> Callable[[PoolProgress], bool]:
    """Notes every progress and never stops."""

    def note(progress: PoolProgress) -> bool:
        seen.append(progress)
        return True

    return note


@pytest.fixture(scope="module")
def finished(
    dataset: DatasetSpec, tmp_path_factory: pytest.TempPathFactory
) -> tuple[PoolTrainingTask, Any, list[PoolProgress]]:
    """A task, its report, and its progress."""
    task = make_task(dataset, tmp_path_factory.mktemp("pool"))
    seen: list[PoolProgress] = []
    report = train_pool_inline(task, noting(seen))
    return task, report, seen


def test_report_holds_supernet_subnets_and_epochs(
    finished: tuple[PoolTrainingTask, Any, list[PoolProgress]],
) -> None:
    task, report, _ = finished
    assert (report.outcome, report.reason, report.cause) == (Outcome.SUCCEEDED, "", None)
    assert [(epoch.phase, epoch.metrics.epoch) for epoch in report.epochs] == [
        ("supernet", 1),
        ("supernet", 2),
        ("shrink-1", 1),
        ("shrink-2", 1),
        ("shrink-2", 2),
    ]
    assert [found.subnet for found in report.subnets] == [TINY_SPACE.largest, TINY_SPACE.smallest]
    assert report.subnets[0].params > report.subnets[1].params
    assert report.supernet is not None
    weights = load(artifacts.read(report.supernet))
    assert weights["neck.fpn_convs.0.conv.weight"].shape == (24, 24, 3, 3)


def test_report_is_written_and_the_checkpoint_removed(
    finished: tuple[PoolTrainingTask, Any, list[PoolProgress]],
) -> None:
    task, report, _ = finished
    stored = artifacts.read_bytes(artifacts.join(task.artifacts, "report.json"))
    assert POOL_REPORT.validate_json(stored) == report
    assert not artifacts.exists(artifacts.join(task.artifacts, "resume.pt"))


def test_progress_has_phase_epoch_iteration_and_time_left(
    finished: tuple[PoolTrainingTask, Any, list[PoolProgress]],
) -> None:
    training = [progress for progress in finished[2] if progress.stage == "train"]
    places = [(p.phase, p.epoch, p.iteration, p.num_epochs, p.num_iterations) for p in training]
    assert len(places) == NUM_ITERATIONS
    assert places[2] == ("supernet", 2, 1, 2, 2)
    assert places[-1] == ("shrink-2", 2, 2, 2, 2)
    assert training[0].seconds_left is None
    assert training[-1].seconds_left == 0
    assert set(training[2].losses) >= {"loss", "loss_cls"}
    evaluating = [p for p in finished[2] if p.stage == "evaluate"]
    assert [(p.phase, p.iteration, p.num_iterations) for p in evaluating] == [
        ("supernet", 0, 1),
        ("shrink-1", 0, 2),
        ("shrink-1", 1, 2),
        ("shrink-2", 0, 2),
        ("shrink-2", 1, 2),
    ]


SMALLEST_OF_SHRINK_1 = Subnet(depths=(1, 2, 1, 1), widths=(1.5,) * 4, neck_channels=24)


def test_largest_and_smallest_subnet_are_measured_at_the_end_of_each_phase_but_the_last(
    finished: tuple[PoolTrainingTask, Any, list[PoolProgress]],
) -> None:
    measured = [
        (epoch.phase, epoch.metrics.epoch, [found.subnet for found in epoch.subnets])
        for epoch in finished[1].epochs
    ]
    assert measured == [
        ("supernet", 1, []),
        ("supernet", 2, [TINY_SPACE.largest]),
        ("shrink-1", 1, [TINY_SPACE.largest, SMALLEST_OF_SHRINK_1]),
        ("shrink-2", 1, []),
        ("shrink-2", 2, []),
    ]
    (at,) = finished[1].epochs[1].subnets[0].evaluations  # at the largest resolution alone
    assert str(at.resolution) == "64x64"
    assert 0 <= at.ap <= at.ap50 <= 1


def test_progress_has_the_epochs_and_subnets_so_far(
    finished: tuple[PoolTrainingTask, Any, list[PoolProgress]],
) -> None:
    _, report, seen = finished
    first_of_shrink_1 = next(p for p in seen if p.phase == "shrink-1")
    assert seen[0].epochs == ()
    assert first_of_shrink_1.epochs == report.epochs[:2]
    assert seen[-1].epochs == report.epochs


@pytest.mark.parametrize("num_measured", [0, 1])
def test_resumed_training_measures_only_what_was_not_measured(
    dataset: DatasetSpec, tmp_path: Path, num_measured: int
) -> None:
    task = make_task(dataset, tmp_path)

    def stop_at_the_end_of_shrink_1(at: PoolProgress) -> bool:
        return (at.phase, at.stage, at.iteration) != ("shrink-1", "evaluate", num_measured)

    assert train_pool_inline(task, stop_at_the_end_of_shrink_1).outcome is Outcome.STOPPED
    seen: list[PoolProgress] = []
    report = train_pool_inline(next_attempt(task), noting(seen))

    subnets = [found.subnet for found in report.epochs[2].subnets]
    assert subnets == [TINY_SPACE.largest, SMALLEST_OF_SHRINK_1]
    places = [(p.phase, p.stage, p.iteration, p.num_iterations) for p in seen]
    num_left = 2 - num_measured
    assert places[:num_left] == [
        ("shrink-1", "evaluate", done, num_left) for done in range(num_left)
    ]
    assert places[num_left] == ("shrink-2", "train", 1, 2)


def test_checkpoint_of_an_earlier_version_has_measured_no_subnets(
    dataset: DatasetSpec, tmp_path: Path
) -> None:
    task = make_task(dataset, tmp_path)
    train_pool_inline(task, lambda at: at.phase == "supernet")  # stops after a step of shrink-1
    checkpoint = newest_checkpoint([task.artifacts])
    assert checkpoint is not None
    del checkpoint["measured"]
    for epoch in checkpoint["epochs_before"]:
        del epoch["subnets"]
    write_checkpoint(task.artifacts, checkpoint)
    report = train_pool_inline(next_attempt(task))
    assert (report.outcome, report.reason) == (Outcome.SUCCEEDED, "")
    assert [len(epoch.subnets) for epoch in report.epochs] == [0, 0, 2, 0, 0]


def test_stopped_training_resumes_where_it_stopped(dataset: DatasetSpec, tmp_path: Path) -> None:
    task = make_task(dataset, tmp_path)
    seen: list[PoolProgress] = []

    def stop_after_seven(progress: PoolProgress) -> bool:
        seen.append(progress)
        return len(seen) < 7

    stopped = train_pool_inline(task, stop_after_seven)
    assert stopped.outcome is Outcome.STOPPED
    assert not artifacts.exists(artifacts.join(task.artifacts, "report.json"))
    report = train_pool_inline(next_attempt(task), noting(seen))
    assert (report.outcome, report.attempt) == (Outcome.SUCCEEDED, 2)
    assert len([progress for progress in seen if progress.stage == "train"]) == NUM_ITERATIONS


def test_resumed_supernet_equals_an_uninterrupted_one_to_the_bit(
    finished: tuple[PoolTrainingTask, Any, list[PoolProgress]], dataset: DatasetSpec, tmp_path: Path
) -> None:
    task = make_task(dataset, tmp_path)
    answers = iter([True] * 5 + [False])
    train_pool_inline(task, lambda _: next(answers))
    report = train_pool_inline(next_attempt(task))
    assert report.supernet is not None
    assert report.supernet.sha256 == finished[1].supernet.sha256


def test_failure_is_reported_with_its_cause(
    dataset: DatasetSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = make_task(dataset, tmp_path)

    def explode(*_: object) -> dict[str, float]:
        raise NonFiniteLossError(0, {"loss": float("nan")})

    monkeypatch.setattr(detection.training.Training, "_train_step", explode)
    report = train_pool_inline(task)
    assert report.outcome is Outcome.FAILED
    assert report.cause is FailureCause.NON_FINITE_LOSS
    assert "loss=nan" in report.reason
    stored = artifacts.read_bytes(artifacts.join(task.artifacts, "report.json"))
    assert POOL_REPORT.validate_json(stored) == report


def test_missing_data_set_is_reported_as_a_data_error(dataset: DatasetSpec, tmp_path: Path) -> None:
    missing = dataset.train.model_copy(update={"annotations": tmp_path / "nowhere.json"})
    task = make_task(dataset.model_copy(update={"train": missing}), tmp_path)
    report = train_pool_inline(task)
    assert report.cause is FailureCause.DATA_ERROR
    assert "nowhere.json" in report.reason


class BrokenTrainer:
    """Ray Train when its workers end with an error."""

    def fit(self) -> None:
        raise TrainingFailedError("workers are gone")


def test_failure_that_a_worker_wrote_down_is_reported(
    dataset: DatasetSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = dataset.train.model_copy(update={"annotations": tmp_path / "nowhere.json"})
    task = make_task(dataset.model_copy(update={"train": missing}), tmp_path)
    written = train_pool_inline(task)
    monkeypatch.setattr(pool_training, "_trainer", lambda _: BrokenTrainer())
    assert train_pool(task) == written
    assert written.cause is FailureCause.DATA_ERROR


def test_workers_that_end_without_a_report_are_lost(
    dataset: DatasetSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = make_task(dataset, tmp_path)
    monkeypatch.setattr(pool_training, "_trainer", lambda _: BrokenTrainer())
    report = train_pool(task)
    assert (report.outcome, report.cause) == (Outcome.FAILED, FailureCause.WORKER_LOST)
    assert "workers are gone" in report.reason
    assert not artifacts.exists(artifacts.join(task.artifacts, "report.json"))


def test_workers_stop_when_the_caller_fails(
    dataset: DatasetSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = make_task(dataset, tmp_path)
    stop = artifacts.join(task.artifacts, "stop")

    class UntilStopped:
        def fit(self) -> None:
            while not artifacts.exists(stop):
                time.sleep(0.01)

    def lose_the_lease(_: PoolProgress) -> bool:
        raise StaleLeaseError("another driver has it")

    monkeypatch.setattr(pool_training, "_trainer", lambda _: UntilStopped())
    monkeypatch.setattr(pool_training, "POLL_S", 0.01)
    with pytest.raises(StaleLeaseError):
        train_pool(task, lose_the_lease)
    assert artifacts.exists(stop)


def on_two_workers(task: PoolTrainingTask) -> PoolTrainingTask:
    spec: PoolSpec = task.spec.model_copy(update={"num_workers": 2, "cpus_per_worker": 0.5})
    training = spec.training.model_copy(update={"batch_size": 2})
    return task.model_copy(update={"spec": spec.model_copy(update={"training": training})})


def test_files_carry_progress_and_the_request_to_stop(
    finished: tuple[PoolTrainingTask, Any, list[PoolProgress]], tmp_path: Path
) -> None:
    task = finished[0].model_copy(update={"artifacts": str(tmp_path)})
    assert pool_training._latest_progress(task) is None
    assert pool_training._publish_progress(task, finished[2][3]) is True
    assert pool_training._latest_progress(task) == finished[2][3]
    pool_training._request_stop(task)
    assert pool_training._publish_progress(task, finished[2][4]) is False


@pytest.mark.e2e
@pytest.mark.timeout(300)  # Ray is started, while another process may keep the machine busy
@pytest.mark.usefixtures("local_ray")
def test_two_workers_on_ray_train_make_a_pool(dataset: DatasetSpec, tmp_path: Path) -> None:
    task = on_two_workers(make_task(dataset, tmp_path, slice_s=0.5))
    seen: list[PoolProgress] = []
    report = train_pool(task, noting(seen))
    assert (report.outcome, report.reason) == (Outcome.SUCCEEDED, "")
    assert [(epoch.phase, epoch.metrics.epoch) for epoch in report.epochs][-1] == ("shrink-2", 2)
    assert [len(epoch.subnets) for epoch in report.epochs] == [0, 1, 2, 0, 0]
    assert len(report.subnets) == 2
    assert report.supernet is not None
    assert "backbone.layer4.1.conv3.weight" in load(artifacts.read(report.supernet))
    assert seen[0].stage == "start"
    assert {progress.stage for progress in seen} & {"train", "evaluate"}


def test_a_task_that_continues_another_pool_starts_from_its_weights(
    finished: tuple[PoolTrainingTask, Any, list[PoolProgress]], dataset: DatasetSpec, tmp_path: Path
) -> None:
    task, report, _ = finished
    longer = make_task(dataset, tmp_path, spec=task.spec.extended(epochs=1), start=report.supernet)
    stopped = train_pool_inline(longer, lambda _: False)  # after the first iteration
    assert stopped.outcome is Outcome.STOPPED
    again = train_pool_inline(next_attempt(longer))
    assert [(epoch.phase, epoch.metrics.epoch) for epoch in again.epochs] == [("shrink-2", 1)]
    assert again.supernet is not None
    assert again.supernet.sha256 != report.supernet.sha256
    before, after = load(artifacts.read(report.supernet)), load(artifacts.read(again.supernet))
    name = "roi_head.bbox_head.fc_cls.weight"
    assert (after[name] - before[name]).abs().max() < 0.1  # two steps, not new random weights
