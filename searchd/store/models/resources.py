"""Resources, which users create: data sets, pools, teachers, exports, devices, searches,
distillations."""

from datetime import datetime
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy import ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from searchd.domain.distillation_plan import Plan
from searchd.domain.lifecycle import (
    DatasetStatus,
    DeviceStatus,
    ExportStatus,
    PoolStatus,
    SearchStatus,
    TeacherStatus,
    WorkKind,
)
from searchd.domain.teacher import TeacherAp
from searchd.messages.codecs import DEVICE_REPORT, EXPORT_REPORT, TEACHER_PROGRESS, TEACHER_REPORT
from searchd.messages.devices import DeviceReport
from searchd.messages.exports import ExportReport
from searchd.messages.reports import PoolProgress, TeacherProgress, TeacherReport
from searchd.spec import (
    BudgetSpec,
    DatasetSpec,
    DeviceSpec,
    DistillationSpec,
    ExportSpec,
    PoolSpec,
    SearchSpec,
    TeacherSpec,
)
from searchd.spec.codecs import PLAN, TEACHER_APS
from searchd.store.base import ID_LENGTH, AsJson, Base, now, status_type

_RUN_SPEC: TypeAdapter[SearchSpec | DistillationSpec] = TypeAdapter(SearchSpec | DistillationSpec)
NAME_LENGTH = 63
KEY_LENGTH = 255


class Resource:
    """The columns of every resource."""

    id: Mapped[str] = mapped_column(String(ID_LENGTH), primary_key=True, sort_order=-2)
    name: Mapped[str] = mapped_column(String(NAME_LENGTH), unique=True, sort_order=-1)
    idempotency_key: Mapped[str | None] = mapped_column(String(KEY_LENGTH), unique=True)
    """The Idempotency-Key of the request that created it."""
    owner: Mapped[str | None] = mapped_column(String(NAME_LENGTH))
    """Name of the token that created it; None if it was created without authentication. Not a
    foreign key: tokens are never deleted, and SQLite can add one only by copying the table."""
    status_reason: Mapped[str] = mapped_column(default="")
    """Why it has its status, in words."""
    num_events: Mapped[int] = mapped_column(default=0)
    """Number of its last event. Incrementing it locks the row, so that numbers have no gaps."""
    created_at: Mapped[datetime] = mapped_column(default=now, index=True)
    finished_at: Mapped[datetime | None]
    """When it reached its final status."""


class Archivable(Resource):
    """A resource with a list of its own, which leaves out what is archived."""

    archived_at: Mapped[datetime | None]
    """When a user archived it; None: it is listed. Set only after its end, and by
    `searchd.store.resources.archiving`; whatever goes on again is listed again."""


class DatasetRow(Archivable, Base):
    """A data set."""

    __tablename__ = "datasets"

    status: Mapped[DatasetStatus] = mapped_column(
        status_type(DatasetStatus), default=DatasetStatus.CHECKING, index=True
    )
    """Changed only by `searchd.store.work.transition`."""
    spec: Mapped[DatasetSpec] = mapped_column(AsJson(TypeAdapter(DatasetSpec)))
    summary: Mapped[dict[str, Any] | None]
    """Counts, statistics and file digests of the last check that passed; None if none has."""
    samples: Mapped[dict[str, Any] | None]
    """Sample images of that check with their objects, in the list `samples`."""


class PoolRow(Archivable, Base):
    """An elastic teacher pool."""

    __tablename__ = "pools"

    status: Mapped[PoolStatus] = mapped_column(
        status_type(PoolStatus), default=PoolStatus.QUEUED, index=True
    )
    """Changed only by `searchd.store.work.transition`."""
    spec: Mapped[PoolSpec] = mapped_column(AsJson(TypeAdapter(PoolSpec)))
    dataset_id: Mapped[str] = mapped_column(ForeignKey("datasets.id"))
    progress: Mapped[PoolProgress | None] = mapped_column(AsJson(TypeAdapter(PoolProgress)))
    """The latest progress; overwritten."""
    started_at: Mapped[datetime | None]
    """When its first driver started it."""


class TeacherRow(Archivable, Base):
    """A registered teacher."""

    __tablename__ = "teachers"

    status: Mapped[TeacherStatus] = mapped_column(
        status_type(TeacherStatus), default=TeacherStatus.CHECKING, index=True
    )
    """Changed only by `searchd.store.work.transition`."""
    spec: Mapped[TeacherSpec] = mapped_column(AsJson(TypeAdapter(TeacherSpec)))
    dataset_id: Mapped[str] = mapped_column(ForeignKey("datasets.id"))
    pool_id: Mapped[str | None] = mapped_column(ForeignKey("pools.id"))
    """The pool of a teacher that is a subnet; None of others."""
    report: Mapped[TeacherReport | None] = mapped_column(AsJson(TEACHER_REPORT))
    """The result of the evaluation. Set if and only if READY."""
    progress: Mapped[TeacherProgress | None] = mapped_column(AsJson(TEACHER_PROGRESS))
    """The latest progress of the training, with its finished epochs; overwritten. None of a teacher
    that is not trained."""
    started_at: Mapped[datetime | None]
    """When the first driver started the training."""


class ExportRow(Resource, Base):
    """An export of the detector of a trial."""

    __tablename__ = "exports"

    status: Mapped[ExportStatus] = mapped_column(
        status_type(ExportStatus), default=ExportStatus.EXPORTING, index=True
    )
    """Changed only by `searchd.store.work.transition`."""
    spec: Mapped[ExportSpec] = mapped_column(AsJson(TypeAdapter(ExportSpec)))
    trial_id: Mapped[str] = mapped_column(ForeignKey("trials.id"), index=True)
    """The trial whose student is exported."""
    dataset_id: Mapped[str] = mapped_column(ForeignKey("datasets.id"))
    """The data set that the detector was trained on."""
    report: Mapped[ExportReport | None] = mapped_column(AsJson(EXPORT_REPORT))
    """The files, and what was measured. Set if and only if READY."""


class DeviceRow(Archivable, Base):
    """A device, on which latency is measured."""

    __tablename__ = "devices"

    status: Mapped[DeviceStatus] = mapped_column(
        status_type(DeviceStatus), default=DeviceStatus.MEASURING, index=True
    )
    """Changed only by `searchd.store.work.transition`."""
    spec: Mapped[DeviceSpec] = mapped_column(AsJson(TypeAdapter(DeviceSpec)))
    report: Mapped[DeviceReport | None] = mapped_column(AsJson(DEVICE_REPORT))
    """The lookup table, and how well it predicts. Set if and only if READY."""


class RunRow(Archivable, Base):
    """A resource that consists of trials: a search or a distillation."""

    __tablename__ = "searches"
    __mapper_args__ = {"polymorphic_on": "kind"}

    kind: Mapped[str] = mapped_column(String(32))
    status: Mapped[SearchStatus] = mapped_column(
        status_type(SearchStatus), default=SearchStatus.QUEUED, index=True
    )
    """Changed only by `searchd.store.work.transition`."""
    spec: Mapped[SearchSpec | DistillationSpec] = mapped_column(AsJson(_RUN_SPEC))
    dataset_id: Mapped[str] = mapped_column(ForeignKey("datasets.id"))
    pool_id: Mapped[str | None] = mapped_column(ForeignKey("pools.id"))
    """None if no teacher is a subnet."""
    origin_id: Mapped[str | None] = mapped_column(String(ID_LENGTH), index=True)
    """The finished trial whose student is the base, or None. Not a foreign key: trials refer to
    this table."""
    plan: Mapped[Plan | None] = mapped_column(AsJson(PLAN))
    """The plan of a distillation; None until its teachers are chosen."""
    budget: Mapped[BudgetSpec | None] = mapped_column(AsJson(TypeAdapter(BudgetSpec)))
    """The budget of a search that was extended; None: that of its spec."""
    teacher_aps: Mapped[tuple[TeacherAp, ...] | None] = mapped_column(AsJson(TEACHER_APS))
    """APs of the teachers of a search that were known before its first search trial. None before,
    and of searches that started when they were not recorded yet."""
    started_at: Mapped[datetime | None]
    """When its first driver started it."""


class SearchRow(RunRow):
    """A search."""

    __mapper_args__ = {"polymorphic_identity": "search"}


class DistillationRow(RunRow):
    """A distillation."""

    __mapper_args__ = {"polymorphic_identity": "distillation"}


AnyResource = (
    DatasetRow | PoolRow | TeacherRow | ExportRow | DeviceRow | SearchRow | DistillationRow
)
AnyArchivable = DatasetRow | PoolRow | TeacherRow | DeviceRow | SearchRow | DistillationRow
TABLES: dict[WorkKind, type[AnyResource]] = {
    WorkKind.DATASET_CHECK: DatasetRow,
    WorkKind.POOL: PoolRow,
    WorkKind.TEACHER: TeacherRow,
    WorkKind.TEACHER_TRAINING: TeacherRow,
    WorkKind.EXPORT: ExportRow,
    WorkKind.DEVICE: DeviceRow,
    WorkKind.SEARCH: SearchRow,
    WorkKind.DISTILLATION: DistillationRow,
}
"""The table of a resource, by the kind of work that serves it."""
