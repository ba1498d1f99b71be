"""Extension: more budget for a run, also for one that has ended."""

from collections.abc import Mapping

from pydantic import ValidationError
from sqlalchemy.orm import Session

from searchd.domain.errors import ConflictError, InvalidValueError
from searchd.domain.lifecycle import SearchStatus
from searchd.domain.transitions import is_final
from searchd.domain.trial import TrialRole
from searchd.spec import BudgetSpec, PipelineSpec, SearchSpec
from searchd.spec.budget import limits_of
from searchd.store import events
from searchd.store.models import Desired, DesiredBy, RunRow, WorkRow
from searchd.store.runs import completions, trials
from searchd.store.work import queue, status_changes
from searchd.store.work.lease import locked


def budget_of(run: RunRow) -> BudgetSpec | None:
    """Return the budget in force: that of the last extension, or else the spec's. None for a
    distillation, whose plan fixes its trials."""
    return run.budget or (run.spec.budget if isinstance(run.spec, SearchSpec) else None)


def ask_to_extend(
    session: Session, resource_id: str, changes: Mapping[str, object] | None = None
) -> WorkRow:
    """Give a run more budget at a user's request. A run that has ended is queued again and resumes,
    also one that failed or was cancelled: its unfinished trials resume from their checkpoints. For
    the API alone; idempotent.

    Args:
        session: A writing session.
        resource_id: The run.
        changes: The fields of the budget to change.

    Raises:
        ConflictError: The resource is not a run; or it is to end; or it has succeeded and its
            budget is unchanged.
        InvalidValueError: The budget is invalid, or less than what was spent.
    """
    held = locked(session, queue.of_resource(session, resource_id).id)
    row = queue.resource(session, held)
    if not isinstance(row, RunRow):
        raise ConflictError(f"{row.name} is {row.status} and cannot be extended: it has no budget")
    if not is_final(row.status) and held.desired in (Desired.CANCEL, Desired.KILL):
        raise ConflictError(f"{row.name} is {row.status}, is to end and cannot be extended")
    is_changed = _set_budget(session, row, changes or {})
    if row.status is SearchStatus.SUCCEEDED and not is_changed:
        raise ConflictError(
            f"{row.name} is {row.status} already and has nothing more to do: {row.status_reason}; "
            "extend it beyond that"
        )
    if is_final(row.status):
        held.desired, held.desired_by = Desired.RUN, DesiredBy.USER
        session.flush()
        status_changes.requeue(session, held, row, f"extended by a user{_shown(row)}")
    elif is_changed:
        events.append(session, row, f"budget changed by a user{_shown(row)}")
    return held


def _set_budget(session: Session, run: RunRow, changes: Mapping[str, object]) -> bool:
    """Set the budget; return whether it has changed."""
    before = budget_of(run)
    if not changes:
        return False
    if before is None or not isinstance(run.spec, SearchSpec) or _is_fixed(run.spec):
        raise ConflictError(
            f"{run.name} is {run.status} and cannot be given another budget: "
            "its trials follow from its spec"
        )
    budget = _checked(run.spec, {**before.model_dump(), **changes})
    if budget == before:
        return False
    _check_spent(session, run, budget, before)
    _check_limits(session, run, budget)
    run.budget = budget
    session.flush()
    return True


def _checked(spec: SearchSpec, budget: Mapping[str, object]) -> BudgetSpec:
    try:
        return SearchSpec.model_validate({**spec.model_dump(), "budget": budget}).budget
    except ValidationError as error:
        reasons = "; ".join(each["msg"] for each in error.errors())
        raise InvalidValueError(f"the budget is not valid: {reasons}") from error


def _is_fixed(spec: SearchSpec) -> bool:
    return isinstance(spec.strategy, PipelineSpec)


def _check_spent(session: Session, run: RunRow, budget: BudgetSpec, before: BudgetSpec) -> None:
    spent = trials.number_of(session, run.id, TrialRole.SEARCH)
    if budget.max_trials < spent:
        raise InvalidValueError(
            f"max_trials={budget.max_trials} is less than the {spent} trials that {run.name} has"
        )
    for name in ("patience", "max_worker_hours", "max_gpu_hours", "max_wall_hours"):
        now, then = getattr(budget, name), getattr(before, name)
        if now is not None and then is not None and now < then:
            # Trials were proposed under the larger limit; a replay would not propose them.
            raise InvalidValueError(f"{name}={now:g} is less than {run.name}'s {then:g}")


def _check_limits(session: Session, run: RunRow, budget: BudgetSpec) -> None:
    limits = limits_of(budget, run.spec.resources.gpus_per_trial)
    ended = completions.ended(session, run)
    reached = limits.reached(ended.completions, ended.accepted)
    if reached is not None:
        raise InvalidValueError(f"{run.name} would have nothing to do: {reached} already")


def _shown(run: RunRow) -> str:
    budget = budget_of(run)
    if budget is None:
        return ""
    given = budget.model_dump(exclude_none=True, exclude={"finish"})  # which it keeps
    return ": " + ", ".join(f"{name}={value}" for name, value in given.items())
