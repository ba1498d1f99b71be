"""The lineage tree of runs, by pages and by subtrees, without reading whole trials."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import CTE, ColumnElement, Select, case, func, literal, select, tuple_
from sqlalchemy.orm import Session, aliased

from searchd.domain.errors import InvalidValueError, NotFoundError
from searchd.domain.lifecycle import TrialStatus
from searchd.domain.trial import Proposal, TrialRole
from searchd.search.noise import REPETITIONS
from searchd.store.models import TrialRow
from searchd.store.paging import Page, check_page_size
from searchd.store.runs.trials import trial_id


@dataclass(frozen=True, slots=True)
class Node:
    """A trial in the lineage tree."""

    run_id: str
    id: str
    name: str
    role: TrialRole
    parent_id: str | None
    proposal: Proposal
    status: TrialStatus
    score: float | None
    parent_score: float | None
    num_children: int
    """Number of trials that inherit its student."""


def page(
    session: Session,
    run_ids: Sequence[str],
    *,
    root: str | None = None,
    depth: int | None = None,
    page_size: int | None = None,
    page_token: str | None = None,
) -> Page[Node]:
    """Return trials of runs, those of each run in the order they were proposed.

    Args:
        session: Any session.
        run_ids: The runs, in order. Parents come before the runs that continue from them.
        root: Id of a trial: only this trial and what descends from it. None: all trials.
        depth: Largest number of steps from the root. None: no limit.
        page_size: Largest number of trials. None: no limit.
        page_token: That of the previous page; None for the first one.

    Raises:
        NotFoundError: No run has the root.
        InvalidValueError: `page_size` or `page_token` is illegal.
    """
    order = _order(run_ids)
    statement = _nodes(run_ids)
    if root is not None:
        _check_root(session, run_ids, root)
        tree = _subtree(run_ids, root, depth)
        statement = statement.where(TrialRow.id.in_(select(tree.c.id)))
    if page_token is not None:
        statement = statement.where(_after(run_ids, page_token))
    if page_size is not None:
        check_page_size(page_size)
        statement = statement.limit(page_size + 1)
    rows = session.execute(statement.order_by(*order)).all()
    shown = rows if page_size is None else rows[:page_size]
    places: Mapping[str, int] = {run_id: at for at, run_id in enumerate(run_ids)}
    last = shown[-1] if len(rows) > len(shown) else None
    token = None if last is None else f"{places[last.run_id]}-{last.position}"
    return Page([Node(*row[:-1]) for row in shown], token)


def _order(run_ids: Sequence[str]) -> tuple[ColumnElement[Any], ...]:
    """Return what a lineage is sorted by. That of one run is read from the index, a page at a
    time."""
    if len(run_ids) == 1:
        return (TrialRow.position.expression,)
    places = case({run_id: at for at, run_id in enumerate(run_ids)}, value=TrialRow.run_id)
    return places, TrialRow.position.expression


def _after(run_ids: Sequence[str], page_token: str) -> ColumnElement[bool]:
    place, position = _position(page_token)
    if len(run_ids) == 1:
        return TrialRow.position > position
    return tuple_(*_order(run_ids)) > (place, position)


def proposals(session: Session, trial_id: str) -> list[Proposal]:
    """Return the proposals of the lineage of a trial, from the base to the trial itself, by one
    statement. It includes trials of other runs that the base started from."""
    start = select(TrialRow.parent_id, TrialRow.proposal, literal(0).label("steps"))
    line = start.where(TrialRow.id == trial_id).cte("line", recursive=True)
    above = select(TrialRow.parent_id, TrialRow.proposal, line.c.steps + 1)
    line = line.union_all(above.where(TrialRow.id == line.c.parent_id))
    return list(session.scalars(select(line.c.proposal).order_by(line.c.steps.desc())))


def repetition_scores(session: Session, run_ids: Sequence[str]) -> Sequence[float]:
    """Return the scores of the runs' trials 0 and their repetitions."""
    ids = [trial_id(run_id, name) for run_id in run_ids for name in REPETITIONS]
    found = select(TrialRow.score).where(TrialRow.id.in_(ids), TrialRow.score.is_not(None))
    return [score for score in session.scalars(found) if score is not None]


def _nodes(run_ids: Sequence[str]) -> Select[Any]:
    parent, child = aliased(TrialRow), aliased(TrialRow)
    num_children = (
        select(func.count())
        .where(child.parent_id == TrialRow.id)
        .correlate(TrialRow)
        .scalar_subquery()
    )
    statement = select(
        TrialRow.run_id,
        TrialRow.id,
        TrialRow.name,
        TrialRow.role,
        TrialRow.parent_id,
        TrialRow.proposal,
        TrialRow.status,
        TrialRow.score,
        parent.score,
        num_children,
        TrialRow.position,
    )
    joined = statement.outerjoin(parent, parent.id == TrialRow.parent_id)
    return joined.where(TrialRow.run_id.in_(run_ids))


def _subtree(run_ids: Sequence[str], root: str, depth: int | None) -> CTE:
    """Return a recursive query for the ids of a trial and what descends from it."""
    start = select(TrialRow.id, literal(0).label("steps")).where(TrialRow.id == root)
    tree = start.cte("tree", recursive=True)
    below = select(TrialRow.id, tree.c.steps + 1).where(
        TrialRow.parent_id == tree.c.id, TrialRow.run_id.in_(run_ids)
    )
    if depth is not None:
        below = below.where(tree.c.steps < depth)
    return tree.union_all(below)


def _check_root(session: Session, run_ids: Sequence[str], root: str) -> None:
    found = select(TrialRow.id).where(TrialRow.id == root, TrialRow.run_id.in_(run_ids))
    if session.scalar(found) is None:
        raise NotFoundError(f"trial {root!r} does not exist in this lineage")


def _position(page_token: str) -> tuple[int, int]:
    run, _, position = page_token.partition("-")
    parts = (run, position)
    if not all(each.isdecimal() and len(each) <= 9 for each in parts):
        raise InvalidValueError(f"page_token {page_token!r} was not given out by this list")
    return int(run), int(position)
