"""Errors as RFC 9457 problem details, with one stable `type` for each kind of error."""

import json
import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy.exc import OperationalError, TimeoutError
from starlette.exceptions import HTTPException

from api.schemas.resources import FieldProblem, Problem
from searchd.domain import errors

log = logging.getLogger(__name__)

RETRY_S = 5
"""After which a client may go on that was told that the database does not answer."""
DATABASE_AWAY = (OperationalError, TimeoutError)
"""It is down or starts, or others kept us waiting for too long."""
MEDIA_TYPE = "application/problem+json"
_URN = "urn:searchd:problem:"

_KINDS: dict[type[errors.SearchdError], tuple[HTTPStatus, str]] = {
    errors.SearchdError: (HTTPStatus.INTERNAL_SERVER_ERROR, "internal"),
    errors.InvalidValueError: (HTTPStatus.UNPROCESSABLE_ENTITY, "invalid-value"),
    errors.EncodingError: (HTTPStatus.UNPROCESSABLE_ENTITY, "encoding"),
    errors.IllegalActionError: (HTTPStatus.UNPROCESSABLE_ENTITY, "illegal-action"),
    errors.IllegalTransitionError: (HTTPStatus.CONFLICT, "illegal-transition"),
    errors.NotFoundError: (HTTPStatus.NOT_FOUND, "not-found"),
    errors.ConflictError: (HTTPStatus.CONFLICT, "conflict"),
    errors.StaleLeaseError: (HTTPStatus.CONFLICT, "stale-lease"),
    errors.ArtifactError: (HTTPStatus.GONE, "artifact"),
    errors.CollectedError: (HTTPStatus.GONE, "collected"),
    errors.DataError: (HTTPStatus.UNPROCESSABLE_ENTITY, "data"),
}
"""Status and last part of the type; an error that is not listed is treated as its base class."""

RESPONSES: dict[int | str, dict[str, Any]] = {
    status: {"model": Problem, "description": text}
    for status, text in {
        400: "The body cannot be read",
        401: "No token, or none that is known",
        403: "The token may not do this",
        404: "There is no such resource",
        409: "The resource's state forbids the call",
        413: "The body is too large",
        422: "The request breaks a rule",
        429: "Too many requests; Retry-After says when to go on",
        503: "The database does not answer; Retry-After says when to go on",
    }.items()
}
"""For OpenAPI; `describe` sets their media type."""


class Refused(Exception):
    """Who calls may not do this, whatever it is (`api.auth`).

    Args:
        status: 401, 403 or 429.
        name: Last part of the type.
        detail: The rule, and what would help.
        headers: The same for programs.
    """

    def __init__(
        self, status: HTTPStatus, name: str, detail: str, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(detail)
        self.status, self.name, self.headers = status, name, headers or {}

    def response(self) -> JSONResponse:
        answer = _answer(self.status, _URN + self.name, self.status.phrase, str(self))
        answer.headers.update(self.headers)
        return answer


def install(app: FastAPI) -> None:
    """Make the app answer every error with problem details."""
    app.add_exception_handler(errors.SearchdError, _searchd_error)
    app.add_exception_handler(Refused, _refused)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(HTTPException, _http_error)
    for away in DATABASE_AWAY:
        app.add_exception_handler(away, lambda _, error: database_away(error))
    app.add_exception_handler(Exception, _unexpected_error)


def describe(openapi: dict[str, Any]) -> None:
    """Write into an OpenAPI description that errors are of `MEDIA_TYPE`; FastAPI takes them for
    whatever the endpoint answers with."""
    operations = [each for path in openapi["paths"].values() for each in path.values()]
    for operation in operations:
        for status, response in operation["responses"].items():
            if int(status) >= HTTPStatus.BAD_REQUEST:
                schema = {"$ref": f"#/components/schemas/{Problem.__name__}"}
                response["content"] = {MEDIA_TYPE: {"schema": schema}}


def _searchd_error(_request: Request, error: Exception) -> JSONResponse:
    kind = next(base for base in type(error).__mro__ if base in _KINDS)
    status, name = _KINDS[kind]
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        log.error("%s", error, exc_info=error)
    return _answer(status, _URN + name, name.replace("-", " ").capitalize(), str(error))


def _refused(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, Refused)
    return error.response()


def _validation_error(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    fields = [
        FieldProblem(location=list(each["loc"]), message=each["msg"]) for each in error.errors()
    ]
    detail = "; ".join(f"{'.'.join(map(str, f.location))}: {f.message}" for f in fields)
    status = HTTPStatus.UNPROCESSABLE_ENTITY
    return _answer(status, _URN + "validation", "The request is not valid", detail, fields)


def _http_error(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    status = HTTPStatus(error.status_code)
    answer = _answer(status, "about:blank", status.phrase, error.detail)
    answer.headers.update(error.headers or {})
    return answer


def database_away(error: Exception) -> JSONResponse:
    """The answer to any call whose transaction ended with one of `DATABASE_AWAY`."""
    log.error("the database does not answer: %s", error.args[0])  # the rest is the statement
    answer = _answer(
        HTTPStatus.SERVICE_UNAVAILABLE,
        _URN + "database-unavailable",
        "The database does not answer",
        f"try again in {RETRY_S} s; with the same Idempotency-Key nothing is created twice",
    )
    answer.headers["Retry-After"] = str(RETRY_S)
    return answer


def _unexpected_error(_request: Request, error: Exception) -> JSONResponse:
    log.error("unexpected error", exc_info=error)
    status = HTTPStatus.INTERNAL_SERVER_ERROR
    return _answer(status, _URN + "internal", "Internal", "see the API's log for the cause")


def _answer(
    status: HTTPStatus,
    kind: str,
    title: str,
    detail: str,
    fields: list[FieldProblem] | None = None,
) -> JSONResponse:
    problem = Problem(type=kind, title=title, status=status, detail=detail, errors=fields or [])
    return _ProblemResponse(problem.model_dump(), status)


class _ProblemResponse(JSONResponse):
    media_type = MEDIA_TYPE

    def render(self, content: Any) -> bytes:
        """As ASCII: a request that is quoted may hold what UTF-8 cannot (a lone surrogate)."""
        return json.dumps(content).encode()
