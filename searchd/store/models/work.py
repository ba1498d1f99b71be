"""Work: one row for each task that needs torch or the cluster and is carried out by a driver."""

from datetime import datetime

from sqlalchemy import String
from sqlalchemy.orm import Mapped, mapped_column

from searchd.domain.lifecycle import Desired, DesiredBy, WorkKind, WorkStatus
from searchd.store.base import ID_LENGTH, Base, now, status_type


class WorkRow(Base):
    """The work that serves one resource."""

    __tablename__ = "work"

    id: Mapped[str] = mapped_column(String(ID_LENGTH), primary_key=True)
    """{kind}-{resource id}."""
    kind: Mapped[WorkKind] = mapped_column(status_type(WorkKind))
    resource_id: Mapped[str] = mapped_column(String(ID_LENGTH), index=True)
    """The data set, pool, teacher, export, device, search or distillation that the work serves."""
    status: Mapped[WorkStatus] = mapped_column(
        status_type(WorkStatus), default=WorkStatus.QUEUED, index=True
    )
    """Changed only by `searchd.store.work.transition`."""
    status_reason: Mapped[str] = mapped_column(default="")
    """Why it has its status, in words; of leased work that is to stop: why it is to stop."""
    desired: Mapped[Desired] = mapped_column(status_type(Desired), default=Desired.RUN)
    desired_by: Mapped[DesiredBy] = mapped_column(status_type(DesiredBy), default=DesiredBy.USER)
    lease: Mapped[int] = mapped_column(default=0)
    """Number of leases granted so far, which is the number of the present one."""
    owner: Mapped[str] = mapped_column(default="")
    """The process that the lease was granted to, in words."""
    lease_expires_at: Mapped[datetime | None]
    """When the lease expires; set if and only if LEASED."""
    attempts: Mapped[int] = mapped_column(default=0)
    """Number of leases since a driver last recorded a result; limits restarts."""
    priority: Mapped[int] = mapped_column(default=0)
    """Of the queued searches and distillations of one owner, the highest priority starts first."""
    not_before: Mapped[datetime] = mapped_column(default=now)
    """Back-off: the earliest time of the next lease."""
    created_at: Mapped[datetime] = mapped_column(default=now)
    updated_at: Mapped[datetime] = mapped_column(default=now, onupdate=now)
