"""Conversion of the rows of a distillation to a response of the API."""

from collections.abc import Mapping, Sequence

from sqlalchemy.orm import Session

from api.schemas import distillations as schemas
from searchd.domain.distillation_plan import Plan, TeacherSequence, show
from searchd.domain.resolution import Resolution
from searchd.domain.subnet import Subnet
from searchd.search.order_results import order_results, stage_aps
from searchd.search.strategies.progressive_distillation import trials_of
from searchd.spec import DistillationSpec
from searchd.store.models import DistillationRow, TrialRow
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
    }
    if plan is not None:
        rows = trials.of_search(session, row.id)
        aps = _aps(session, row, resolution)
        values["stages"] = _stages(plan, rows, aps)
        values["comparison"] = _comparison(plan, spec, rows, aps)
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


def _aps(session: Session, row: DistillationRow, resolution: Resolution) -> dict[str, float]:
    """The AP at a resolution of each trial that succeeded, by the trial's name."""
    return {
        each.name: evaluation.ap
        for each in trials.scored(session, row.id)
        for evaluation in each.evaluations
        if evaluation.resolution == resolution
    }


def _stages(plan: Plan, rows: Sequence[TrialRow], aps: Mapping[str, float]) -> list[schemas.Stage]:
    by_name = {row.name: row for row in rows}
    proposals = [row.proposal for row in rows]
    trained = {stage: by_name[p.name] for stage, p in trials_of(plan, proposals).items()}
    by_stage = stage_aps(plan, proposals, aps)
    return [_stage(stage, trained.get(stage), by_stage.get(stage)) for stage in plan.stages]


def _stage(stage: TeacherSequence, row: TrialRow | None, ap: float | None) -> schemas.Stage:
    return schemas.Stage(
        path=show(stage),
        parent=show(stage[:-1]) or None,
        teacher=stage[-1],
        trial_id=row and row.id,
        status=row and row.status,
        ap=ap,
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
