"""Events: what happened to a resource, in order."""

from datetime import datetime

from sqlalchemy import Index, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from searchd.store.base import ID_LENGTH, Base, now

KEY_LENGTH = 255


class EventRow(Base):
    __tablename__ = "events"
    __table_args__ = (
        UniqueConstraint("resource_id", "number"),
        Index("ix_events_key", "resource_id", "key"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    resource_id: Mapped[str] = mapped_column(String(ID_LENGTH))
    """The data set, pool, teacher, export, search or distillation."""
    number: Mapped[int]
    """From 1 without gaps within the resource; assigned under the resource's row lock, so that a
    reader that has seen number n has seen all earlier ones."""
    subject: Mapped[str] = mapped_column(String(ID_LENGTH))
    """Id of what the event is about: the resource, or one of its trials."""
    status: Mapped[str] = mapped_column(String(32))
    """The subject's status from now on."""
    message: Mapped[str]
    """What happened, in words. Never read by a program."""
    key: Mapped[str | None] = mapped_column(String(KEY_LENGTH))
    """Names what was recorded, where that is recorded once; see `searchd.store.events`."""
    at: Mapped[datetime] = mapped_column(default=now)
