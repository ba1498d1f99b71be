"""What users create: data sets, pools, teachers, searches, distillations."""

from datetime import datetime
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy import ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from searchd.domain.distillation_plan import Plan
from searchd.domain.lifecycle import (
    DatasetStatus,
    PoolStatus,
    SearchStatus,
    TeacherStatus,
    WorkKind,
)
from searchd.messages.reports import TEACHER_REPORT, PoolProgress, TeacherReport
from searchd.spec import (
    PLAN,
    BudgetSpec,
    DatasetSpec,
    DistillationSpec,
    PoolSpec,
    SearchSpec,
    TeacherSpec,
)
from searchd.store.base import ID_LENGTH, AsJson, Base, now, status_type

_RUN_SPEC: TypeAdapter[SearchSpec | DistillationSpec] = TypeAdapter(SearchSpec | DistillationSpec)
NAME_LENGTH = 63
KEY_LENGTH = 255


class Resource:
    """Columns that all of them share."""

    id: Mapped[str] = mapped_column(String(ID_LENGTH), primary_key=True, sort_order=-2)
    name: Mapped[str] = mapped_column(String(NAME_LENGTH), unique=True, sort_order=-1)
    idempotency_key: Mapped[str | None] = mapped_column(String(KEY_LENGTH), unique=True)
    """Of the request that created it."""
    owner: Mapped[str | None] = mapped_column(String(NAME_LENGTH))
    """Name of the token that created it; None if that was done without authentication. No foreign
    key: tokens are never deleted, and SQLite can only add one by copying the whole table."""
    status_reason: Mapped[str] = mapped_column(default="")
    """Why it is in its status, in words."""
    num_events: Mapped[int] = mapped_column(default=0)
    """Number of its last event; raising it locks the row, so that events have no gaps."""
    created_at: Mapped[datetime] = mapped_column(default=now, index=True)
    finished_at: Mapped[datetime | None]
    """When it reached a final status."""


class DatasetRow(Resource, Base):
    __tablename__ = "datasets"

    status: Mapped[DatasetStatus] = mapped_column(
        status_type(DatasetStatus), default=DatasetStatus.CHECKING, index=True
    )
    """Changed only by `searchd.store.work.transition`."""
    spec: Mapped[DatasetSpec] = mapped_column(AsJson(TypeAdapter(DatasetSpec)))
    summary: Mapped[dict[str, Any] | None]
    """What the check counted (classes, images, boxes). Set if and only if READY."""


class PoolRow(Resource, Base):
    __tablename__ = "pools"

    status: Mapped[PoolStatus] = mapped_column(
        status_type(PoolStatus), default=PoolStatus.QUEUED, index=True
    )
    """Changed only by `searchd.store.work.transition`."""
    spec: Mapped[PoolSpec] = mapped_column(AsJson(TypeAdapter(PoolSpec)))
    dataset_id: Mapped[str] = mapped_column(ForeignKey("datasets.id"))
    progress: Mapped[PoolProgress | None] = mapped_column(AsJson(TypeAdapter(PoolProgress)))
    """The latest; overwritten."""
    started_at: Mapped[datetime | None]
    """When a driver first took it up."""


class TeacherRow(Resource, Base):
    __tablename__ = "teachers"

    status: Mapped[TeacherStatus] = mapped_column(
        status_type(TeacherStatus), default=TeacherStatus.CHECKING, index=True
    )
    """Changed only by `searchd.store.work.transition`."""
    spec: Mapped[TeacherSpec] = mapped_column(AsJson(TypeAdapter(TeacherSpec)))
    dataset_id: Mapped[str] = mapped_column(ForeignKey("datasets.id"))
    pool_id: Mapped[str | None] = mapped_column(ForeignKey("pools.id"))
    """If it is a subnet."""
    report: Mapped[TeacherReport | None] = mapped_column(AsJson(TEACHER_REPORT))
    """Set if and only if READY."""


class RunRow(Resource, Base):
    """A piece of work that is made of trials: a search, or a distillation."""

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
    """The finished trial whose student is the base. No foreign key: trials refer to this table."""
    plan: Mapped[Plan | None] = mapped_column(AsJson(PLAN))
    """Of a distillation, once its teachers are chosen."""
    budget: Mapped[BudgetSpec | None] = mapped_column(AsJson(TypeAdapter(BudgetSpec)))
    """Of a search that was given more than its spec's."""
    started_at: Mapped[datetime | None]
    """When a driver first took it up."""


class SearchRow(RunRow):
    """A search."""

    __mapper_args__ = {"polymorphic_identity": "search"}


class DistillationRow(RunRow):
    """A distillation."""

    __mapper_args__ = {"polymorphic_identity": "distillation"}


AnyResource = DatasetRow | PoolRow | TeacherRow | SearchRow | DistillationRow
TABLES: dict[WorkKind, type[AnyResource]] = {
    WorkKind.DATASET_CHECK: DatasetRow,
    WorkKind.POOL: PoolRow,
    WorkKind.TEACHER: TeacherRow,
    WorkKind.SEARCH: SearchRow,
    WorkKind.DISTILLATION: DistillationRow,
}
"""The table of a resource, by the kind of work that serves it."""
