"""Events: what happened to a data set, pool or search, in order."""

from datetime import datetime

from sqlalchemy import String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from searchd.store.base import ID_LENGTH, Base, now


class EventRow(Base):
    __tablename__ = "events"
    __table_args__ = (UniqueConstraint("resource_id", "number"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    resource_id: Mapped[str] = mapped_column(String(ID_LENGTH))
    """The data set, pool or search."""
    number: Mapped[int]
    """From 1 without gaps inside the resource; assigned under the resource's row lock, so that a
    reader who has seen number n has seen all before it."""
    subject: Mapped[str] = mapped_column(String(ID_LENGTH))
    """Id of what it is about: the resource itself, one of its trials, or its work."""
    status: Mapped[str] = mapped_column(String(32))
    """The subject's status from now on."""
    message: Mapped[str]
    at: Mapped[datetime] = mapped_column(default=now)
