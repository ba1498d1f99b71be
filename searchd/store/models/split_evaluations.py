"""Measurements after a search, on splits of its data set, with resamples of their images."""

from datetime import datetime

from pydantic import TypeAdapter
from sqlalchemy import ForeignKey, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from searchd.domain.trial import FinalSplit
from searchd.store.base import AsJson, Base, now, status_type
from searchd.store.models.measurements import Accurate


class SplitEvaluationRow(Accurate, Base):
    """AP of a trial's student on a split, at the resolution of one of its evaluations.

    A table of its own: the rows of `evaluations` decide rankings and the front, and AP on the test
    split must never do so.
    """

    __tablename__ = "split_evaluations"
    __table_args__ = (UniqueConstraint("evaluation_id", "split"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    evaluation_id: Mapped[int] = mapped_column(ForeignKey("evaluations.id"))
    """The evaluation with the trial, the resolution, MACs and latency."""
    split: Mapped[FinalSplit] = mapped_column(status_type(FinalSplit))
    num_images: Mapped[int]
    """Number of images of the split."""
    resampled: Mapped[tuple[float, ...]] = mapped_column(AsJson(TypeAdapter(tuple[float, ...])))
    """AP of each resample of the images; `searchd.search.intervals` turns them into intervals."""
    created_at: Mapped[datetime] = mapped_column(default=now)
