"""The Pareto fronts of a run, one for each cost and each accuracy, kept in a small table.

A front is changed in the transaction that records a trial. Bases that are unchanged copies of
another run's student are left out: whoever shows a run alone adds them.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import JSON, bindparam, delete, insert, select, type_coerce
from sqlalchemy.orm import Session, load_only

from searchd.domain.accuracy import ApKind
from searchd.domain.lifecycle import TrialStatus
from searchd.domain.score import Cost
from searchd.search.pareto import Front
from searchd.store.models import EvaluationRow, FrontPointRow, RunRow, TrialRow

COSTS: Mapping[str, Callable[[TrialRow, EvaluationRow], float | None]] = {
    "macs": lambda _, evaluation: evaluation.macs,
    "params": lambda trial, _: trial.params,
    "latency_s": lambda _, evaluation: evaluation.latency_s,
    "cost": lambda _, each: each.macs if each.cost is None else each.cost,
}
"""The costs that fronts are kept for, by name; smaller is better. None: not known of a point."""
ACCURACIES = ("ap", "ap50", "ap75", "mask_ap", "mask_ap50")
"""The accuracies, which are columns of an evaluation. None: not known of a point, as the APs of
masks of detectors that find boxes."""

_KEY = ("run_id", "x", "y", "evaluation_id")
Axes = tuple[str, str]
"""Names of a cost and of an accuracy."""


@dataclass(frozen=True, slots=True)
class KeptPoint:
    """A row of the table."""

    evaluation_id: int
    cost: float
    value: float


Fronts = Mapping[Axes, Front[KeptPoint]]


class FrontKeeper:
    """Keeps the fronts of one run. They are read from the database once.

    Only the holder of the lease on the run has one. After a transaction was committed in which
    something may have been added, `keep` is called; otherwise the fronts are read again.
    """

    def __init__(self, run_id: str) -> None:
        self._run_id = run_id
        self._fronts: Fronts | None = None
        self._added: Fronts | None = None
        """With what the present transaction has added."""

    def add(self, session: Session, trial: TrialRow, evaluations: Iterable[EvaluationRow]) -> None:
        """Add the evaluations of a trial that succeeded. Their ids are known.

        Args:
            session: A writing session.
            trial: The trial.
            evaluations: All its evaluations.
        """
        if trial.is_copy:
            return
        before = self._fronts if self._fronts is not None else _stored(session, self._run_id)
        self._added = _with(before, points_of(trial, evaluations))
        _write(session, self._run_id, before, self._added)
        self._fronts = None

    def keep(self) -> None:
        """Keep in memory what was added: the transaction was committed."""
        if self._added is not None:
            self._fronts, self._added = self._added, None


def points_of(
    trial: TrialRow, evaluations: Iterable[EvaluationRow]
) -> Iterator[tuple[Axes, KeptPoint]]:
    """Yield the points of a trial, with the axes of each."""
    for evaluation in sorted(evaluations, key=lambda each: each.id):
        for x, cost_of in COSTS.items():
            cost = cost_of(trial, evaluation)
            for y in ACCURACIES:
                value = getattr(evaluation, y)
                if cost is not None and value is not None:
                    yield (x, y), KeptPoint(evaluation.id, float(cost), float(value))


def default_axis(session: Session, run_id: str) -> Literal["macs", "cost"]:
    """Return the name of what a run counts as cost."""
    cost = type_coerce(RunRow.spec, JSON)["score"]["cost"].as_string()
    found = session.scalar(select(cost).where(RunRow.id == run_id))
    return "macs" if found in (None, Cost.MACS) else "cost"


def ranked_by(session: Session, run_id: str) -> ApKind:
    """Return which AP a run ranks by."""
    kind = type_coerce(RunRow.spec, JSON)["score"]["accuracy"].as_string()
    return ApKind(session.scalar(select(kind).where(RunRow.id == run_id)) or ApKind.BOX_AP)


def default_accuracy(session: Session, run_id: str) -> Literal["ap", "mask_ap"]:
    """Return the name of the accuracy that a run ranks by."""
    return "mask_ap" if ranked_by(session, run_id) is ApKind.MASK_AP else "ap"


def on_front(session: Session, run_ids: Sequence[str], x: str, y: str) -> Sequence[int]:
    """Return the row ids of the evaluations on the fronts of these runs, each run by itself."""
    return session.scalars(
        select(FrontPointRow.evaluation_id)
        .where(FrontPointRow.run_id.in_(run_ids), FrontPointRow.x == x, FrontPointRow.y == y)
        .order_by(FrontPointRow.evaluation_id)
    ).all()


def rebuild(session: Session, run_id: str) -> None:
    """Replace the fronts of a run by those of all its evaluations, after costs have changed."""
    rows = session.execute(
        select(TrialRow, EvaluationRow)
        .join(EvaluationRow, EvaluationRow.trial_id == TrialRow.id)
        .where(TrialRow.run_id == run_id, TrialRow.status == TrialStatus.SUCCEEDED)
        .options(load_only(TrialRow.params, TrialRow.role, TrialRow.parent_id))
        .order_by(EvaluationRow.id)
    ).all()
    points = (point for row in rows if not row[0].is_copy for point in points_of(row[0], [row[1]]))
    _write(session, run_id, _stored(session, run_id), _with({}, points))


def _stored(session: Session, run_id: str) -> Fronts:
    rows = session.execute(
        select(
            FrontPointRow.x,
            FrontPointRow.y,
            FrontPointRow.evaluation_id,
            FrontPointRow.cost,
            FrontPointRow.value,
        )
        .where(FrontPointRow.run_id == run_id)
        .order_by(FrontPointRow.evaluation_id)
    )
    return _with(
        {}, (((x, y), KeptPoint(number, cost, value)) for x, y, number, cost, value in rows)
    )


def _with(fronts: Fronts, points: Iterable[tuple[Axes, KeptPoint]]) -> Fronts:
    found = dict(fronts)
    for axes, point in points:
        found[axes] = found.get(axes, _EMPTY).after(point)
    return found


_EMPTY: Front[KeptPoint] = Front(cost=lambda point: point.cost, value=lambda point: point.value)


def _write(session: Session, run_id: str, before: Fronts, after: Fronts) -> None:
    """Write what has changed: most trials join no front."""
    added, gone = [], []
    for axes, front in after.items():
        earlier = before.get(axes, _EMPTY)
        if front is earlier:
            continue
        kept, had = set(front.points), set(earlier.points)
        gone += [_key(run_id, axes, point) for point in earlier.points if point not in kept]
        added += [_values(run_id, axes, point) for point in front.points if point not in had]
    if gone:
        session.connection().execute(_DELETED, gone)
    if added:
        session.execute(insert(FrontPointRow), added)


_DELETED = delete(FrontPointRow.__table__).where(  # type: ignore[arg-type]
    *(FrontPointRow.__table__.c[name] == bindparam(f"old_{name}") for name in _KEY)
)


def _key(run_id: str, axes: Axes, point: KeptPoint) -> dict[str, object]:
    values = _values(run_id, axes, point)
    return {f"old_{name}": values[name] for name in _KEY}


def _values(run_id: str, axes: Axes, point: KeptPoint) -> dict[str, object]:
    x, y = axes
    return {
        "run_id": run_id,
        "x": x,
        "y": y,
        "evaluation_id": point.evaluation_id,
        "cost": point.cost,
        "value": point.value,
    }
