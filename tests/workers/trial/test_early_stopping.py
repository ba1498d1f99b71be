"""A trial below the early-stopping threshold ends after its first epoch; others are trained on."""

from pathlib import Path
from typing import Any

import pytest

from searchd.domain.trial import Outcome, Train
from searchd.messages.reports import Report
from searchd.messages.tasks import EarlyStoppingRule, PoolRef, TrialTask
from searchd.search.rungs import Rung
from searchd.spec import DatasetSpec
from tests.workers.trial.tasks import TRAINING, child_task
from workers.trial.context import TrialContext
from workers.trial.run import run_trial, trial_steps

pytestmark = pytest.mark.timeout(60)  # real detectors are trained


@pytest.fixture
def task(dataset: DatasetSpec, base: Report, pool: PoolRef, tmp_path: Path) -> TrialTask:
    return child_task(dataset, base, pool, tmp_path / "attempt-1", Train())


def judged(task: TrialTask, below: float | None, **changes: Any) -> TrialTask:
    early_stopping = EarlyStoppingRule(base_macs=1e7, abandon_below=below)
    return task.model_copy(update={"early_stopping": early_stopping, **changes})


def test_hopeless_trial_is_abandoned_after_one_epoch(task: TrialTask) -> None:
    report = run_trial(judged(task, 2.0))

    assert report.outcome is Outcome.ABANDONED
    assert report.reason.startswith("abandoned after its first epoch: its score of ")
    assert "is below the early-stopping threshold of 200.00%" in report.reason
    assert [epoch.epoch for epoch in report.epochs] == [1]
    assert report.evaluations == ()
    # Nothing resumes from here: the checkpoint is gone.
    left = sorted(path.name for path in Path(task.artifacts).iterdir())
    assert left == ["detector.json", "report.json"]


def test_trial_above_the_threshold_is_trained_as_if_it_had_not_been_scored(
    task: TrialTask, child: Report
) -> None:
    report = run_trial(judged(task, -1.0))

    assert report.outcome is Outcome.SUCCEEDED
    assert report.checks.first_epoch_score is not None
    assert child.checks.first_epoch_score is None
    assert [e.losses for e in report.epochs] == [e.losses for e in child.epochs]
    assert [e.ap for e in report.evaluations] == [e.ap for e in child.evaluations]


def test_trial_that_was_stopped_while_it_was_scored_is_scored_when_it_resumes(
    task: TrialTask,
) -> None:
    steps = trial_steps(judged(task, 2.0, slice_s=1e-6), TrialContext())
    at = next(steps)
    while at.stage != "judge":
        at = steps.send(True)
    assert at.epoch == 1
    with pytest.raises(StopIteration) as stopped:
        steps.send(False)
    assert stopped.value.value.outcome is Outcome.STOPPED

    again = {"artifacts": task.artifacts + "-again", "previous_attempts": (task.artifacts,)}
    report = run_trial(judged(task, 2.0, **again))

    assert report.outcome is Outcome.ABANDONED
    assert [epoch.epoch for epoch in report.epochs] == [1]


def halving(task: TrialTask, *rungs: Rung) -> TrialTask:
    rule = EarlyStoppingRule(base_macs=1e7, abandons=False, abandon_below=None, rungs=rungs)
    training = TRAINING.model_copy(update={"epochs": 3})
    return task.model_copy(update={"early_stopping": rule, "training": training})


def test_trial_below_a_rung_is_stopped_there(task: TrialTask) -> None:
    first, second = Rung(epoch=1, num=2), Rung(epoch=2, below=2.0, rank=3, num=7)

    report = run_trial(halving(task, first, second))

    assert report.outcome is Outcome.ABANDONED
    assert report.reason.startswith("stopped at the rung of epoch 2: its score of ")
    assert report.reason.endswith(
        "at 64x64 is below 200.00%, which has rank 3 there among the 7 earlier trials with the "
        "same kind of change"
    )
    assert [epoch.epoch for epoch in report.epochs] == [1, 2]
    assert [epoch for epoch, _ in report.checks.epoch_scores] == [1, 2]


def test_trial_that_passes_its_rungs_is_trained_to_its_end(task: TrialTask) -> None:
    report = run_trial(halving(task, Rung(epoch=2, below=-1.0, rank=1, num=3)))

    assert report.outcome is Outcome.SUCCEEDED
    assert len(report.epochs) == 3
    ((epoch, score),) = report.checks.epoch_scores
    assert epoch == 2
    assert 0 <= score <= 1
    assert report.checks.first_epoch_score is None
