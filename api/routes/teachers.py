"""The endpoints of registered teachers."""

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Response, status
from fastapi.sse import EventSourceResponse, ServerSentEvent

from api import schemas
from api.auth import CallerDep
from api.data_roots import check_teacher
from api.dependencies import (
    STATUS_HELP,
    VALIDATED,
    ChecksDep,
    DatabaseDep,
    IdempotencyKey,
    LastEventId,
    ListingDep,
    RulesDep,
    TeacherReference,
    ValidateOnly,
    created,
)
from api.events import FeedsDep
from api.routes.archiving import add_archiving
from api.routes.lifecycle import add_calls, add_deletion
from api.views import resources as views
from searchd.domain.lifecycle import TeacherStatus
from searchd.spec import TeacherSpec
from searchd.store import paging
from searchd.store.models import TeacherRow
from searchd.store.resources import teachers

router = APIRouter(prefix="/teachers", tags=["teachers"])


def _find(database: DatabaseDep, teacher: TeacherReference) -> TeacherRow:
    with database.read() as session:
        return teachers.get(session, teacher)


Found = Annotated[TeacherRow, Depends(_find)]


@router.post(
    "",
    response_model=schemas.TeacherDetails,
    status_code=status.HTTP_201_CREATED,
    responses=VALIDATED,
)
def create_teacher(
    spec: TeacherSpec,
    database: DatabaseDep,
    rules: RulesDep,
    caller: CallerDep,
    checks: ChecksDep,
    idempotency_key: IdempotencyKey = None,
    validate_only: ValidateOnly = False,
) -> Response:
    """Register a teacher. It is loaded, or trained, and evaluated in the background."""
    check_teacher(spec, rules.data_roots)
    warnings = checks.check(spec)
    with database.write() as session:
        row = teachers.create(session, spec, idempotency_key=idempotency_key, owner=caller.name)
        resource = views.teacher_details(session, row)
        if validate_only:
            session.rollback()
    return created(resource, f"/teachers/{resource.id}", validate_only, warnings)


@router.get("")
def list_teachers(
    database: DatabaseDep,
    listing: ListingDep,
    status: Annotated[tuple[TeacherStatus, ...], Query(description=STATUS_HELP)] = (),
) -> schemas.Page[schemas.Teacher]:
    """List teachers with their measurements, by default newest first."""
    with database.read() as session:
        page = paging.page(session, TeacherRow, listing, status)
    return schemas.Page(
        items=[views.teacher(row) for row in page.items], next_page_token=page.next_page_token
    )


@router.get("/{teacher}")
def get_teacher(teacher: TeacherReference, database: DatabaseDep) -> schemas.TeacherDetails:
    """Return a teacher by id or name, with its measurement and the epochs of its training."""
    with database.read() as session:
        return views.teacher_details(session, teachers.get(session, teacher))


add_calls(router, "teacher", teachers.get, views.teacher_details, schemas.TeacherDetails)
add_deletion(router, "teacher", "teachers", teachers.get)
add_archiving(router, "teacher", teachers.get)


@router.get("/{teacher}/events", response_class=EventSourceResponse)
async def stream_teacher_events(
    found: Found, feeds: FeedsDep, last_event_id: LastEventId = 0
) -> AsyncIterator[ServerSentEvent]:
    """Stream the events of the teacher as server-sent events until it is ready or has failed."""
    async for event in feeds.stream(found.id, last_event_id):
        yield event
