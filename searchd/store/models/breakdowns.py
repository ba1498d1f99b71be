"""What lies behind the AP of an evaluation: classes, and kinds of error."""

from pydantic import TypeAdapter
from sqlalchemy import ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from searchd.domain.breakdown import Breakdown, ErrorFigures, ErrorKind
from searchd.store.base import AsJson, Base

_ERRORS = TypeAdapter(dict[ErrorKind, ErrorFigures])


class BreakdownRow(Base):
    """The breakdown of an evaluation; see `searchd.domain.breakdown.Breakdown`.

    A table of its own: `evaluations` is read whole for rankings and fronts, which need none of it.
    """

    __tablename__ = "breakdowns"

    evaluation_id: Mapped[int] = mapped_column(ForeignKey("evaluations.id"), primary_key=True)
    class_aps: Mapped[dict[str, float]]
    errors: Mapped[dict[ErrorKind, ErrorFigures]] = mapped_column(AsJson(_ERRORS))
    num_error_images: Mapped[int]

    @classmethod
    def of(cls, breakdown: Breakdown, evaluation_id: int) -> "BreakdownRow":
        return cls(
            evaluation_id=evaluation_id,
            class_aps=breakdown.class_aps,
            errors=breakdown.errors,
            num_error_images=breakdown.num_error_images,
        )
