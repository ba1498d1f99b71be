"""Counters: what happened in all processes, added up, so that reading it never reads history."""

from sqlalchemy import String
from sqlalchemy.orm import Mapped, mapped_column

from searchd.store.base import ID_LENGTH, Base

LABELS_LENGTH = 255


class CounterRow(Base):
    """A number that only grows, or the time of something that is repeated."""

    __tablename__ = "counters"

    name: Mapped[str] = mapped_column(String(ID_LENGTH), primary_key=True)
    labels: Mapped[str] = mapped_column(String(LABELS_LENGTH), primary_key=True)
    """What is counted apart, as JSON with sorted keys, such as {"kind": "search"}."""
    value: Mapped[float]
