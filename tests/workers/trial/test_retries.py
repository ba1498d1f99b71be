"""Attempts that failed, and the ones after them, with real detectors on real images."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from detection.data.shapes import make_shapes
from detection.training import Training
from searchd import artifacts
from searchd.domain.lifecycle import FailureCause
from searchd.domain.trial import Outcome
from searchd.messages.tasks import TrialTask
from searchd.spec import DatasetSpec, TrainingSpec
from tests.workers.trial.tasks import SIZE, base_task, weights
from workers.trial.checkpoints import checkpoints, newest_checkpoint
from workers.trial.run import run_trial

pytestmark = pytest.mark.timeout(60)  # real detectors are trained

TRAINING = TrainingSpec(epochs=2, batch_size=4, learning_rate=0.02, resolutions=(SIZE,))
STEPS_PER_EPOCH = 3
"""12 images in batches of 4."""


@pytest.fixture
def task(dataset: DatasetSpec, tmp_path: Path) -> TrialTask:
    return base_task(
        dataset, tmp_path, training=TRAINING, evaluated_at=(SIZE,), artifacts=str(tmp_path / "1")
    )


def next_attempt(task: TrialTask, **training: Any) -> TrialTask:
    number = task.attempt + 1
    return task.model_copy(
        update={
            "attempt": number,
            "artifacts": str(Path(task.artifacts).parent / str(number)),
            "previous_attempts": (task.artifacts, *task.previous_attempts),
            "training": TRAINING.model_copy(update=training),
        }
    )


@pytest.fixture
def accident(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, Callable[[], Any]], list[int]]:
    """Has something happen in the place of the losses of a step, once; what steps are trained."""

    def arrange(at_step: int, what: Callable[[], Any]) -> list[int]:
        steps: list[int] = []
        losses = Training.losses
        left = [what]

        def watched(self: Any, *arguments: Any, **options: Any) -> Any:
            steps.append(self._step)
            if self._step == at_step and left:
                return left.pop()()
            return losses(self, *arguments, **options)

        monkeypatch.setattr(Training, "losses", watched)
        return steps

    return arrange


def out_of_memory() -> Any:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")


def not_a_number() -> dict[str, torch.Tensor]:
    return {"loss_cls": torch.tensor(float("nan"), requires_grad=True)}


def test_after_out_of_memory_training_resumes_from_the_last_epoch_with_half_the_batch(
    task: TrialTask, accident: Callable[..., list[int]]
) -> None:
    steps = accident(STEPS_PER_EPOCH + 1, out_of_memory)
    every_step = task.model_copy(update={"checkpoint_s": 1e-9})
    first = run_trial(every_step)
    assert (first.outcome, first.cause) == (Outcome.FAILED, FailureCause.OUT_OF_MEMORY)
    assert steps == [0, 1, 2, 3, 4]
    steps.clear()

    second = run_trial(next_attempt(every_step, batch_size=2, learning_rate=0.01))

    assert second.outcome is Outcome.SUCCEEDED, second.reason
    # Twice as many steps make an epoch now; the second one is trained as a whole.
    assert steps == list(range(6, 12))
    assert [epoch.epoch for epoch in second.epochs] == [1, 2]


def test_a_trial_that_needs_more_than_its_share_of_a_gpu_says_so_in_its_report(
    task: TrialTask, accident: Callable[..., list[int]]
) -> None:
    accident(1, out_of_memory)

    report = run_trial(task.model_copy(update={"gpu_memory": 0.25}))

    assert (report.outcome, report.cause) == (Outcome.FAILED, FailureCause.OUT_OF_MEMORY)
    assert "the process may use 0.25 of the GPU's memory, which is its share" in report.reason


def test_after_a_loss_that_is_not_finite_training_goes_back_to_the_last_epoch(
    task: TrialTask, accident: Callable[..., list[int]]
) -> None:
    steps = accident(2 * STEPS_PER_EPOCH - 1, not_a_number)
    every_step = task.model_copy(update={"checkpoint_s": 1e-9})
    first = run_trial(every_step)
    assert (first.outcome, first.cause) == (Outcome.FAILED, FailureCause.NON_FINITE_LOSS)
    steps.clear()

    second = run_trial(next_attempt(every_step, learning_rate=0.002))

    assert second.outcome is Outcome.SUCCEEDED, second.reason
    assert steps == list(range(3, 6))  # not from step 5, where the last checkpoint was
    assert second.epochs[1].learning_rate < 0.002 < second.epochs[0].learning_rate
    assert all(value.isfinite().all() for value in weights(second).values())


def test_before_the_first_epochs_end_a_training_with_another_rate_starts_over(
    task: TrialTask, accident: Callable[..., list[int]]
) -> None:
    steps = accident(1, not_a_number)
    run_trial(task.model_copy(update={"checkpoint_s": 1e-9}))
    steps.clear()

    run_trial(next_attempt(task, learning_rate=0.002))

    assert steps == list(range(6))


def test_attempt_that_is_lost_after_a_retry_resumes_inside_its_epoch(
    task: TrialTask, accident: Callable[..., list[int]]
) -> None:
    accident(STEPS_PER_EPOCH, not_a_number)
    run_trial(task)
    slices = task.model_copy(update={"slice_s": 1e-9})
    second = next_attempt(slices, learning_rate=0.002)
    steps = accident(-1, not_a_number)
    left = iter(range(2))
    run_trial(second, lambda _: next(left, None) is not None)  # stops after steps 3 and 4
    steps.clear()

    third = run_trial(next_attempt(second, learning_rate=0.002))

    assert steps[0] == 5
    assert third.outcome is Outcome.SUCCEEDED


def test_truncated_checkpoint_is_skipped_with_a_note(
    task: TrialTask, accident: Callable[..., list[int]]
) -> None:
    steps = accident(STEPS_PER_EPOCH + 1, out_of_memory)
    run_trial(task.model_copy(update={"checkpoint_s": 1e-9}))
    damaged = Path(task.artifacts) / "resume.pt"
    damaged.write_bytes(damaged.read_bytes()[:-1000])
    steps.clear()

    second = run_trial(next_attempt(task))

    assert steps[0] == STEPS_PER_EPOCH  # from the epoch's end, which is another file
    assert second.outcome is Outcome.SUCCEEDED
    assert second.notes == (
        f"checkpoint {damaged} cannot be read and is skipped: its content does not match its "
        "SHA-256",
    )


def test_flipped_bit_in_a_checkpoint_is_found(
    task: TrialTask, accident: Callable[..., list[int]]
) -> None:
    accident(STEPS_PER_EPOCH, out_of_memory)
    run_trial(task)
    file = Path(task.artifacts) / "epoch.pt"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)

    assert newest_checkpoint([task.artifacts]) is None


def test_weights_that_are_not_finite_are_not_gone_back_to(
    task: TrialTask, accident: Callable[..., list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = accident(STEPS_PER_EPOCH + 1, not_a_number)
    run_trial(task)
    state = next(checkpoints([task.artifacts]))
    next(iter(state["training"]["model"].values())).fill_(float("inf"))
    monkeypatch.setattr("workers.trial.run.checkpoints", lambda *_: iter([state]))
    steps.clear()

    run_trial(next_attempt(task, learning_rate=0.002))

    assert steps[0] == 0


def test_image_that_is_damaged_later_is_a_data_error_that_names_the_file(
    task: TrialTask, tmp_path: Path
) -> None:
    spec = make_shapes(tmp_path / "own", seed=0, num_train=4, num_validation=1, image_size=64)
    image = sorted(spec.train.images.iterdir())[2]
    image.write_bytes(image.read_bytes()[:100])

    report = run_trial(task.model_copy(update={"dataset": spec}))

    assert (report.outcome, report.cause) == (Outcome.FAILED, FailureCause.DATA_ERROR)
    assert str(image) in report.reason


def test_checkpoints_are_kept_while_another_try_is_possible(
    task: TrialTask, accident: Callable[..., list[int]]
) -> None:
    accident(STEPS_PER_EPOCH, out_of_memory)
    run_trial(task)
    assert artifacts.exists(f"{task.artifacts}/epoch.pt")

    run_trial(next_attempt(task))

    assert not artifacts.exists(f"{task.artifacts}/epoch.pt")
