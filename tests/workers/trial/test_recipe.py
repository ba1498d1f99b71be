"""A trial with the recipe of mmdet's configs: what is found, evaluated, stored and resumed."""

from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch

from detection import batch_size
from detection.iteration import Iteration
from detection.training import Training
from searchd.domain.lifecycle import FailureCause
from searchd.domain.trial import Outcome
from searchd.messages.reports import Progress
from searchd.messages.tasks import TrialTask
from searchd.spec import DatasetSpec, TrainingSpec
from tests.workers.trial.tasks import SIZE, base_task, weights
from workers.trial.checkpoints import newest_checkpoint
from workers.trial.run import run_trial

pytestmark = pytest.mark.timeout(60)  # real detectors are trained

RECIPE = TrainingSpec.model_validate(
    {
        "epochs": 2,
        "batch_size": "auto",
        "optimizer": "adamw",
        "learning_rate": 5e-4,
        "ema": {"decay": 0.8, "warmup": 2},
        "amp": "bf16",
        "crop": {"kind": "min_iou"},
        "scale_jitter": [0.8, 1.25],
        "photometric_distortion": {},
        "resolutions": [str(SIZE)],
    }
)


@pytest.fixture(autouse=True)
def four_images_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    """12 images in batches of 4: 3 steps per epoch."""
    monkeypatch.setattr(batch_size, "MIN_ITERATIONS", 3)
    monkeypatch.setattr(batch_size, "available_bytes", lambda: 2**30)


def task_in(folder: Path, dataset: DatasetSpec, **values: Any) -> TrialTask:
    given = {"training": RECIPE, "evaluated_at": (SIZE,), "slice_s": 1e-9, **values}
    return base_task(dataset, folder, **given)


def stop_in_training(at: int) -> Callable[[Progress], bool]:
    return lambda progress: not (progress.stage == "train" and progress.iteration == at)


def test_an_interrupted_trial_equals_an_uninterrupted_one(
    dataset: DatasetSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    straight = run_trial(task_in(tmp_path / "a", dataset))
    first = task_in(tmp_path / "b", dataset)
    assert run_trial(first, stop_in_training(2)).outcome is Outcome.STOPPED
    state = newest_checkpoint([first.artifacts])
    assert state is not None
    assert state["training"]["batch_size"] == 4
    monkeypatch.setattr(batch_size, "available_bytes", lambda: 0)  # memory is short now

    resumed = run_trial(
        task_in(
            tmp_path / "b",
            dataset,
            attempt=2,
            artifacts=str(tmp_path / "b" / "2"),
            previous_attempts=(first.artifacts,),
        )
    )

    assert (straight.outcome, resumed.outcome) == (Outcome.SUCCEEDED, Outcome.SUCCEEDED)
    torch.testing.assert_close(weights(resumed), weights(straight), rtol=0, atol=0)
    assert [e.losses for e in resumed.epochs] == [e.losses for e in straight.epochs]
    (note,) = straight.notes
    assert note.startswith("batch size 4 found by memory: an image is estimated to need ")
    assert (straight.batch_size, resumed.batch_size, resumed.notes) == (4, 4, ())


def test_averaged_weights_are_what_is_evaluated_and_stored(
    dataset: DatasetSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Training] = []
    run = Training.run

    def watched(self: Training) -> Iterator[Iteration]:
        seen.append(self)
        return run(self)

    monkeypatch.setattr(Training, "run", watched)

    report = run_trial(task_in(tmp_path, dataset))

    (training,) = seen
    stored = weights(report)
    averaged = training.evaluated_model.state_dict()
    torch.testing.assert_close(stored, dict(averaged), rtol=0, atol=0)
    name = "roi_head.bbox_head.fc_cls.weight"
    assert not torch.equal(stored[name], training.model.state_dict()[name])


def test_a_trial_that_runs_out_of_memory_reports_the_batch_size_that_it_found(
    dataset: DatasetSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def out_of_memory(*_: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(Training, "_train_step", out_of_memory)

    report = run_trial(task_in(tmp_path, dataset))

    assert (report.outcome, report.cause) == (Outcome.FAILED, FailureCause.OUT_OF_MEMORY)
    assert report.batch_size == 4
    assert len(report.notes) == 1


def test_a_checkpoint_of_a_version_without_the_recipe_is_resumed_inside_its_epoch(
    dataset: DatasetSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = TrainingSpec(epochs=2, batch_size=4, learning_rate=0.01, resolutions=(SIZE,))
    new = set(TrainingSpec.model_fields) - set(OLD_FIELDS)
    dump = TrainingSpec.model_dump_json
    monkeypatch.setattr(TrainingSpec, "model_dump_json", lambda self: dump(self, exclude=new))
    first = task_in(tmp_path, dataset, training=plain, artifacts=str(tmp_path / "1"))
    run_trial(first, stop_in_training(2))
    monkeypatch.undo()
    iterations: list[tuple[int, int]] = []

    def record(progress: Progress) -> bool:
        if progress.stage == "train":
            iterations.append((progress.epoch, progress.iteration))
        return True

    second = task_in(
        tmp_path, dataset, training=plain, attempt=2, artifacts=str(tmp_path / "2")
    ).model_copy(update={"previous_attempts": (first.artifacts,)})
    report = run_trial(second, record)

    assert report.outcome is Outcome.SUCCEEDED, report.reason
    assert iterations[0] == (1, 3)
    assert asdict(report)["batch_size"] is None


OLD_FIELDS = (
    "epochs",
    "batch_size",
    "learning_rate",
    "schedule",
    "momentum",
    "weight_decay",
    "warmup_iterations",
    "max_grad_norm",
    "flip_probability",
    "resolutions",
    "bn_l1",
)
"""The fields of a `TrainingSpec` before the recipe."""
