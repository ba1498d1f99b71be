"""Finishing a search: each chosen detector of its front is improved by a distillation."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from searchd.domain.errors import ConflictError, InvalidValueError
from searchd.domain.subnet import Subnet
from searchd.domain.teacher import RegisteredTeacher
from searchd.domain.transitions import is_final
from searchd.domain.trial import TrialRole
from searchd.search.history import OperatingPoint
from searchd.search.pareto import knee, pareto_front
from searchd.spec import DistillationSpec, FinishSpec, SearchSpec
from searchd.store.models import DistillationRow, SearchRow, TrialRow
from searchd.store.models.resources import NAME_LENGTH
from searchd.store.resources import distillations, teachers
from searchd.store.runs import completions, trials

_Found = tuple[str, OperatingPoint]
"""The name of a trial, and an operating point of its student."""


def finish(
    session: Session, search: SearchRow, wanted: FinishSpec, *, owner: str | None = None
) -> list[DistillationRow]:
    """Create a distillation for each chosen detector, cheapest first, unless the same request has
    created it before. Return the distillations.

    Raises:
        ConflictError: The search has not ended or found no detector, or a name is taken.
        InvalidValueError: A chosen trial does not belong to the search, or the method does not fit
            it.
    """
    if not is_final(search.status):
        raise ConflictError(
            f"search {search.name} is {search.status}, and its front may still change; wait, "
            "cancel it, or submit a distillation of one trial"
        )
    return [
        _improve(session, search, row, wanted, owner) for row in _chosen(session, search, wanted)
    ]


def _chosen(session: Session, search: SearchRow, wanted: FinishSpec) -> list[TrialRow]:
    if isinstance(wanted.detectors, tuple):
        return [_by_id(session, search, trial_id) for trial_id in dict.fromkeys(wanted.detectors)]
    front = _front(session, search)
    if not front:
        raise ConflictError(f"search {search.name} is {search.status} and found no detector")
    chosen = front if wanted.detectors == "all" else [knee(front, cost=_cost, value=_ap)]
    return [trials.get(session, trials.trial_id(search.id, name)) for name, _ in chosen]


def _front(session: Session, search: SearchRow) -> list[_Found]:
    """Return the Pareto front of the accepted search trials at the largest resolution. Base and
    controls are excluded: they are for comparison."""
    resolution = max(_spec(search).trial.resolutions, key=lambda each: each.area)
    found = [
        (completion.proposal.name, point)
        for completion in completions.judged(session, search).accepted
        for point in completion.points
        if completion.proposal.role is TrialRole.SEARCH and point.resolution == resolution
    ]
    return pareto_front(found, cost=_cost, value=_ap)


def _by_id(session: Session, search: SearchRow, trial_id: str) -> TrialRow:
    row = session.get(TrialRow, trial_id)
    if row is None or row.run_id != search.id:
        raise InvalidValueError(
            f"{trial_id!r} is not a trial of search {search.name} ({search.id})"
        )
    return row


def _improve(
    session: Session, search: SearchRow, row: TrialRow, wanted: FinishSpec, owner: str | None
) -> DistillationRow:
    name, found = _name(search, row, wanted), _spec(search)
    methods = found.distillation.of_trial(row.proposal.methods)
    spec = wanted.method.submission(found, name, row.id, _teacher(session, row), methods)
    earlier = _earlier(session, spec, owner)
    return earlier or distillations.create(session, spec, owner=owner)


def _teacher(session: Session, row: TrialRow) -> Subnet | str | None:
    """Return the teacher of a trial as a distillation names it."""
    teacher = row.teacher
    if isinstance(teacher, RegisteredTeacher):
        return teachers.get(session, teacher.teacher).name
    assert teacher is None or isinstance(teacher, Subnet)  # searches have no others
    return teacher


def _earlier(session: Session, spec: DistillationSpec, owner: str | None) -> DistillationRow | None:
    """Return what the same request created before; None if there is none."""
    row = session.scalar(select(DistillationRow).where(DistillationRow.name == spec.name))
    return row if row is not None and (row.spec, row.owner) == (spec, owner) else None


def _name(search: SearchRow, row: TrialRow, wanted: FinishSpec) -> str:
    """Return a name such as "first-fine-tune-12", with the id of the search if its name is too
    long."""
    ending = f"-{wanted.method.kind.replace('_', '-')}-{row.name}"
    fits = len(search.name + ending) <= NAME_LENGTH
    return (search.name if fits else search.id) + ending


def _spec(search: SearchRow) -> SearchSpec:
    assert isinstance(search.spec, SearchSpec)
    return search.spec


def _cost(found: _Found) -> float:
    return found[1].cost


def _ap(found: _Found) -> float:
    return found[1].accuracy
