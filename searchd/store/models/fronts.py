"""The Pareto fronts of each run, kept so that nobody has to look at all trials."""

from sqlalchemy import ForeignKey, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from searchd.store.base import ID_LENGTH, Base

AXIS_LENGTH = 64


class FrontPointRow(Base):
    """An evaluation on a front of its run. `searchd.store.runs.fronts` writes it."""

    __tablename__ = "front_points"
    __table_args__ = (Index("ix_front_points_evaluation_id", "evaluation_id"),)

    run_id: Mapped[str] = mapped_column(
        String(ID_LENGTH), ForeignKey("searches.id"), primary_key=True
    )
    x: Mapped[str] = mapped_column(String(AXIS_LENGTH), primary_key=True)
    """The cost, such as "macs"; see `searchd.store.runs.fronts.COSTS`."""
    y: Mapped[str] = mapped_column(String(AXIS_LENGTH), primary_key=True)
    """The accuracy, such as "ap"."""
    evaluation_id: Mapped[int] = mapped_column(ForeignKey("evaluations.id"), primary_key=True)
    cost: Mapped[float]
    value: Mapped[float]
