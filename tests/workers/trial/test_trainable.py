"""The Tune trainable around a scripted trial; no Ray, no torch."""

import sys
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from searchd.domain.architecture import preset
from searchd.domain.detector import Detector
from searchd.domain.lifecycle import FailureCause
from searchd.domain.trial import Outcome, Proposal, Train, TrialRole
from searchd.messages.codecs import PROGRESS, REPORT
from searchd.messages.reports import Progress, Report
from searchd.messages.tasks import TrialTask
from searchd.spec import DatasetSpec, ScoreSpec, SplitSpec, TrainingSpec
from workers.trial.trainable import TrialTrainable

MODULE = "scripted_trial"


class Script(ModuleType):
    """A module that runs trials: two slices, then success."""

    class TrialContext:
        num_made = 0

        def __init__(self) -> None:
            type(self).num_made += 1
            self.trials: list[int] = []

    def trial_steps(
        self, task: TrialTask, context: "Script.TrialContext"
    ) -> Generator[Progress, bool, Report]:
        context.trials.append(task.attempt)
        for iteration in (1, 2):
            if not (yield _progress(task, iteration)):
                return _report(task, Outcome.STOPPED)
        return _report(task, Outcome.SUCCEEDED)


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Script:
    module = Script(MODULE)
    Script.TrialContext.num_made = 0
    monkeypatch.setitem(sys.modules, MODULE, module)
    return module


@pytest.fixture
def make(tmp_path: Path, script: Script) -> Iterator[Callable[..., TrialTrainable]]:
    """Makes trainables that run the script."""
    made: list[TrialTrainable] = []

    def one(**changes: object) -> TrialTrainable:
        made.append(TrialTrainable(config(tmp_path) | {"module": script.__name__} | changes))
        return made[-1]

    yield one
    for trainable in made:
        trainable.stop()


def config(folder: Path, attempt: int = 1) -> dict[str, Any]:
    split = SplitSpec(annotations=Path("train.json"), images=Path("train"))
    task = TrialTask(
        search="s-234567",
        proposal=Proposal(
            role=TrialRole.BASE,
            number=0,
            parent=None,
            change=Train(),
            teacher=None,
            seed=1,
            completed_before=0,
        ),
        attempt=attempt,
        dataset=DatasetSpec(name="shapes", train=split, validation=split),
        detector=Detector(architecture=preset("resnet18"), num_classes=2),
        training=TrainingSpec(),
        score=ScoreSpec(),
        evaluated_at=TrainingSpec().resolutions,
        artifacts=str(folder / "base" / f"attempt-{attempt}"),
    )
    return {
        "task": task.model_dump_json(),
        "module": MODULE,
        "stop": str(folder / "stop.json"),
        "silence_s": 60.0,
        "cpus": 1.5,
        "gpus": 0.25,
    }


def _progress(task: TrialTask, iteration: int) -> Progress:
    return Progress(
        trial=task.proposal.name,
        attempt=task.attempt,
        epoch=iteration,
        num_epochs=2,
        iteration=iteration,
        num_iterations=10,
        stage="train",
        losses={"loss": 0.5},
    )


def _report(task: TrialTask, outcome: Outcome) -> Report:
    return Report(trial=task.proposal.name, attempt=task.attempt, outcome=outcome)


def test_each_step_is_a_slice_and_the_last_one_is_marked_final(
    make: Callable[..., TrialTrainable],
) -> None:
    trainable = make()

    slices = [trainable.step(), trainable.step()]
    end = trainable.step()

    assert [s["final"] for s in slices] == [False, False]
    assert [PROGRESS.validate_json(s["progress"]).iteration for s in slices] == [1, 2]
    assert (end["final"], end["done"]) == (True, True)
    assert REPORT.validate_json(end["report"]).outcome is Outcome.SUCCEEDED


def test_trial_stops_at_the_end_of_its_slice_once_the_stop_file_exists(
    make: Callable[..., TrialTrainable], tmp_path: Path
) -> None:
    trainable = make()
    trainable.step()
    (tmp_path / "stop.json").write_text("{}")

    end = trainable.step()

    assert REPORT.validate_json(end["report"]).outcome is Outcome.STOPPED


def test_context_stays_loaded_from_one_trial_to_the_next(
    make: Callable[..., TrialTrainable], script: Script, tmp_path: Path
) -> None:
    trainable = make()
    for _ in range(3):
        trainable.step()

    assert trainable.reset_config(config(tmp_path, attempt=2))
    report = REPORT.validate_json([trainable.step() for _ in range(3)][-1]["report"])

    assert (report.outcome, report.attempt) == (Outcome.SUCCEEDED, 2)
    assert script.TrialContext.num_made == 1


def test_error_outside_the_trial_is_reported_and_not_raised(
    make: Callable[..., TrialTrainable],
) -> None:
    trainable = make(module="no_such_module")

    report = REPORT.validate_json(trainable.step()["report"])

    assert (report.outcome, report.cause) == (Outcome.FAILED, FailureCause.BUG)
    assert report.reason.endswith("ModuleNotFoundError: No module named 'no_such_module'\n")


def test_repr_names_search_trial_and_epoch_once_a_trial_runs(
    make: Callable[..., TrialTrainable],
) -> None:
    trainable = make()
    assert repr(trainable) == "search s-234567"

    trainable.step()
    trainable.step()

    assert repr(trainable) == "search s-234567 trial base epoch 2"


def test_each_trial_gets_the_cpus_and_the_share_of_a_gpu_that_the_search_says(
    tmp_path: Path,
) -> None:
    request = TrialTrainable.default_resource_request(config(tmp_path))

    assert request.bundles == [{"CPU": 1.5, "GPU": 0.25}]
