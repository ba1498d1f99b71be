"""Conversion of rows of the store to the responses of the API."""

from collections.abc import Iterable
from typing import Any, TypeVar

from sqlalchemy.orm import Session, object_session

from api import schemas
from api.schemas.trials import SplitAp
from searchd.domain.detector import Detector, MmdetDetector
from searchd.domain.encoding import encode
from searchd.domain.errors import ConflictError
from searchd.domain.score import Cost
from searchd.domain.teacher import RegisteredTeacher
from searchd.domain.trial import describe_change
from searchd.search.confirmation import Verdict
from searchd.search.intervals import interval
from searchd.search.noise import is_repetition, noise_floor, within_noise
from searchd.search.pareto import pareto_front
from searchd.spec import TeacherSpec
from searchd.store.models import (
    ExportRow,
    FinalSplit,
    PoolRow,
    RunRow,
    SearchRow,
    SplitEvaluationRow,
    TeacherRow,
    TrialRow,
)
from searchd.store.resources import pools, searches
from searchd.store.runs import completions, split_evaluations, teacher_aps, trials
from searchd.store.runs.extension import budget_of
from searchd.store.work import queue

S = TypeVar("S", bound=schemas.Schema)


def pool(session: Session, row: PoolRow) -> schemas.PoolDetails:
    return _build(
        schemas.PoolDetails,
        row,
        desired=queue.of_resource(session, row.id).desired,
        supernet=pools.supernet(session, row.id),
        subnets=pools.subnet_evaluations(session, row.id),
        epochs=pools.epochs(session, row.id),
    )


def teacher(row: TeacherRow) -> schemas.Teacher:
    report = row.report
    return _build(
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
    return _build(
        schemas.Export,
        row,
        files=report.files if report else (),
        measurement=report and report.measurement,
    )


def search(session: Session, row: SearchRow) -> schemas.SearchDetails:
    best = searches.best_trial(session, row.id)
    return _build(
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
    return _build(schemas.Trial, row, **_described(row))


def trial_details(row: TrialRow) -> schemas.TrialDetails:
    """Return a trial with its details. Evaluations, epochs and artifacts of the row must be
    loaded."""
    return _build(schemas.TrialDetails, row, **_described(row))


def lineage(session: Session, runs: Iterable[RunRow]) -> schemas.Lineage:
    """Return the lineage tree of a search and its distillations, or of a distillation alone."""
    rows = [(run, row) for run in runs for row in trials.of_search(session, run.id)]
    scores: dict[str | None, float | None] = {None: None}
    means, verdicts = _confirmed(session, {run.id: run for run, _ in rows}.values())
    nodes = []
    copies = _copies(row for _, row in rows)
    floor = noise_floor(
        [
            row.score
            for run, row in rows
            if run.kind == "search" and row.score is not None and is_repetition(row.role, row.name)
        ]
    )
    for run, row in rows:
        if row.id in copies:
            continue
        scores[row.id] = score = means.get(row.id, row.score)
        parent_id = copies.get(row.parent_id, row.parent_id)
        parent = scores.get(parent_id)
        gain = None if score is None or parent is None else score - parent
        change = describe_change(row.proposal.change)
        nodes.append(
            _build(
                schemas.LineageTrial,
                row,
                search_id=run.id,
                search=run.name,
                parent_id=parent_id,
                change=change,
                score=score,
                verdict=verdicts.get(row.id),
                gain=gain,
                within_noise=within_noise(gain or 0.0, floor),
            )
        )
    return schemas.Lineage(trials=nodes)


def pareto(
    session: Session, runs: Iterable[RunRow], x: schemas.XAxis, y: schemas.YAxis
) -> schemas.Pareto:
    """Return the Pareto front over every (detector, resolution) of the runs' scored trials."""
    rows = [(run, row) for run in runs for row in trials.scored(session, run.id)]
    copies = _copies(row for _, row in rows)
    tests = {
        run.id: split_evaluations.measured(session, run.id, FinalSplit.TEST) for run, _ in rows
    }
    points = [
        _point(run, row, evaluation, tests[run.id].get(evaluation.id))
        for run, row in rows
        if row.id not in copies
        for evaluation in row.evaluations
    ]
    front = pareto_front(
        points,
        cost=lambda point: _x(point, x),
        value=lambda point: float(getattr(point.evaluation, y)),
    )
    dominated = [point for point in points if not any(point is each for each in front)]
    return schemas.Pareto(x=x, y=y, front=front, dominated=dominated)


def default_axis(run: RunRow) -> schemas.XAxis:
    """Return what a run counts as cost, as an axis of its front."""
    return "macs" if run.spec.score.cost is Cost.MACS else "cost"


def _x(point: schemas.Point, axis: schemas.XAxis) -> float:
    evaluation = point.evaluation
    if axis == "params":
        return float(point.params)
    if axis == "cost":
        return evaluation.macs if evaluation.cost is None else evaluation.cost
    return evaluation.macs if axis == "macs" else evaluation.latency_s


def detector(session: Session, row: TrialRow) -> schemas.Detector:
    """Return the detector that a trial trained.

    Raises:
        ConflictError: The trial has no trained student.
    """
    if row.detector is None or row.params is None or not row.artifacts:
        raise ConflictError(f"trial {row.id} is {row.status} and has no detector")
    return _build(
        schemas.Detector,
        row,
        trial_id=row.id,
        search_id=row.run_id,
        search=session.get_one(RunRow, row.run_id).name,
        lineage=[
            ancestor.id
            for ancestor in trials.ancestors(session, row.id)
            if ancestor.id == row.id or not ancestor.is_copy
        ],
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


def _described(row: TrialRow) -> dict[str, object]:
    return {
        "search_id": row.run_id,
        "change": describe_change(row.proposal.change),
        "teacher": _teacher_of(row),
        "encoding": None if row.detector is None else encode(row.detector.architecture),
        "warnings": [] if row.checks is None else list(row.checks.warnings),
    }


def _teacher_of(row: TrialRow) -> str | None:
    """Return the teacher of a trial in short form, a registered one by its name."""
    teacher, session = row.teacher, object_session(row)
    if isinstance(teacher, RegisteredTeacher) and session is not None:
        return session.get_one(TeacherRow, teacher.teacher).name
    return None if teacher is None else str(teacher)


def _confirmed(
    session: Session, runs: Iterable[RunRow]
) -> tuple[dict[str, float], dict[str, Verdict]]:
    """Return the results of confirmations, by trial id: the mean score of each confirmed trial, and
    the verdict on each trial that was to be confirmed."""
    means: dict[str, float] = {}
    verdicts: dict[str, Verdict] = {}
    for run in runs:
        judged = completions.judged(session, run)
        for name, verdict in judged.verdicts.items():
            verdicts[trials.trial_id(run.id, name)] = verdict
        for each in judged.accepted:
            if each.proposal.name in judged.verdicts and each.score is not None:
                means[trials.trial_id(run.id, each.proposal.name)] = each.score
    return means, verdicts


def _copies(rows: Iterable[TrialRow]) -> dict[str | None, str]:
    """The ids of trials whose student is an unchanged copy, with the id of the original trial.
    Responses show the original only."""
    originals: dict[str | None, str] = {}
    for row in rows:
        original = originals.get(row.parent_id)
        if row.is_copy and original is not None:
            originals[row.id] = original
        else:
            originals[row.id] = row.id
    return {copy: original for copy, original in originals.items() if copy != original}


def split_ap(row: SplitEvaluationRow) -> SplitAp:
    """Return a measurement on a split with its interval."""
    around = interval(row.resampled)
    return SplitAp(
        split=row.split,
        num_images=row.num_images,
        ap=row.ap,
        low=around and around.low,
        high=around and around.high,
    )


def _point(
    run: RunRow, row: TrialRow, evaluation: object, test: SplitEvaluationRow | None
) -> schemas.Point:
    assert row.detector is not None  # of trials that were scored
    return _build(
        schemas.Point,
        row,
        trial_id=row.id,
        trial=row.name,
        search_id=run.id,
        search=run.name,
        encoding=encode(row.detector.architecture),
        evaluation=evaluation,
        test=None if test is None else split_ap(test),
    )


def _build(schema: type[S], row: object, **values: Any) -> S:
    """Build a response from the attributes of a row; `values` replace some of them."""
    fields = {
        name: getattr(row, name) for name in schema.model_fields if name not in values
    } | values
    return schema.model_validate(fields, from_attributes=True)
