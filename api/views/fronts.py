"""Views of the points of cost and accuracy of runs: the front, and the points that it dominates."""

from collections.abc import Mapping, Sequence

from sqlalchemy.orm import Session

from api import schemas
from api.views.resources import build, split_ap
from searchd.domain.accuracy import ApKind
from searchd.domain.encoding import encode
from searchd.search.pareto import pareto_front
from searchd.store.models import FinalSplit, SplitEvaluationRow
from searchd.store.paging import RunKey
from searchd.store.runs import fronts, points, split_evaluations
from searchd.store.runs.points import Pair

Runs = Sequence[RunKey]


def pareto(
    session: Session,
    runs: Runs,
    x: schemas.XAxis,
    y: schemas.YAxis,
    *,
    num_dominated: int,
) -> schemas.Pareto:
    """Return the Pareto front over every (detector, resolution) of the runs' scored trials, and a
    number of other points, spread evenly over the trials."""
    copies = points.copies(session, [run.id for run in runs])
    front = _front(session, runs, copies, x, y)
    on_front = {evaluation.id for _, evaluation in front}
    others = [
        (row, evaluation)
        for row, evaluation in _spread(session, runs, num_dominated)
        if evaluation.id not in on_front and row.id not in copies
    ]
    return schemas.Pareto(
        x=x, y=y, front=_points(session, runs, front), dominated=_points(session, runs, others)
    )


def dominated(
    session: Session,
    run: RunKey,
    x: schemas.XAxis,
    y: schemas.YAxis,
    *,
    every: int,
    page_size: int,
    page_token: str | None,
) -> schemas.Page[schemas.Point]:
    """Return one page of the points of a run that are not on its front."""
    on_front = set(fronts.on_front(session, [run.id], x, y))
    page = points.page(session, run.id, every=every, page_size=page_size, page_token=page_token)
    others = [pair for pair in page.items if pair[1].id not in on_front]
    return schemas.Page(items=_points(session, [run], others), next_page_token=page.next_page_token)


def _front(session: Session, runs: Runs, copies: Mapping[str, str], x: str, y: str) -> list[Pair]:
    """Return the front of the fronts that are kept, and of the copies that are shown."""
    ids = [run.id for run in runs]
    kept = points.of_evaluations(session, fronts.on_front(session, ids, x, y))
    shown = [base for base in points.bases_of_others(session, ids) if base not in copies]
    candidates = _in_order(runs, [*kept, *points.of_trials(session, shown)])
    costs = {pair[1].id: fronts.COSTS[x](*pair) for pair in candidates}
    values = {pair[1].id: getattr(pair[1], y) for pair in candidates}
    known = {each for each in costs if costs[each] is not None and values[each] is not None}
    return pareto_front(
        [pair for pair in candidates if pair[1].id in known],
        cost=lambda pair: float(costs[pair[1].id] or 0.0),
        value=lambda pair: float(values[pair[1].id]),
    )


def _spread(session: Session, runs: Runs, num_points: int) -> list[Pair]:
    """Return about so many evaluations, spread evenly over the trials of all runs."""
    totals = points.num_completed(session, [run.id for run in runs])
    total = sum(totals.values())
    found: list[Pair] = []
    for run in runs:
        num = totals.get(run.id, 0)
        if num and num_points:
            share = num_points * num / total / points.evaluations_per_trial(session, run.id)
            found += points.evenly(session, run.id, num, max(1, round(share)))
    return found[:num_points]


def _in_order(runs: Runs, pairs: Sequence[Pair]) -> list[Pair]:
    """Return the pairs in the order of the runs, and then of completion."""
    places = {run.id: place for place, run in enumerate(runs)}
    return sorted(pairs, key=lambda pair: (places[pair[0].run_id], pair[1].id))


def _points(session: Session, runs: Runs, pairs: Sequence[Pair]) -> list[schemas.Point]:
    names = {run.id: run.name for run in runs}
    kinds = {run.id: fronts.ranked_by(session, run.id) for run in runs}
    ids = [evaluation.id for _, evaluation in pairs]
    tested = split_evaluations.of_evaluations(session, ids, FinalSplit.TEST)
    return [
        _point(names[row.run_id], (row, at), tested.get(at.id), kinds[row.run_id])
        for row, at in pairs
    ]


def _point(run: str, pair: Pair, test: SplitEvaluationRow | None, kind: ApKind) -> schemas.Point:
    row, evaluation = pair
    assert row.detector is not None  # of trials that were scored
    return build(
        schemas.Point,
        row,
        trial_id=row.id,
        trial=row.name,
        search_id=row.run_id,
        search=run,
        encoding=encode(row.detector.architecture),
        evaluation=evaluation,
        test=None if test is None else split_ap(test, kind),
    )
