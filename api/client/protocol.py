"""What both clients share: errors, checks of URLs and paths, bodies, and which calls to repeat."""

import os
import re
import ssl
from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any, Literal

import httpx
from pydantic import BaseModel, ValidationError

from api import schemas
from api.schemas import Problem
from api.schemas.distillations import Distillation
from searchd.domain.errors import InvalidValueError, SearchdError
from searchd.spec import (
    BaseSpec,
    DatasetImport,
    DatasetSpec,
    DeviceSpec,
    DistillationSpec,
    PoolSpec,
    SearchSpec,
    Spec,
    TeacherSpec,
)

FailedKind = Literal["pools", "teachers", "searches", "distillations"]
ListedKind = Literal["datasets", "devices", "pools", "teachers", "searches", "distillations"]
RunKind = Literal["searches", "distillations"]
LifecycleRequest = Literal["pause", "resume", "cancel", "kill"]
Resource = (
    schemas.Dataset
    | schemas.Pool
    | schemas.Teacher
    | schemas.Search
    | Distillation
    | schemas.Export
)
"""What has a status that becomes final."""
Submitted = (
    DatasetSpec
    | DatasetImport
    | PoolSpec
    | TeacherSpec
    | SearchSpec
    | DistillationSpec
    | DeviceSpec
)
PATHS: dict[type[Spec], str] = {
    DatasetSpec: "/datasets",
    DatasetImport: "/datasets",
    PoolSpec: "/pools",
    TeacherSpec: "/teachers",
    SearchSpec: "/searches",
    DistillationSpec: "/distillations",
    DeviceSpec: "/devices",
}
"""Path that each kind of spec is submitted to."""
DEFAULT_URL = "http://127.0.0.1:8080"
TOKEN = "SEARCHD_TOKEN"
"""Environment variable that holds the token."""
POST_TIMEOUT_S = 300.0
"""Smallest timeout of a submission in seconds: the service reads checkpoints that it names."""
KEY = "Idempotency-Key"
_MAX_PORT = 65535
_LATER = (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)
_MAX_WAIT_S = 60.0


class ApiError(SearchdError):
    """The service refused a call, or is unreachable. The message is meant for people."""

    def __init__(self, problem: Problem, *, retry_after_s: float | None = None) -> None:
        super().__init__(problem.detail or problem.title)
        self.problem = problem
        """The problem details of the response; `problem.type` is stable."""
        self.retry_after_s = retry_after_s
        """Seconds after which the service asks to be called again; None if it does not."""


class UnreachableError(ApiError):
    """There is no service at this URL, or the connection to it broke."""


def request_body(spec: BaseModel) -> dict[str, Any]:
    """Return a spec as JSON. Where the base is a loaded detector, fields of the head that were not
    given are left out, since the service then takes them from the detector; and likewise the fields
    of a pool that is imported."""
    body = spec.model_dump(mode="json")
    match spec:
        case SearchSpec(base=BaseSpec(is_loaded=True)):
            body["head"] = spec.head.model_dump(mode="json", exclude_unset=True)
        case DistillationSpec(base=BaseSpec(is_loaded=True)):
            body["student"]["head"] = spec.head.model_dump(mode="json", exclude_unset=True)
        case PoolSpec(source=Path()):
            body = spec.model_dump(mode="json", exclude_unset=True)
    return body


def is_repeatable(method: str, headers: Mapping[str, str] | None) -> bool:
    """Whether a call has the same effect if it arrives twice. A POST has only with a key."""
    return method != "POST" or KEY in (headers or {})


def pause_before_repeating(error: Exception, *, repeatable: bool, reached: bool) -> bool | float:
    """Whether to repeat a call that failed, or the number of seconds after which.

    Args:
        error: What the call raised.
        repeatable: Whether the call may arrive twice.
        reached: Whether the service has answered before. If not, it is not waited for.
    """
    if not isinstance(error, ApiError):
        return False
    if isinstance(error, UnreachableError):
        never_arrived = isinstance(error.__cause__, httpx.ConnectError)
        return reached and (repeatable or never_arrived)
    status = error.problem.status
    # A call that is refused by the rate limit has had no effect.
    if status not in _LATER or not (repeatable or status == HTTPStatus.TOO_MANY_REQUESTS):
        return False
    return True if error.retry_after_s is None else min(error.retry_after_s, _MAX_WAIT_S)


def unreachable(url: str, error: httpx.TransportError) -> UnreachableError:
    """Return the error for a call that got no answer."""
    detail = f"no searchd service at {url} ({error}); start one with: searchd up"
    return UnreachableError(
        Problem(type="about:blank", title="Unreachable", status=503, detail=detail)
    )


def checked_url(url: str) -> str:
    """Check the URL of a service.

    Raises:
        InvalidValueError: It is none of HTTP.
    """
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise InvalidValueError(f"the URL {url!r} of the service is not valid: {error}") from error
    if parsed.scheme in ("http", "https") and parsed.host and (parsed.port or 0) <= _MAX_PORT:
        return url
    without_scheme = re.fullmatch(r"([\w.-]+|\[[0-9a-f:]+\])(:[0-9]{1,5})?(/.*)?", url)
    instead = f"write http://{url}" if without_scheme else "it looks like http://127.0.0.1:8080"
    raise InvalidValueError(f"{url!r} is not the URL of a service; {instead}")


def check_path(path: str) -> None:
    """Check that the names and ids in a path cannot change which endpoint is called.

    Raises:
        InvalidValueError: One is neither a name nor an id.
    """
    wrong = re.search(r"[^A-Za-z0-9_/-]|//|/$", path)
    if wrong is not None:
        given = path.split("/", 2)[2]
        raise InvalidValueError(
            f"{given!r} is neither a name nor an id, which have only letters, digits, '-' and '_'"
        )


def verification(url: str, *, local: bool) -> ssl.SSLContext | bool:
    """Return how servers are verified: by the certificates of known authorities, which take long to
    read and are left out for HTTP on this machine. Without them HTTPS is refused."""
    is_plain = local and url.startswith("http:")
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT) if is_plain else True


def authorization(token: str | None) -> dict[str, str]:
    """Return the header with the token; None takes it from the environment.

    Raises:
        InvalidValueError: The token has characters that no token can have.
    """
    token = os.environ.get(TOKEN, "") if token is None else token
    if not token:
        return {}
    if not re.fullmatch(r"[!-~]+", token):  # the error of the HTTP library would show the token
        raise InvalidValueError(
            f"{TOKEN} has a space, a line break or a character that is not ASCII; copy it again"
        )
    return {"Authorization": f"Bearer {token}"}


def check_read(response: httpx.Response) -> None:
    """Check an answer whose body has been read.

    Raises:
        ApiError: The service refused the call.
    """
    if response.is_success:
        return
    try:
        problem = Problem.model_validate_json(response.content)
    except ValidationError:  # not from searchd: a proxy, or another service at this URL
        beginning = " ".join(response.text[:200].split())
        raise api_error(
            f"{response.url} answered {response.status_code}: {beginning}. searchd does not answer "
            "so: is another service at this address, or a proxy in front of it?",
            response.status_code,
        ) from None
    if problem.type == "about:blank" and problem.status == HTTPStatus.NOT_FOUND:
        detail = f"{response.url} does not exist"  # no endpoint, such as for a name with a slash
        problem = problem.model_copy(update={"detail": detail})
    raise ApiError(problem, retry_after_s=_seconds(response.headers.get("Retry-After")))


def api_error(detail: str, status: int) -> ApiError:
    """Return an error that the client itself detected."""
    return ApiError(Problem(type="about:blank", title="Error", status=status, detail=detail))


def _seconds(header: str | None) -> float | None:
    return float(header) if header is not None and header.isdecimal() else None
