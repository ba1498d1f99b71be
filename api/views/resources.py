"""Conversion of rows of the store to the responses of the API."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, TypeVar

from sqlalchemy.orm import Session, object_session

from api import schemas
from api.schemas.trials import SplitAp
from api.views.breakdowns import breakdowns_of
from searchd.domain.accuracy import ApKind
from searchd.domain.detector import Detector, MmdetDetector
from searchd.domain.encoding import encode
from searchd.domain.errors import ConflictError
from searchd.domain.lifecycle import TrialStatus
from searchd.domain.teacher import RegisteredTeacher
from searchd.domain.trial import describe_change
from searchd.messages.reports import EpochMetrics, EvaluatedSubnet
from searchd.search.intervals import interval
from searchd.spec import TeacherSpec
from searchd.store.models import (
    EpochMetricsRow,
    ExportRow,
    PoolRow,
    RunRow,
    SearchRow,
    SplitEvaluationRow,
    TeacherRow,
    TrialRow,
)
from searchd.store.paging import Page
from searchd.store.resources import pools, searches
from searchd.store.runs import teacher_aps, trials
from searchd.store.runs.extension import budget_of
from searchd.store.work import queue

S = TypeVar("S", bound=schemas.Schema)


def pool(session: Session, row: PoolRow) -> schemas.PoolDetails:
    return build(
        schemas.PoolDetails,
        row,
        desired=queue.of_resource(session, row.id).desired,
        supernet=pools.supernet(session, row.id),
        subnets=pools.subnet_evaluations(session, row.id),
        epochs=_pool_epochs(session, row),
    )


def _pool_epochs(session: Session, row: PoolRow) -> list[schemas.PoolEpoch]:
    """Return the epochs of a pool: of the report, or before it of the progress."""
    reported = pools.epochs(session, row.id)
    if reported or row.progress is None:
        return [_pool_epoch(each.phase, each, each.subnets or ()) for each in reported]
    return [_pool_epoch(each.phase, each.metrics, each.subnets) for each in row.progress.epochs]


def _pool_epoch(
    phase: str, metrics: EpochMetrics | EpochMetricsRow, subnets: Sequence[EvaluatedSubnet]
) -> schemas.PoolEpoch:
    measured = [
        build(schemas.SubnetMeasurement, evaluation, subnet=each.subnet, params=each.params)
        for each in subnets
        for evaluation in each.evaluations
    ]
    return build(schemas.PoolEpoch, metrics, phase=phase, subnets=measured)


def teacher(row: TeacherRow) -> schemas.Teacher:
    report = row.report
    return build(
        schemas.Teacher,
        row,
        source=_source(row.spec),
        detector=report and report.detector,
        kind=report and _kind(report.detector),
        params=report and report.params,
        measurement=report and report.evaluation,
        levels=report.levels if report else (),
        weights=report and report.weights,
    )


def teacher_details(session: Session, row: TeacherRow) -> schemas.TeacherDetails:
    reported = row.report.epochs if row.report else ()
    return schemas.TeacherDetails.model_validate(
        {
            **teacher(row).model_dump(),
            "desired": queue.of_resource(session, row.id).desired,
            "epochs": reported or (row.progress.epochs if row.progress else ()),
        },
        from_attributes=True,
    )


def export(row: ExportRow) -> schemas.Export:
    report = row.report
    return build(
        schemas.Export,
        row,
        files=report.files if report else (),
        measurement=report and report.measurement,
    )


def search(session: Session, row: SearchRow) -> schemas.SearchDetails:
    best = searches.best_trial(session, row.id)
    return build(
        schemas.SearchDetails,
        row,
        budget=budget_of(row),
        desired=queue.of_resource(session, row.id).desired,
        trials=searches.trial_counts(session, row.id),
        best_trial_id=best[0].id if best else None,
        best_score=best[1] if best else None,
        teachers_warning=teacher_aps.warning(session, row),
    )


def trial(row: TrialRow) -> schemas.Trial:
    """Return a trial. The evaluations of the row must be loaded."""
    return build(schemas.Trial, row, **_described(row))


def listed_trials(
    session: Session,
    run_id: str,
    schema: type[schemas.Schema],
    *,
    status: Collection[TrialStatus],
    since: int | None,
    page_size: int,
    page_token: str | None,
) -> Page[schemas.Schema]:
    """Return one page of trials with the fields of a schema that is narrower than Trial, for which
    alone the database is read."""
    names = list(schema.model_fields)
    page = trials.page(
        session,
        run_id,
        status=status,
        since=since,
        page_size=page_size,
        page_token=page_token,
        parts={part for name in names for part in _PARTS.get(name, (name,))},
    )
    items = [
        build(schema, row, **{name: _DESCRIBED[name](row) for name in names if name in _DESCRIBED})
        for row in page.items
    ]
    return Page(items, page.next_page_token)


def trial_details(row: TrialRow) -> schemas.TrialDetails:
    """Return a trial with its details. Evaluations, epochs and artifacts of the row must be
    loaded."""
    return build(schemas.TrialDetails, row, **_described(row))


def detector(session: Session, row: TrialRow) -> schemas.Detector:
    """Return the detector that a trial trained.

    Raises:
        ConflictError: The trial has no trained student.
    """
    if row.detector is None or row.params is None or not row.artifacts:
        raise ConflictError(f"trial {row.id} is {row.status} and has no detector")
    lineage = trials.ancestors(session, row.id)
    return build(
        schemas.Detector,
        row,
        trial_id=row.id,
        search_id=row.run_id,
        search=session.get_one(RunRow, row.run_id).name,
        lineage=[
            ancestor.id for ancestor in lineage if ancestor.id == row.id or not ancestor.is_copy
        ],
        licence=trials.licence(session, lineage),
        breakdowns=breakdowns_of(session, row),
        encoding=encode(row.detector.architecture),
    )


def _source(spec: TeacherSpec) -> str:
    if spec.subnet is not None:
        return f"subnet {spec.subnet.subnet} of pool {spec.subnet.pool}"
    if spec.trial is not None:
        return f"student of trial {spec.trial}"
    if spec.train is not None:
        train = spec.train
        what = train.backbone if train.mmdet is None else f"mmdet {train.mmdet.config}"
        return f"{what}, training of {train.training.epochs} epochs"
    assert spec.mmdet is not None  # a spec has one source
    return f"mmdet {spec.mmdet.config}"


def _kind(detector: Detector | MmdetDetector) -> str:
    return detector.family.value if isinstance(detector, Detector) else detector.config


def _teacher_of(row: TrialRow) -> str | None:
    """Return the teacher of a trial in short form, a registered one by its name."""
    teacher, session = row.teacher, object_session(row)
    if isinstance(teacher, RegisteredTeacher) and session is not None:
        return session.get_one(TeacherRow, teacher.teacher).name
    return None if teacher is None else str(teacher)


def split_ap(row: SplitEvaluationRow, kind: ApKind) -> SplitAp:
    """Return a measurement on a split with its interval, of the AP that the run ranks by."""
    around = interval(row.resampled)
    return SplitAp(
        split=row.split,
        num_images=row.num_images,
        accuracy=kind,
        ap=row.of(kind),
        low=around and around.low,
        high=around and around.high,
    )


_DESCRIBED: Mapping[str, Callable[[TrialRow], object]] = {
    "search_id": lambda row: row.run_id,
    "change": lambda row: describe_change(row.proposal.change),
    "teacher": _teacher_of,
    "methods": lambda row: None if row.methods is None else str(row.methods),
    "encoding": lambda row: None if row.detector is None else encode(row.detector.architecture),
    "warnings": lambda row: [] if row.checks is None else list(row.checks.warnings),
}
"""The fields of a trial that are not attributes of its row."""
_PARTS: Mapping[str, Sequence[str]] = {
    "search_id": ("run_id",),
    "change": ("proposal",),
    "teacher": ("proposal", "chosen_teacher"),
    "methods": ("proposal",),
    "encoding": ("detector",),
    "warnings": ("checks",),
    "best": ("evaluations",),
}
"""What of a row a field is made of, where that has another name."""


def _described(row: TrialRow) -> dict[str, object]:
    return {name: describe(row) for name, describe in _DESCRIBED.items()}


def build(schema: type[S], row: object, **values: Any) -> S:
    """Build a response from the attributes of a row; `values` replace some of them."""
    fields = {
        name: getattr(row, name) for name in schema.model_fields if name not in values
    } | values
    return schema.model_validate(fields, from_attributes=True)
