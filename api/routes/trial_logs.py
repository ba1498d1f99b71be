"""The endpoints of the logs of trials."""

from typing import Annotated

from fastapi import APIRouter, Query, Request

from api.dependencies import (
    DatabaseDep,
    DistillationReference,
    PageSize,
    SearchReference,
    TrialName,
)
from api.schemas.trial_logs import LogLine, TrialLogPage
from searchd import artifacts
from searchd.domain.errors import ArtifactError, InvalidValueError, NotFoundError
from searchd.messages.files import LOG_FILE, attempt_folder
from searchd.store.models import TrialRow
from searchd.store.resources import distillations, searches
from searchd.store.runs import trials

router = APIRouter(tags=["logs"])

MAX_NUMBER = 10**9
AttemptQuery = Annotated[
    int | None,
    Query(ge=1, le=MAX_NUMBER, description="Number of the attempt. The latest one by default."),
]
TailQuery = Annotated[
    int | None,
    Query(ge=1, le=MAX_NUMBER, description="Return only this number of lines from the end."),
]
LineToken = Annotated[
    str | None,
    Query(
        pattern="^[0-9]{1,9}$",
        description="Number of a line; the page starts after it. The first page without it.",
    ),
]


@router.get("/searches/{search}/trials/{trial}/log")
def get_search_trial_log(
    search: SearchReference,
    trial: TrialName,
    request: Request,
    database: DatabaseDep,
    attempt: AttemptQuery = None,
    tail: TailQuery = None,
    page_size: PageSize = 200,
    page_token: LineToken = None,
) -> TrialLogPage:
    """Return what the worker of a trial has logged, oldest line first. A running trial's log grows
    after every time slice; a process that was killed may have lost its last lines."""
    with database.read() as session:
        run_id = searches.get(session, search).id
        row = trials.get(session, trials.trial_id(run_id, trial))
    lines = _read(request.app.state.artifacts, row, attempt)
    return _page(row, attempt, lines, tail, page_size, page_token)


@router.get("/distillations/{distillation}/trials/{trial}/log")
def get_distillation_trial_log(
    distillation: DistillationReference,
    trial: TrialName,
    request: Request,
    database: DatabaseDep,
    attempt: AttemptQuery = None,
    tail: TailQuery = None,
    page_size: PageSize = 200,
    page_token: LineToken = None,
) -> TrialLogPage:
    """Return what the worker of a stage has logged, like the log of a search's trial."""
    with database.read() as session:
        run_id = distillations.get(session, distillation).id
        row = trials.get(session, trials.trial_id(run_id, trial))
    lines = _read(request.app.state.artifacts, row, attempt)
    return _page(row, attempt, lines, tail, page_size, page_token)


def _read(root: str, row: TrialRow, attempt: int | None) -> list[LogLine]:
    """Return the log of an attempt; empty if its worker has stored none.

    Raises:
        NotFoundError: There was no such attempt.
    """
    if attempt is not None and attempt > row.attempt:
        raise NotFoundError(
            f"trial {row.id} has no attempt {attempt}; it was started {row.attempt} times"
        )
    folder = attempt_folder(root, row.run_id, row.name, attempt or row.attempt)
    try:
        content = artifacts.read_bytes(artifacts.join(folder, LOG_FILE))
    except ArtifactError:  # before the first time slice, or of an earlier version
        return []
    return [LogLine.model_validate_json(line) for line in content.splitlines()]


def _page(
    row: TrialRow,
    attempt: int | None,
    lines: list[LogLine],
    tail: int | None,
    page_size: int,
    page_token: str | None,
) -> TrialLogPage:
    if tail is not None and page_token is not None:
        raise InvalidValueError("tail and page_token cannot be combined; leave one out")
    if tail is not None:
        lines = lines[-tail:]
    after = [each for each in lines if each.line > int(page_token or 0)]
    items = after[:page_size]
    return TrialLogPage(
        trial_id=row.id,
        attempt=attempt or row.attempt,
        items=items,
        next_page_token=str(items[-1].line) if len(after) > page_size else None,
    )
