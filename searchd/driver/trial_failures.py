"""Failed attempts: what is known about them besides the worker's report."""

from dataclasses import replace

from sqlalchemy.orm import Session

from searchd.domain.actions import ACTION_KINDS, Action, legal_actions
from searchd.domain.architecture import Architecture
from searchd.domain.errors import ArtifactError
from searchd.domain.lifecycle import FailureCause, TrialStatus
from searchd.domain.method_set import MutateMethods
from searchd.domain.retries import Failure
from searchd.domain.trial import MutateTeacher, Train, TrialRole
from searchd.driver.run import Run
from searchd.driver.trial_tasks import training_of
from searchd.messages.reports import Report
from searchd.search.strategies.pair_steps import PairSettings
from searchd.spec import SearchSpec
from searchd.store.models import TrialRow
from searchd.store.runs import trials


def last_failure(session: Session, run_id: str) -> str:
    """Return why the last failed trial of a run failed, as a sentence."""
    failed = [t for t in trials.completed(session, run_id) if t.status is TrialStatus.FAILED]
    if not failed:
        return "no trial failed"
    last = failed[-1]
    return f"the last failure is trial {last.name} ({last.cause}): {last.status_reason}"


def failure_of(session: Session, run: Run, trial: TrialRow, report: Report) -> Failure:
    """Return the failure of an attempt, with what decides whether and how it is retried."""
    cause = report.cause or FailureCause.BUG
    batch_size = training_of(run, trial).batch_size
    if batch_size == "auto":
        # Without one in the report, not even one image fitted.
        batch_size = report.batch_size or 1
    return Failure(
        cause=cause,
        reason=report.reason,
        batch_size=batch_size,
        other_parent=_other_parent(session, run, trial, report.damaged)
        if cause is FailureCause.BAD_CHECKPOINT
        else None,
    )


def _other_parent(session: Session, run: Run, trial: TrialRow, damaged: str) -> str | None:
    """Return the grandparent's name if the parent's files are damaged and the trial can inherit the
    grandparent's student instead, else None.

    Steps over pairs can, since each is scored by itself. The result of a pipeline, a distillation
    or a control depends on each stage before it.
    """
    strategy = run.spec.strategy if isinstance(run.spec, SearchSpec) else None
    is_step = isinstance(strategy, PairSettings) and trial.role is TrialRole.SEARCH
    if not is_step or trial.parent_id is None:
        return None
    parent = trials.get(session, trial.parent_id)
    if parent.parent_id is None or parent.role is TrialRole.BASE:
        return None
    if damaged not in {artifact.uri for artifact in parent.artifacts}:
        return None
    grandparent = trials.get(session, parent.parent_id)
    assert isinstance(strategy, PairSettings)  # checked above
    round_to = strategy.round_to or run.device_round_to
    follows = _may_follow(session, trial, grandparent, replace(strategy, round_to=round_to))
    return grandparent.name if follows else None


def _may_follow(
    session: Session, trial: TrialRow, parent: TrialRow, strategy: PairSettings
) -> bool:
    """Return whether another parent's student is still stored and the trial's change is legal for
    it."""
    try:
        architecture = trials.inherited(session, parent.id).detector.architecture
    except ArtifactError:  # collected
        return False
    change = trial.proposal.change
    keeps_student = isinstance(change, Train | MutateTeacher | MutateMethods)
    return keeps_student or change in _legal(architecture, strategy)


def _legal(architecture: Architecture, strategy: PairSettings) -> list[Action]:
    found = legal_actions(
        architecture,
        kinds=ACTION_KINDS,
        prune_fraction=strategy.prune_fraction,
        min_channels=strategy.min_channels,
        round_to=strategy.round_to or 1,
        channel_importance=strategy.channel_importance,
        importance=strategy.layer_importance,
        reinit_laterals=strategy.allow_lateral_reinit,
        projection=strategy.rearranged_projection,
    )
    return [action for actions in found.values() for action in actions]
