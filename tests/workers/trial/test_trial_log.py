"""The log of an attempt: what its worker logged, stored after every slice beside its files."""

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from searchd.messages.reports import Progress
from workers.trial.trial_log import TrialLog

log = logging.getLogger("detection.training")


@pytest.fixture
def kept(caplog: pytest.LogCaptureFixture) -> Iterator[TrialLog]:
    caplog.set_level(logging.INFO)
    made = TrialLog()
    yield made
    made.close()


def _lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_lines_are_numbered_and_stored_with_their_traceback(kept: TrialLog, tmp_path: Path) -> None:
    kept.begin(str(tmp_path / "log.jsonl"))
    log.info("batch size %d", 4)
    kept.store()
    try:
        raise ValueError("no such class")
    except ValueError:
        log.exception("the trial failed")
    kept.store()

    first, second = _lines(tmp_path / "log.jsonl")
    assert (first["line"], first["level"], first["logger"], first["message"]) == (
        *(1, "INFO", "detection.training"),
        "batch size 4",
    )
    assert second["line"] == 2
    assert second["traceback"].endswith("ValueError: no such class")


def test_each_attempt_has_a_log_of_its_own(kept: TrialLog, tmp_path: Path) -> None:
    for name in ("first", "second"):
        kept.begin(str(tmp_path / name))
        log.info("this is the %s", name)
        kept.store()

    assert [each["message"] for each in _lines(tmp_path / "second")] == ["this is the second"]


def test_only_the_last_lines_are_kept(kept: TrialLog, tmp_path: Path) -> None:
    kept.begin(str(tmp_path / "log"))
    for number in range(2003):
        log.info("line %d", number)
    kept.store()

    stored = _lines(tmp_path / "log")
    assert (len(stored), stored[0]["line"], stored[-1]["line"]) == (2000, 4, 2003)


def test_a_store_that_refuses_the_log_is_mentioned_once_and_tried_again(
    kept: TrialLog, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "folder").write_text("in the way")
    kept.begin(str(tmp_path / "folder" / "log"))
    log.info("something")

    kept.store()
    kept.store()
    (tmp_path / "folder").unlink()
    kept.store()

    assert [r.message for r in caplog.records if "cannot be stored" in r.message] != []
    messages = [each["message"] for each in _lines(tmp_path / "folder" / "log")]
    assert messages[0] == "something"
    assert len(messages) == 2


def test_a_new_epoch_is_a_line_with_the_losses_so_far(kept: TrialLog, tmp_path: Path) -> None:
    kept.begin(str(tmp_path / "log"))
    for epoch, loss in ((1, 2.0), (1, 1.5), (2, 0.123456)):
        kept.note(_progress(epoch, loss))
    kept.store()

    assert [each["message"] for each in _lines(tmp_path / "log")] == [
        "train, epoch 1 of 12: loss 2",
        "train, epoch 2 of 12: loss 0.1235",
    ]


def _progress(epoch: int, loss: float) -> Progress:
    return Progress(
        trial="3",
        attempt=1,
        epoch=epoch,
        num_epochs=12,
        iteration=4,
        num_iterations=100,
        stage="train",
        losses={"loss": loss},
    )
