"""The distillation methods of a search that searches them, chosen when it is submitted: what is
stored with the search decides its trials, and not what a later version would choose."""

from collections.abc import Iterator

from sqlalchemy import select
from sqlalchemy.orm import Session

from searchd.domain.errors import InvalidFieldError
from searchd.domain.method_fit import Traits
from searchd.spec import SearchSpec, traits_of
from searchd.spec.method_search import chosen
from searchd.store.models import PoolRow, TeacherRow
from searchd.store.resources import teacher_fit


def completed(session: Session, spec: SearchSpec) -> SearchSpec:
    """Return a search with all methods chosen that its trials may have.

    Args:
        session: A reading session.
        spec: The submitted search. A pool or a teacher that does not exist is left to the check of
            references.

    Raises:
        InvalidFieldError: They cannot be chosen; the message says what to name.
    """
    if spec.distillation.search is None:
        return spec
    is_open = spec.distillation.search.methods is None
    teachers = [*_of_pool(session, spec), *(_registered(session, spec) if is_open else ())]
    student = traits_of(spec.head)
    methods = chosen(spec.distillation, student, teachers, spec.num_lines)
    return spec.model_copy(update={"distillation": methods})


def _of_pool(session: Session, spec: SearchSpec) -> Iterator[Traits]:
    pool = session.scalar(select(PoolRow).where(PoolRow.name == spec.pool))
    if pool is not None:
        yield traits_of(pool.spec.head, neck_channels=pool.spec.space.neck_channels)


def _registered(session: Session, spec: SearchSpec) -> Iterator[Traits]:
    for row in session.scalars(select(TeacherRow).where(TeacherRow.name.in_(spec.registered))):
        found = teacher_fit.known_traits(session, row)
        if found is None:
            reason = (
                f"teacher {row.name!r} is {row.status} and was not evaluated yet, so that the "
                "methods that fit it are not known; wait until it is ready, or name methods"
            )
            raise InvalidFieldError(("distillation.search.methods", reason))
        yield found
