"""Specs, proposals and reports that tests of the store, the API and the CLI start from."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.orm import Session

from searchd.domain.actions import PruneLayer
from searchd.domain.architecture import preset
from searchd.domain.breakdown import Breakdown, ErrorFigures, ErrorKind
from searchd.domain.detector import Detector, Family, MmdetDetector
from searchd.domain.errors import SearchdError
from searchd.domain.lifecycle import PoolStatus, SearchStatus, TeacherStatus
from searchd.domain.resolution import Resolution
from searchd.domain.subnet import Subnet
from searchd.domain.trial import (
    Artifact,
    Evaluation,
    Finish,
    MutateTeacher,
    Outcome,
    Proposal,
    PruneToMacs,
    Train,
    TrialRole,
)
from searchd.messages.exports import ExportMeasurement, ExportReport
from searchd.messages.reports import (
    EpochMetrics,
    EvaluatedSubnet,
    FeatureLevel,
    PhaseEpoch,
    PoolReport,
    Progress,
    Report,
    TeacherProgress,
    TeacherReport,
)
from searchd.spec import (
    BaseSpec,
    BudgetSpec,
    DatasetSpec,
    DistillationSpec,
    MmdetSpec,
    PoolSpec,
    PoolSubnetSpec,
    SearchSpec,
    SplitSpec,
    StudentSpec,
    TeacherSpec,
)
from searchd.store import Database, Lease, paging
from searchd.store.models import DatasetRow, DistillationRow, PoolRow, SearchRow, TrialRow
from searchd.store.resources import datasets, distillations, pools, searches, teachers
from searchd.store.runs import reports, trials
from searchd.store.work import queue

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
SMALL = Resolution(64, 64)
LARGE = Resolution(96, 96)
SHA256 = "a" * 64
NO_FINISH = BudgetSpec(finish=None)


def dataset_spec(name: str = "shapes") -> DatasetSpec:
    split = SplitSpec(annotations=Path("/data/train.json"), images=Path("/data/train"))
    return DatasetSpec(name=name, train=split, validation=split)


def pool_spec(name: str = "teachers", dataset: str = "shapes", **changes: Any) -> PoolSpec:
    return PoolSpec(name=name, dataset=dataset, **changes)


def search_spec(name: str = "first", **changes: Any) -> SearchSpec:
    """A search that finishes no detector, unless a budget is given."""
    given = {"name": name, "dataset": "shapes", "pool": "teachers", "budget": NO_FINISH}
    return SearchSpec(**{**given, **changes})


def distillation_spec(name: str = "mtpd", **changes: Any) -> DistillationSpec:
    """Of a new base, by two subnets of the pool "teachers"."""
    student = StudentSpec(base=BaseSpec())
    given = {"name": name, "dataset": "shapes", "pool": "teachers", "student": student}
    return DistillationSpec.model_validate({**given, "num_sampled_teachers": 2, **changes})


def teacher_spec(name: str = "swin", **changes: Any) -> TeacherSpec:
    """A detector that mmdet trained, unless another source is given."""
    mmdet = MmdetSpec(config="retinanet_swin-t-p4-w7_fpn_1x_coco", checkpoint=Path("/data/swin.pt"))
    given = {"name": name, "dataset": "shapes", "mmdet": mmdet, "resolution": LARGE}
    return TeacherSpec(**{**given, **changes})


def trained_teacher(name: str = "strong", **changes: Any) -> TeacherSpec:
    """A detector of mmdet that is trained from random weights for three epochs."""
    train = {"mmdet": {"config": "faster-rcnn_r101_fpn_1x_coco"}, "training": {"epochs": 3}}
    return TeacherSpec.model_validate(
        {"name": name, "dataset": "shapes", "train": train, "resolution": str(LARGE), **changes}
    )


def teacher_progress() -> TeacherProgress:
    """Of a training in its second epoch of three."""
    return TeacherProgress(
        epoch=2,
        num_epochs=3,
        iteration=4,
        num_iterations=7,
        stage="train",
        losses={"loss": 0.4},
        epochs=(EpochMetrics(epoch=1, losses={"loss": 0.5}, learning_rate=0.01, duration_s=3.0),),
        notes=("loaded 9 of 11 weights",),
    )


def subnet_teacher(subnet: Subnet | None = None) -> TeacherSpec:
    """A subnet of the pool "teachers", the smallest unless another is given."""
    subnet = subnet or pool_spec().space.space.smallest
    source = PoolSubnetSpec(pool="teachers", subnet=subnet)
    return teacher_spec("small", mmdet=None, subnet=source)


def detector() -> Detector:
    return Detector(architecture=preset("resnet18"), num_classes=4)


def artifact(name: str, size_bytes: int = 7) -> Artifact:
    return Artifact(name=name, uri=f"/artifacts/{name}", sha256=SHA256, size_bytes=size_bytes)


def evaluation(resolution: Resolution = LARGE, ap: float = 0.5, macs: float = 2e9) -> Evaluation:
    return Evaluation(
        resolution=resolution,
        ap=ap,
        ap50=0.7,
        ap75=0.55,
        ap_small=-1.0,
        ap_medium=0.4,
        ap_large=0.6,
        ap70=0.58,
        ap90=0.2,
        ar1=0.3,
        ar10=0.55,
        ar100=0.61,
        ar_small=-1.0,
        ar_medium=0.5,
        ar_large=0.7,
        mask_ap=0.35,
        mask_ap50=0.6,
        macs=macs,
        latency_s=0.02,
        images_per_s=48.0,
    )


def with_breakdown(report: Report) -> Report:
    """The report with AP by class and by kind of error at every resolution."""
    found = Breakdown(
        class_aps={"circle": 0.75, "square": 0.25},
        errors={kind: ErrorFigures(count=3, lost_ap=0.02) for kind in ErrorKind},
        num_error_images=40,
    )
    evaluations = tuple(replace(each, breakdown=found) for each in report.evaluations)
    return replace(report, evaluations=evaluations)


def epoch(number: int) -> EpochMetrics:
    return EpochMetrics(
        epoch=number, losses={"loss": 1.5 / number}, learning_rate=0.01, duration_s=2.5
    )


def base_proposal() -> Proposal:
    return Proposal(
        role=TrialRole.BASE,
        number=0,
        parent=None,
        change=Train(),
        teacher=None,
        seed=11,
        completed_before=0,
    )


def search_proposal(number: int, parent: str = "base", **changes: Any) -> Proposal:
    proposal = Proposal(
        role=TrialRole.SEARCH,
        number=number,
        parent=parent,
        change=PruneLayer() if number % 2 else MutateTeacher(),
        teacher=pool_spec().space.space.smallest,
        seed=number,
        completed_before=0,
    )
    return replace(proposal, **changes)


def control_proposal(number: int, parent: str = "base") -> Proposal:
    return Proposal(
        role=TrialRole.CONTROL,
        number=number,
        parent=parent,
        change=Train(),
        teacher=None,
        seed=number,
        completed_before=0,
    )


def finish_proposal(number: int, parent: str) -> Proposal:
    return replace(
        search_proposal(number, parent), role=TrialRole.FINISH, change=Finish(), seed=number
    )


def macs_control_proposal(number: int) -> Proposal:
    """The base pruned to half of its MACs."""
    prune = PruneToMacs(fraction=0.5, min_channels=4)
    return replace(control_proposal(number), role=TrialRole.MACS_CONTROL, change=prune)


def succeeded(name: str, *, ap: float = 0.5, macs: float = 2e9, attempt: int = 1) -> Report:
    return Report(
        trial=name,
        attempt=attempt,
        outcome=Outcome.SUCCEEDED,
        detector=detector(),
        params=12_345_678,
        base_macs=4e9,
        evaluations=(evaluation(SMALL, ap / 2, macs / 2), evaluation(LARGE, ap, macs)),
        epochs=(epoch(1), epoch(2)),
        artifacts=(artifact("student"), artifact("adapters")),
    )


def progress(name: str, *, attempt: int = 1, iteration: int = 5) -> Progress:
    return Progress(
        trial=name,
        attempt=attempt,
        epoch=2,
        num_epochs=3,
        iteration=iteration,
        num_iterations=20,
        stage="train",
        losses={"loss": 0.75},
    )


def pool_report(pool: str, outcome: Outcome = Outcome.SUCCEEDED, reason: str = "") -> PoolReport:
    space = pool_spec().space.space
    return PoolReport(
        pool=pool,
        attempt=1,
        outcome=outcome,
        reason=reason,
        supernet=artifact("weights") if outcome is Outcome.SUCCEEDED else None,
        subnets=(
            EvaluatedSubnet(
                subnet=space.largest, params=9_000_000_000, evaluations=(evaluation(),)
            ),
            EvaluatedSubnet(subnet=space.smallest, params=5, evaluations=(evaluation(SMALL),)),
        ),
        epochs=(PhaseEpoch(phase="supernet", metrics=epoch(1)),),
    )


def with_measured_phase(report: PoolReport) -> PoolReport:
    """The report of a pool of two phases, with the subnets at the end of the first."""
    space = pool_spec().space.space
    aps = ((space.largest, 0.4, 3e9), (space.smallest, 0.3, 1e9))
    subnets = tuple(
        EvaluatedSubnet(subnet=subnet, params=7, evaluations=(evaluation(LARGE, ap, macs),))
        for subnet, ap, macs in aps
    )
    first = replace(report.epochs[0], subnets=subnets)
    return replace(report, epochs=(first, PhaseEpoch(phase="shrink-1", metrics=epoch(1))))


def teacher_report(family: Family = Family.RETINANET) -> TeacherReport:
    return TeacherReport(
        detector=MmdetDetector(config="retinanet_swin-t-p4-w7_fpn_1x_coco", num_classes=4),
        weights=artifact("teacher"),
        params=38_474_170,
        evaluation=evaluation(),
        levels=(FeatureLevel(stride=8, channels=256), FeatureLevel(stride=16, channels=256)),
        family=family,
    )


def export_report(*files: Artifact) -> ExportReport:
    return ExportReport(
        files=files or (artifact("model"), artifact("card")),
        measurement=ExportMeasurement(
            num_compared=32,
            raw_difference=1e-5,
            box_difference=2e-4,
            score_difference=3e-6,
            num_detections=400,
            num_at_threshold=1,
            num_unexplained=0,
            ap=0.5,
            torch_ap=0.5,
            size_bytes=2_500_000,
            resolution=LARGE,
            latency_s=0.012,
            latency_p95_s=0.015,
            num_timed=100,
            device="a processor, 1 thread",
            software="onnxruntime 1.32.0",
        ),
    )


@contextmanager
def leased(database: Database, work_id: str) -> Iterator[tuple[Session, Lease]]:
    """A writing session, and a new lease on the work."""
    with database.write() as session:
        lease = queue.lease(session, work_id, owner="test", lease_s=60, now=datetime.now(UTC))
        assert lease is not None
        yield session, lease


@contextmanager
def refused(database: Database, error: type[SearchdError], match: str) -> Iterator[Session]:
    """A writing session in which the block must fail with this error."""
    with pytest.raises(error, match=match), database.write() as session:
        yield session


def add_dataset(database: Database, *, ready: bool = True) -> str:
    """A data set "shapes"; its id."""
    with database.write() as session:
        row = datasets.create(session, dataset_spec())
    if ready:
        with leased(database, f"dataset_check-{row.id}") as (session, lease):
            datasets.record_ready(session, lease, {"class_names": ["a", "b", "c", "d"]})
    return row.id


def add_pool(database: Database, *, ready: bool = True) -> str:
    """A pool "teachers" on the data set "shapes"; its id."""
    with database.write() as session:
        row = pools.create(session, pool_spec())
    if ready:
        with leased(database, f"pool-{row.id}") as (session, lease):
            queue.advance(session, lease, PoolStatus.TRAINING, "started")
            pools.record_report(session, lease, pool_report(row.id))
    return row.id


def add_teacher(database: Database, name: str = "strong", *, ready: bool = True) -> str:
    """A trained teacher with two stages on the data set "shapes"; its id."""
    with database.write() as session:
        row = teachers.create(session, trained_teacher(name))
    if ready:
        with leased(database, f"teacher_training-{row.id}") as (session, lease):
            queue.advance(session, lease, TeacherStatus.TRAINING, "started")
            teachers.record_report(session, lease, teacher_report(Family.FASTER_RCNN))
    return row.id


def add_search(database: Database, name: str = "first", **changes: Any) -> SearchRow:
    """A queued search on "shapes" and "teachers", which are made when missing."""
    with database.read() as session:
        has_dataset = bool(paging.page(session, DatasetRow).items)
        has_pool = bool(paging.page(session, PoolRow).items)
    if not has_dataset:
        add_dataset(database)
    if not has_pool:
        add_pool(database)
    with database.write() as session:
        return searches.create(session, search_spec(name, **changes))


def add_distillation(database: Database, name: str = "mtpd", **changes: Any) -> DistillationRow:
    """A queued distillation on "shapes" and "teachers", which exist."""
    with database.write() as session:
        return distillations.create(session, distillation_spec(name, **changes))


def start_search(
    database: Database, name: str = "first", **changes: Any
) -> tuple[SearchRow, Lease]:
    """A RUNNING search and the lease that its driver holds."""
    row = add_search(database, name, **changes)
    with leased(database, f"search-{row.id}") as (session, lease):
        queue.advance(session, lease, SearchStatus.PREPARING, "driver started")
        queue.advance(session, lease, SearchStatus.RUNNING, "base trained")
    return row, lease


def run_trial(
    database: Database, lease: Lease, proposal: Proposal, report: Report | None = None
) -> TrialRow:
    """Add and start a trial, and record its report: a success unless another is given."""
    report = report or succeeded(proposal.name)
    with database.write() as session:
        trials.add(session, lease, proposal)
        trials.start(session, lease, proposal.name)
        return reports.record(session, lease, report, scores_of(report))


def scores_of(report: Report) -> dict[Resolution, float]:
    """Scores equal to the APs."""
    return {e.resolution: e.ap for e in report.evaluations}
