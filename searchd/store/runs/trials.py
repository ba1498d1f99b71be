"""Trials: proposed, started, read. `searchd.store.runs.reports` records their ends. A driver needs
its lease for every write."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, joinedload, load_only, selectinload
from sqlalchemy.orm.interfaces import ORMOption

from searchd.domain.errors import ConflictError, InvalidValueError, NotFoundError
from searchd.domain.lifecycle import TrialStatus
from searchd.domain.transitions import is_final
from searchd.domain.trial import Proposal, TrialRole, describe_change
from searchd.messages.devices import DeviceLatency
from searchd.messages.files import ADAPTERS, STUDENT
from searchd.messages.reports import Progress
from searchd.messages.tasks import Inherited
from searchd.store import events
from searchd.store.models import (
    EvaluationRow,
    RunRow,
    TrialRow,
)
from searchd.store.paging import Page, check_page_size
from searchd.store.runs import fronts
from searchd.store.work.lease import Lease, hold
from searchd.store.work.transition import transition

_MAX_POSITION_DIGITS = 9
"""Maximum number of digits of a page token, which fit in a database integer."""


def trial_id(run_id: str, name: str) -> str:
    """Return the id of a trial, such as "s-7f3k2m-base"."""
    return f"{run_id}-{name}"


def add(
    session: Session, lease: Lease, proposal: Proposal, *, position: int | None = None
) -> TrialRow:
    """Store a proposal of the leased run as a PENDING trial, after all earlier ones.

    Args:
        session: A writing session.
        lease: The lease on the run.
        proposal: The proposal.
        position: The number of earlier proposals of the run, if the caller knows it; None: they
            are counted.

    Raises:
        StaleLeaseError: The lease was lost.
        ConflictError: The run has a trial of this name, or at this position.
    """
    run_id = hold(session, lease).resource_id
    row = TrialRow(
        id=trial_id(run_id, proposal.name),
        run_id=run_id,
        name=proposal.name,
        role=proposal.role,
        position=next_number(session, run_id, "position") if position is None else position,
        parent_id=_parent_id(session, run_id, proposal),
        proposal=proposal,
        status=TrialStatus.PENDING,
        status_reason=f"proposed: {describe_change(proposal.change)}",
    )
    session.add(row)
    try:
        session.flush()
    except IntegrityError as error:
        raise ConflictError(f"trial {row.id} exists already: {error.orig}") from error
    events.append(session, row, row.status_reason)
    return row


def _parent_id(session: Session, run_id: str, proposal: Proposal) -> str | None:
    """Return the id of the trial that is inherited: of a base, a trial of another run or None."""
    if proposal.parent is not None:
        return trial_id(run_id, proposal.parent)
    return session.scalar(select(RunRow.origin_id).where(RunRow.id == run_id))


def start(session: Session, lease: Lease, name: str, reason: str = "started by a worker") -> int:
    """Record that a worker starts the trial: PENDING to RUNNING.

    Returns:
        The number of the attempt, from 1.

    Raises:
        StaleLeaseError: The lease was lost.
        IllegalTransitionError: The trial is not PENDING.
    """
    row = of_lease(session, lease, name)
    values = {"attempt": row.attempt + 1, "progress": None}
    transition(session, row, TrialStatus.RUNNING, reason, values=values)
    return row.attempt


def requeue_trial(session: Session, lease: Lease, name: str, reason: str) -> None:
    """Requeue a trial whose worker or driver died without a report: RUNNING to PENDING.

    Raises:
        StaleLeaseError: The lease was lost.
        IllegalTransitionError: The trial is not RUNNING.
    """
    transition(session, of_lease(session, lease, name), TrialStatus.PENDING, reason)


def retry(
    session: Session,
    lease: Lease,
    name: str,
    reason: str,
    adjustments: Mapping[str, float],
    *,
    parent: str | None = None,
    busy_s: float = 0.0,
) -> None:
    """Requeue a trial after a failed attempt, with changes for the next one: RUNNING to PENDING.

    Args:
        session: A writing session.
        lease: The lease on the run of the trial.
        name: Name of the trial.
        reason: The error and the changes, in words.
        adjustments: All differences from the proposal, by the names in `searchd.domain.retries`.
        parent: Name of the trial whose student it inherits from now on; None: unchanged. The
            proposal does not change.
        busy_s: Seconds that a worker has spent on the trial since the last record.

    Raises:
        StaleLeaseError: The lease was lost.
        IllegalTransitionError: The trial is not RUNNING.
    """
    row = of_lease(session, lease, name)
    values: dict[str, Any] = {"adjustments": dict(adjustments), "busy_s": row.busy_s + busy_s}
    if parent is not None:
        values["parent_id"] = trial_id(row.run_id, parent)
    transition(session, row, TrialStatus.PENDING, reason, values=values)


def record_progress(
    session: Session, lease: Lease, progress: Progress, *, busy_s: float = 0.0
) -> None:
    """Store the progress of a running trial. Has no effect once the attempt has ended.

    Args:
        session: A writing session.
        lease: The lease on the run of the trial.
        progress: The progress.
        busy_s: Seconds that a worker has spent on the trial since the last record.

    Raises:
        StaleLeaseError: The lease was lost.
    """
    row = of_lease(session, lease, progress.trial)
    if is_final(row.status):
        return
    row.busy_s += busy_s
    if row.status is TrialStatus.RUNNING and row.attempt == progress.attempt:
        row.progress = progress


def record_latencies(
    session: Session, lease: Lease, times: Mapping[int, tuple[float, float]]
) -> None:
    """Replace latencies that were measured while trials shared a machine.

    Args:
        session: A writing session.
        lease: The lease on the run.
        times: Seconds of one forward pass, and images per second, by the row id of the evaluation.

    Raises:
        StaleLeaseError: The lease was lost.
    """
    hold(session, lease)
    for row_id, (latency_s, images_per_s) in times.items():
        row = session.get_one(EvaluationRow, row_id)
        row.latency_s, row.images_per_s = latency_s, images_per_s
    session.flush()
    fronts.rebuild(session, hold(session, lease).resource_id)


def record_device_latencies(
    session: Session, lease: Lease, times: Mapping[int, DeviceLatency]
) -> None:
    """Store what was measured on the device of a run, by the row id of the evaluation.

    Raises:
        StaleLeaseError: The lease was lost.
    """
    hold(session, lease)
    for row_id, measured in times.items():
        row = session.get_one(EvaluationRow, row_id)
        row.device_latency_s, row.device_p95_s = measured.median_s, measured.p95_s


def get(session: Session, reference: str) -> TrialRow:
    """Return a trial by id, with its evaluations, epochs and artifacts.

    Raises:
        NotFoundError: There is none.
    """
    return _get(session, reference, *_DETAILS)


def page(
    session: Session,
    run_id: str,
    *,
    status: Collection[TrialStatus] = (),
    since: int | None = None,
    page_size: int = 100,
    page_token: str | None = None,
    parts: Collection[str] | None = None,
) -> Page[TrialRow]:
    """Return one page of trials of a run in the order they were proposed, with their evaluations:
    of those with one of the given statuses, or of all.

    Args:
        session: Any session.
        run_id: The run.
        status: Statuses of the trials; empty: all.
        since: Number of an event: only trials that a later event is about. None: all.
        page_size: Largest number of trials.
        page_token: That of the previous page; None for the first one.
        parts: Names of the columns that are read, and "evaluations" if they are. None: all.

    Raises:
        InvalidValueError: `page_size` or `page_token` is illegal.
    """
    check_page_size(page_size)
    statement = select(TrialRow).where(TrialRow.run_id == run_id)
    if status:
        statement = statement.where(TrialRow.status.in_(status))
    if page_token is not None:
        if not (page_token.isdecimal() and len(page_token) <= _MAX_POSITION_DIGITS):
            raise InvalidValueError(f"page_token {page_token!r} was not given out by this list")
        statement = statement.where(TrialRow.position > int(page_token))
    if since is not None:
        statement = statement.where(TrialRow.id.in_(events.subjects_after(run_id, since)))
    ordered = statement.order_by(TrialRow.position).options(*_options(parts))
    rows = list(session.scalars(ordered.limit(page_size + 1)))
    more = len(rows) > page_size
    return Page(rows[:page_size], str(rows[page_size - 1].position) if more else None)


def _options(parts: Collection[str] | None) -> list[ORMOption]:
    if parts is None:
        return [selectinload(TrialRow.evaluations)]
    names = {*parts, "position"} & set(TrialRow.__table__.columns.keys())
    found: list[ORMOption] = [load_only(*(getattr(TrialRow, name) for name in sorted(names)))]
    return [*found, selectinload(TrialRow.evaluations)] if "evaluations" in parts else found


def of_search(session: Session, run_id: str) -> Sequence[TrialRow]:
    """Return all trials of the run, in the order they were proposed."""
    return session.scalars(
        select(TrialRow).where(TrialRow.run_id == run_id).order_by(TrialRow.position)
    ).all()


def proposals(session: Session, run_id: str) -> list[Proposal]:
    """Return all proposals of the run, in order."""
    return [row.proposal for row in of_search(session, run_id)]


def number_of(session: Session, run_id: str, role: TrialRole) -> int:
    """Return how many trials of a role the run has."""
    of_role = select(func.count()).where(TrialRow.run_id == run_id, TrialRow.role == role)
    return session.scalar(of_role) or 0


def completed(session: Session, run_id: str) -> Sequence[TrialRow]:
    """Return the trials whose results are reported to the strategy, with their evaluations, in the
    order of `completion`."""
    return session.scalars(
        select(TrialRow)
        .where(TrialRow.run_id == run_id, TrialRow.completion.is_not(None))
        .order_by(TrialRow.completion)
        .options(selectinload(TrialRow.evaluations))
    ).all()


def unfinished(session: Session, run_id: str) -> Sequence[TrialRow]:
    """Return the PENDING and RUNNING trials, in the order they were proposed."""
    return session.scalars(
        select(TrialRow)
        .where(
            TrialRow.run_id == run_id,
            TrialRow.status.in_([TrialStatus.PENDING, TrialStatus.RUNNING]),
        )
        .order_by(TrialRow.position)
    ).all()


def scored(session: Session, run_id: str) -> Sequence[TrialRow]:
    """Return the SUCCEEDED trials with their evaluations, in the order of `completion`."""
    return session.scalars(
        select(TrialRow)
        .where(TrialRow.run_id == run_id, TrialRow.status == TrialStatus.SUCCEEDED)
        .order_by(TrialRow.completion)
        .options(selectinload(TrialRow.evaluations))
    ).all()


def ancestors(session: Session, reference: str) -> list[TrialRow]:
    """Return the lineage of a trial, from the base to the trial itself. It includes trials of other
    runs that the base started from.

    Raises:
        NotFoundError: There is no such trial.
    """
    line = [get(session, reference)]
    while line[-1].parent_id is not None:
        line.append(get(session, line[-1].parent_id))
    return line[::-1]


def licence(session: Session, lineage: Sequence[TrialRow]) -> str | None:
    """Return the licence of the weights that the base of a lineage starts from; None: unknown."""
    spec = session.get_one(RunRow, lineage[0].run_id).spec
    return None if spec.base is None else spec.base.licence


def base_cost(session: Session, reference: str, *, counts_macs: bool) -> float | None:
    """Return the multiply-accumulates of a trial's student at the base resolution of the score, or
    what its run counts instead; None while it is not trained."""
    column = TrialRow.base_macs if counts_macs else TrialRow.base_cost
    return session.scalar(select(column).where(TrialRow.id == reference))


def inherited(session: Session, reference: str) -> Inherited:
    """Return the student of a trial, as a child inherits it.

    Raises:
        NotFoundError: There is no such trial.
        ConflictError: It has no student, because it has not succeeded.
        CollectedError: Its student was collected.
    """
    row = _get(session, reference, *_INHERITED)
    files = {artifact.name: artifact.artifact for artifact in row.artifacts}
    for artifact in row.artifacts:
        artifact.check_there()
    if row.status is not TrialStatus.SUCCEEDED or row.detector is None or STUDENT not in files:
        raise ConflictError(f"trial {row.id} is {row.status} and has no student to inherit")
    return Inherited(
        detector=row.detector,
        student=files[STUDENT],
        adapters=files.get(ADAPTERS),
        aps={evaluation.resolution: evaluation.ap for evaluation in row.evaluations},
    )


def _get(session: Session, reference: str, *parts: ORMOption) -> TrialRow:
    found = session.scalars(select(TrialRow).where(TrialRow.id == reference).options(*parts))
    row = found.unique().one_or_none()  # a joined row comes once for each of its parts
    if row is None:
        raise NotFoundError(f"trial {reference!r} does not exist")
    return row


_INHERITED = (
    load_only(TrialRow.status, TrialRow.detector),
    joinedload(TrialRow.artifacts),
    selectinload(TrialRow.evaluations).load_only(
        EvaluationRow.width, EvaluationRow.height, EvaluationRow.ap
    ),
)
_DETAILS = (
    selectinload(TrialRow.evaluations),
    selectinload(TrialRow.epochs),
    selectinload(TrialRow.artifacts),
)


def of_lease(session: Session, lease: Lease, name: str) -> TrialRow:
    """Return the present row of a trial of the leased run, by its name. The lease stays valid until
    the transaction ends.

    Raises:
        StaleLeaseError: The lease was lost.
        NotFoundError: There is no such trial.
    """
    run_id = hold(session, lease).resource_id
    row = session.get(TrialRow, trial_id(run_id, name), populate_existing=True)
    if row is None:
        raise NotFoundError(f"trial {trial_id(run_id, name)} does not exist")
    return row


def next_number(session: Session, run_id: str, column: str) -> int:
    """Return the next position, or completion, of a run's trials. The caller holds its lease."""
    # The row of the work is locked, so no other process numbers trials of this run meanwhile.
    last = session.scalar(
        select(func.max(getattr(TrialRow, column))).where(TrialRow.run_id == run_id)
    )
    return 0 if last is None else last + 1
