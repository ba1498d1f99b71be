"""What an error inside a worker means, in searchd's words."""

import errno
from pathlib import Path
from typing import Any

import pytest
import torch

from searchd import artifacts
from searchd.domain.errors import ArtifactError, DataError
from searchd.domain.lifecycle import FailureCause
from tests.workers.trial.test_trainable import config
from workers.trial.failures import cause_and_reason
from workers.trial.trainable import TrialTrainable

HELP = "free space, or make it writable"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS])
def test_a_store_that_takes_no_writes_is_no_bug(number: int) -> None:
    cause, reason = cause_and_reason(OSError(number, "No room", "/artifacts/student"))
    assert cause is FailureCause.STORE_REFUSED
    assert reason == f"[Errno {number}] No room: '/artifacts/student': {HELP}"


@pytest.mark.parametrize(
    ("error", "cause", "reason"),
    [
        (ArtifactError("student is missing"), FailureCause.BAD_CHECKPOINT, "ArtifactError: stud"),
        (DataError("train.json: no boxes"), FailureCause.DATA_ERROR, "DataError: train.json: no"),
        (MemoryError("too much"), FailureCause.OUT_OF_MEMORY, "MemoryError: too much"),
        (
            RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed."),
            FailureCause.OUT_OF_MEMORY,
            "RuntimeError: DataLoader worker (pid 7) is killed by signal: Killed.",
        ),
        (RuntimeError("another"), FailureCause.BUG, "RuntimeError: another"),
        (OSError(errno.EACCES, "Permission denied"), FailureCause.BUG, "PermissionError: "),
        (KeyError("x"), FailureCause.BUG, "KeyError: 'x'"),
    ],
)
def test_other_errors_have_their_cause(error: Exception, cause: FailureCause, reason: str) -> None:
    found = cause_and_reason(error)
    assert found[0] is cause
    assert found[1].startswith(reason)


def test_out_of_memory_on_a_shared_gpu_names_the_share_and_what_to_give() -> None:
    error = torch.OutOfMemoryError("CUDA out of memory.")

    shared, whole = cause_and_reason(error, 0.5), cause_and_reason(error)

    assert whole == (FailureCause.OUT_OF_MEMORY, "OutOfMemoryError: CUDA out of memory.")
    assert shared == (
        FailureCause.OUT_OF_MEMORY,
        "OutOfMemoryError: CUDA out of memory; the process may use 0.5 of the GPU's memory, which "
        "is its share of the GPU: give a larger share (resources.gpus_per_trial, gpus_per_worker "
        "of a pool, gpus of a teacher), a smaller batch_size or smaller resolutions",
    )


def test_a_report_that_cannot_be_stored_leaves_another_attempt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    trainable = TrialTrainable(config(tmp_path))
    monkeypatch.setattr(trainable, "_next_slice", refuse)
    result: dict[str, Any] = trainable.step()
    trainable.stop()
    assert result["done"]
    assert '"cause":"store_refused"' in result["report"]
    assert HELP in result["report"]


def test_only_a_store_that_takes_no_writes_refuses() -> None:
    assert artifacts.refusal(OSError(errno.ENOENT, "No such file")) == ""
    assert artifacts.refusal(ValueError("x")) == ""
