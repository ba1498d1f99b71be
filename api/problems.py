"""Error responses as RFC 9457 problem details, with a stable `type` for each kind of error."""

import json
import logging
from collections.abc import Mapping
from http import HTTPStatus
from itertools import groupby
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic_core import ErrorDetails
from sqlalchemy.exc import OperationalError, TimeoutError
from starlette.exceptions import HTTPException

from api.schemas import FieldProblem, Problem
from searchd.domain import errors
from searchd.spec.fields import location_of
from searchd.spec.sentences import MAX_ERRORS, FieldError, field_errors, listed

log = logging.getLogger(__name__)

RETRY_S = 5
"""Seconds after which a client should retry when the database is unavailable."""
DATABASE_AWAY = (OperationalError, TimeoutError)
"""Errors of an unavailable database: it is down, starting, or locked for too long."""
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
"""HTTP status and last part of the type of each error; an error that is not listed is treated as
its base class."""

RESPONSES: dict[int | str, dict[str, Any]] = {
    status: {"model": Problem, "description": text}
    for status, text in {
        400: "The body of the request cannot be read.",
        401: "The request has no token, or an unknown or revoked one.",
        403: "The role of the token does not allow the request.",
        404: "There is no resource with this name or id.",
        409: "The state of the resource does not allow the request.",
        413: "The body of the request is too large.",
        422: "A parameter or field of the request is invalid.",
        429: "Too many requests; retry after the seconds in Retry-After.",
        503: "The database is unavailable; retry after the seconds in Retry-After.",
    }.items()
}
"""The error responses in the OpenAPI document; `describe` sets their media type."""


class Refused(Exception):
    """The caller may not make this request (`api.auth`).

    Args:
        status: 401, 403 or 429.
        name: Last part of the problem's type.
        detail: The rule that was broken, and what would help.
        headers: Response headers that say the same to programs.
    """

    def __init__(
        self, status: HTTPStatus, name: str, detail: str, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(detail)
        self.status, self.name, self.headers = status, name, headers or {}

    def response(self) -> JSONResponse:
        """The response that reports this error."""
        answer = _answer(self.status, _URN + self.name, self.status.phrase, str(self))
        answer.headers.update(self.headers)
        return answer


def install(app: FastAPI) -> None:
    """Make the app report every error as problem details."""
    app.add_exception_handler(errors.SearchdError, _searchd_error)
    app.add_exception_handler(Refused, _refused)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(HTTPException, _http_error)
    for away in DATABASE_AWAY:
        app.add_exception_handler(away, lambda _, error: database_away(error))
    app.add_exception_handler(Exception, _unexpected_error)


def describe(openapi: dict[str, Any]) -> None:
    """Set the media type of error responses in an OpenAPI document to `MEDIA_TYPE`; FastAPI writes
    the media type of the endpoint's normal response."""
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
    title = name.replace("-", " ").capitalize()
    return _answer(status, _URN + name, title, str(error), _refused_fields(error))


def _refused_fields(error: Exception) -> list[FieldProblem]:
    if not isinstance(error, errors.InvalidFieldError):
        return []
    return [
        FieldProblem(location=["body", *location_of(path)], message=message)
        for path, message in error.problems
    ]


def _refused(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, Refused)
    return error.response()


def _validation_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    found = _field_errors(request, error)
    fields = [
        FieldProblem(location=list(each.location), message=each.message)
        for each in found[:MAX_ERRORS]
    ]
    detail = "; ".join(listed(found))
    status = HTTPStatus.UNPROCESSABLE_ENTITY
    return _answer(status, _URN + "validation", "Invalid request", detail, fields)


def _field_errors(request: Request, error: RequestValidationError) -> list[FieldError]:
    """Return the invalid fields; those of the body by the type that the route expects."""
    body = getattr(request.scope.get("route"), "body_field", None)
    schema = None if body is None else body.field_info.annotation
    found = []
    reported: list[ErrorDetails] = list(error.errors())
    for source, group in groupby(reported, key=lambda each: each["loc"][:1]):
        inside = [ErrorDetails(**{**each, "loc": each["loc"][1:]}) for each in group]
        is_body = source == ("body",) and inside[0]["type"] != "json_invalid"
        for each in field_errors(inside, schema if is_body else None):
            found.append(FieldError((*source, *each.location), each.message))
    return found


def _http_error(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    status = HTTPStatus(error.status_code)
    answer = _answer(status, "about:blank", status.phrase, error.detail)
    answer.headers.update(error.headers or {})
    return answer


def database_away(error: Exception) -> JSONResponse:
    """Return the response to a request whose transaction ended with one of `DATABASE_AWAY`."""
    log.error("the database is unavailable: %s", error.args[0])  # the rest is the statement
    answer = _answer(
        HTTPStatus.SERVICE_UNAVAILABLE,
        _URN + "database-unavailable",
        "Database unavailable",
        f"the database is unavailable; retry in {RETRY_S} s (a repeated Idempotency-Key creates "
        "nothing twice)",
    )
    answer.headers["Retry-After"] = str(RETRY_S)
    return answer


def _unexpected_error(_request: Request, error: Exception) -> JSONResponse:
    log.error("unexpected error", exc_info=error)
    status = HTTPStatus.INTERNAL_SERVER_ERROR
    return _answer(status, _URN + "internal", "Internal", "internal error; see the log of the API")


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
        """Encode as ASCII: a quoted request may hold a lone surrogate, which UTF-8 cannot."""
        return json.dumps(content).encode()
