"""Conversion of the rows of a distillation to a response of the API."""

from collections.abc import Mapping, Sequence

from sqlalchemy.orm import Session

from api.schemas import distillations as schemas
from api.views import sweeps
from searchd.domain.distillation_plan import Plan, TeacherSequence, show
from searchd.domain.resolution import Resolution
from searchd.domain.subnet import Subnet
from searchd.domain.trial import TrainSwept
from searchd.search.order_results import order_results
from searchd.search.strategies.progressive_distillation import stages_of, trials_of
from searchd.spec import DistillationSpec
from searchd.store.models import DistillationRow, EvaluationRow, TrialRow
from searchd.store.resources import distillations, searches
from searchd.store.runs import trials
from searchd.store.work import queue


def distillation(session: Session, row: DistillationRow) -> schemas.DistillationDetails:
    """Return a distillation with its plan and its progress."""
    spec, plan = _spec(row), row.plan
    resolution = max(spec.trial.resolutions, key=lambda each: each.area)
    values = dict(schemas.Distillation.model_validate(row)) | {
        "desired": queue.of_resource(session, row.id).desired,
        "trials": searches.trial_counts(session, row.id),
        "resolution": resolution,
        "teachers": _candidates(session, row),
        "order": plan.choices if plan else (),
        "costs": plan.costs if plan else {},
        "stages": (),
        "comparison": None,
        "sweep": None,
    }
    if plan is not None:
        rows = trials.of_search(session, row.id)
        found = _evaluations(session, row, resolution)
        aps = {name: each.of(spec.score.accuracy) for name, each in found.items()}
        values["stages"] = _stages(plan, spec, rows, aps)
        values["comparison"] = _comparison(plan, spec, rows, aps)
        if spec.sweep is not None:
            values["sweep"] = sweeps.sweep(session, spec, plan, rows, found)
    return schemas.DistillationDetails.model_validate(values, from_attributes=True)


def _spec(row: DistillationRow) -> DistillationSpec:
    assert isinstance(row.spec, DistillationSpec)
    return row.spec


def _candidates(session: Session, row: DistillationRow) -> list[schemas.Candidate]:
    aps = row.plan.performance if row.plan else {}
    registered = distillations.registered(session, _spec(row))
    return [
        schemas.Candidate(
            name=name,
            source=f"subnet {teacher}"
            if isinstance(teacher, Subnet)
            else f"teacher {registered[name].name}",
            ap=aps.get(name),
        )
        for name, teacher in distillations.teachers(session, row).items()
    ]


def _evaluations(
    session: Session, row: DistillationRow, resolution: Resolution
) -> dict[str, EvaluationRow]:
    """The evaluation at a resolution of each trial that succeeded, by the trial's name."""
    return {
        each.name: evaluation
        for each in trials.scored(session, row.id)
        for evaluation in each.evaluations
        if evaluation.resolution == resolution
    }


def _stages(
    plan: Plan, spec: DistillationSpec, rows: Sequence[TrialRow], aps: Mapping[str, float]
) -> list[schemas.Stage]:
    by_name = {row.name: row for row in rows}
    proposals = [row.proposal for row in rows]
    found = []
    for swept in (None, *spec.swept):
        trained = {s: by_name[p.name] for s, p in trials_of(plan, proposals, swept).items()}
        stages = stages_of(plan, swept)
        found += [_stage(stage, swept, trained.get(stage), aps) for stage in stages]
    return found


def _stage(
    stage: TeacherSequence, swept: TrainSwept | None, row: TrialRow | None, aps: Mapping[str, float]
) -> schemas.Stage:
    return schemas.Stage(
        path=show(stage),
        parent=show(stage[:-1]) or None,
        teacher=stage[-1],
        value=None if swept is None else swept.value,
        trial_id=row and row.id,
        status=row and row.status,
        ap=None if row is None else aps.get(row.name),
    )


def _comparison(
    plan: Plan, spec: DistillationSpec, rows: Sequence[TrialRow], aps: Mapping[str, float]
) -> schemas.Comparison:
    stood = order_results(plan, spec.baselines, [row.proposal for row in rows], aps)
    return schemas.Comparison(
        base=stood.base,
        order=stood.order,
        baselines=stood.baselines,
        rank=stood.rank if spec.study else None,
        orders=[
            schemas.RankedOrder(order=_names(each.order), ap=each.ap, rank=each.rank)
            for each in stood.orders
            if spec.study
        ],
        cost_and_gain=stood.cost_and_gain if spec.study else None,
    )


def _names(order: TeacherSequence) -> list[str]:
    return [name for name in order if name is not None]  # an order has teachers alone
