"""One tiny search by each strategy: real detectors, real training, the ledger's tasks."""

from collections.abc import Callable

import pytest

from searchd.domain.actions import PruneChannels
from searchd.domain.teacher import TeacherCandidates
from searchd.domain.trial import Outcome, Train, TrialRole
from searchd.search.ask_tell import Finished
from searchd.spec import BudgetSpec
from tests.workers.trial.runs import TRAINING, Search, macs

pytestmark = pytest.mark.timeout(60)  # real detectors are trained


def test_random_search_edits_and_distils_like_joint_detnas(search: Callable[..., Search]) -> None:
    done = search(
        strategy={
            "kind": "random",
            "teacher_policy": "fixed",
            "actions": ["prune_channels"],
            "prune_fraction": 0.2,
            "min_channels": 2,
        },
        budget=BudgetSpec(max_trials=2),
    )

    assert done.proposals["1"].parent == "0"
    assert done.proposals["1"].change == PruneChannels(fraction=0.2, min_channels=2)
    assert done.reports["1"].outcome is Outcome.SUCCEEDED, done.reports["1"].reason
    assert "proposal_feature" in done.reports["1"].epochs[0].losses
    assert macs(done.reports["1"]) < macs(done.reports["0"])


def test_joint_detnas_distils_from_a_teacher_drawn_for_each_trial(
    search: Callable[..., Search],
) -> None:
    done = search(strategy={"teacher_policy": "random"}, budget=BudgetSpec(max_trials=3))

    trials = [done.proposals[name] for name in ("0", "1", "2")]
    assert {p.change for p in trials} == {Train()}  # the student is frozen for five trials
    assert len({p.teacher for p in trials}) > 1
    assert all(r.outcome is Outcome.SUCCEEDED for r in done.reports.values())


def test_joint_detnas_distils_each_trial_by_the_methods_that_it_proposes(
    search: Callable[..., Search],
) -> None:
    """The methods change in every trial after trial 0; the student stays as it is."""
    further = [{"name": "feature_matching"}, {"name": "cwd"}, {"name": "icd"}]
    done = search(
        distillation={
            "methods": [{"name": "proposal_feature"}],
            "search": {"methods": further, "max_methods": 2, "probability": 1},
        },
        budget=BudgetSpec(max_trials=5, finish=None),
    )

    taught = [str(number) for number in range(5)]
    assert [done.reports[name].outcome for name in taught] == [Outcome.SUCCEEDED] * 5
    assert [done.proposals[name].change.kind for name in taught[1:]] == ["mutate_methods"] * 4
    assert len({done.proposals[name].methods for name in taught}) > 2
    for name in taught:
        methods = done.proposals[name].methods
        assert methods is not None
        losses = {loss.split(".")[0] for loss in done.reports[name].epochs[0].losses}
        names = {"proposal_feature", "feature_matching", "cwd", "icd"}
        assert losses & names == {each.name.value for each in methods.methods}


def test_a_trial_below_a_rung_is_stopped_and_the_search_goes_on(
    search: Callable[..., Search], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trained for real; what each trial scores at the rung is given. The search replays itself."""
    scores = {"0": 0.3, "1": 0.2, "2": 0.25, "3": 0.4}
    monkeypatch.setattr(
        "workers.trial.run.score_at_epoch", lambda task, *_: scores[task.proposal.name]
    )

    done = search(
        strategy={"teacher_policy": "random"},
        trial=TRAINING.model_copy(update={"epochs": 2}),
        rungs={"first": 1, "factor": 2},
        budget=BudgetSpec(max_trials=4, finish=None),
    )

    assert [each.change for each in done.proposals.values()] == [Train()] * 5  # all of one kind
    stopped = done.reports["2"]
    assert stopped.outcome is Outcome.ABANDONED
    assert stopped.reason == (
        "stopped at the rung of epoch 1: its score of 25.00% at 64x64 is below 30.00%, which has "
        "rank 1 there among the 2 earlier trials with the same kind of change"
    )
    epochs = {name: len(report.epochs) for name, report in done.reports.items()}
    assert epochs == {"base": 1, "0": 2, "1": 2, "2": 1, "3": 2}
    assert done.proposals["3"].parent in ("0", "1")
    assert done.finished == Finished("budget: 4 trials", succeeded=True)


def test_an_edited_student_keeps_the_teacher_that_its_parents_worker_chose(
    search: Callable[..., Search],
) -> None:
    done = search(
        strategy={
            "kind": "random",
            "teacher_policy": "nearest",
            "nearest_candidates": 3,
            "student_frozen_trials": 1,
            "student_probability": 1.0,
            "actions": ["prune_channels"],
            "prune_fraction": 0.2,
            "min_channels": 2,
        },
        budget=BudgetSpec(max_trials=4),
    )

    taught_by = {
        name: report.chosen_teacher or done.proposals[name].teacher
        for name, report in done.reports.items()
    }
    candidates = done.proposals["1"].teacher
    assert isinstance(candidates, TeacherCandidates)
    assert len(candidates.candidates) == 3
    assert done.reports["1"].chosen_teacher in candidates.candidates
    edits = [done.proposals[name] for name in ("2", "3")]
    assert "1" in {edit.parent for edit in edits}
    for edit in edits:
        assert edit.teacher == taught_by[edit.parent or ""]


def test_pipeline_prunes_to_its_target_and_distils_the_student_further(
    search: Callable[..., Search],
) -> None:
    done = search(
        strategy={
            "kind": "pipeline",
            "macs_fraction": 0.8,
            "min_channels": 2,
            "further_trials": 1,
        },
        control=True,
    )

    base, pruned, further = (done.reports[name] for name in ("base", "0", "1"))
    assert pruned.outcome is Outcome.SUCCEEDED, pruned.reason
    assert macs(pruned) == pytest.approx(0.8 * macs(base), rel=0.02)
    assert further.detector == pruned.detector
    assert {a.name for a in further.artifacts} == {
        "detector",
        "predictions",
        "student",
        "adapters",
    }
    for report in (pruned, further):
        assert "proposal_feature" in report.epochs[0].losses
    controls = [p for p in done.proposals.values() if p.role is TrialRole.CONTROL]
    assert controls[0].parent == "base"


def test_pipeline_ends_at_once_when_its_target_is_out_of_reach(
    search: Callable[..., Search],
) -> None:
    done = search(strategy={"kind": "pipeline", "macs_fraction": 0.01, "min_channels": 2})

    assert done.reports["0"].outcome is Outcome.NO_OP
    assert "the nearest that pruning channels" in done.reports["0"].reason
    assert done.finished == Finished(
        "pipeline: trial 0 ended as no_op, but no trial succeeded", succeeded=False
    )
