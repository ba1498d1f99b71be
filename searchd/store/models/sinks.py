"""How far each sink of a run has got."""

from sqlalchemy import ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from searchd.domain.sinks import SinkKind
from searchd.store.base import Base, status_type


class SinkRow(Base):
    """What a sink has of a run."""

    __tablename__ = "sinks"

    run_id: Mapped[str] = mapped_column(ForeignKey("searches.id"), primary_key=True)
    kind: Mapped[SinkKind] = mapped_column(status_type(SinkKind), primary_key=True)
    num_sent: Mapped[int] = mapped_column(default=0)
    """Number of completions that it has; the next one to send has this position."""
