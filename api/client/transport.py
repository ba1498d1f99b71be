"""The HTTP transport of the client: requests, responses and errors."""

import hashlib
import os
import re
import time
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx
from pydantic import BaseModel, ValidationError

from api.schemas import PREFIX, Event, Problem
from searchd.domain.errors import InvalidValueError
from searchd.spec import BaseSpec, DistillationSpec, PoolSpec, SearchSpec

DEFAULT_URL = "http://127.0.0.1:8080"
TOKEN = "SEARCHD_TOKEN"
"""Environment variable that holds the token."""
_POST_TIMEOUT_S = 300.0
"""Smallest timeout of a submission in seconds: the service reads checkpoints that it names."""
_MAX_PORT = 65535
S = TypeVar("S", bound=BaseModel)


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


class ApiError(Exception):
    """The service refused a call, or is unreachable. The message is meant for people."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.detail or problem.title)
        self.problem = problem
        """The problem details of the response; `problem.type` is stable."""


class UnreachableError(ApiError):
    """There is no service at this URL."""


class Transport:
    """The transport. Every method raises `ApiError` if the service refuses the call or is
    unreachable.

    Args:
        url: URL of the service.
        timeout_s: Timeout of a call in seconds.
        token: Access token. None uses SEARCHD_TOKEN of the environment, if it is set.

    Raises:
        InvalidValueError: The URL is none of HTTP, or the token has characters that no token can
            have.
    """

    def __init__(
        self, url: str = DEFAULT_URL, *, timeout_s: float = 30.0, token: str | None = None
    ) -> None:
        self.url = _checked_url(url.rstrip("/"))
        self._timeout_s = timeout_s
        # A service on this machine must not be called through the user's proxy.
        local = httpx.URL(self.url).host in ("127.0.0.1", "localhost", "::1")
        self._http = httpx.Client(
            base_url=self.url + PREFIX,
            timeout=timeout_s,
            trust_env=not local,
            headers=_authorization(os.environ.get(TOKEN, "") if token is None else token),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections to the service."""
        self._http.close()

    def is_ready(self) -> bool:
        """Whether the service is running and its database is available."""
        try:
            return self._http.get(f"{self.url}/readyz").is_success
        except httpx.TransportError:
            return False

    def _call(self, method: str, path: str, **options: Any) -> httpx.Response:
        if method == "POST":
            options.setdefault("timeout", max(self._timeout_s, _POST_TIMEOUT_S))
        _check_path(path)
        try:
            response = self._http.request(method, path, **options)
        except httpx.TransportError as error:
            raise self._unreachable(error) from error
        _check(response)
        return response

    def _get(self, path: str, schema: type[S], params: dict[str, str] | None = None) -> S:
        return schema.model_validate_json(self._call("GET", path, params=params).content)

    def _post(self, path: str, schema: type[S], **options: Any) -> S:
        return schema.model_validate_json(self._call("POST", path, **options).content)

    def _create(self, path: str, spec: BaseModel, key: str | None, schema: type[S]) -> S:
        headers = {} if key is None else {"Idempotency-Key": key}
        body = request_body(spec)
        response = self._call("POST", path, json=body, headers=headers)
        return schema.model_validate_json(response.content)

    def _list(self, path: str, schema: type[S], filters: dict[str, str]) -> Iterator[S]:
        params = dict(filters)
        while True:
            page = self._call("GET", path, params=params).json()
            yield from map(schema.model_validate, page["items"])
            if page["next_page_token"] is None:
                return
            params["page_token"] = page["next_page_token"]

    def _events(self, path: str, after: int) -> Iterator[Event]:
        while True:
            try:
                for event in self._stream(path, after):
                    after = event.number
                    yield event
                return  # the service ends the stream when the resource has ended
            except httpx.ConnectError as error:
                raise self._unreachable(error) from error
            except httpx.TransportError:
                time.sleep(1)  # the connection broke: resume after the last event received

    def _stream(self, path: str, after: int) -> Iterator[Event]:
        _check_path(path)
        headers = {"Last-Event-ID": str(after)}
        with self._http.stream("GET", path, headers=headers) as response:
            _check(response)
            for line in response.iter_lines():
                if line.startswith("data:"):
                    yield Event.model_validate_json(line.removeprefix("data:"))

    def _fetch(self, path: str, target: Path) -> str:
        _check_path(path)
        digest = hashlib.sha256()
        try:
            with self._http.stream("GET", path) as response, target.open("wb") as file:
                _check(response)
                for chunk in response.iter_bytes():
                    digest.update(chunk)
                    file.write(chunk)
        except httpx.TransportError as error:
            raise self._unreachable(error) from error
        return digest.hexdigest()

    def _download(self, path: str, target: Path, sha256: str | None) -> Path:
        partial = target.with_name(f".{target.name}.partial")
        try:
            found = self._fetch(path, partial)
            if found != sha256:
                raise api_error(f"{path} arrived damaged (SHA-256 {found}); retry", 502)
            os.replace(partial, target)
        finally:
            partial.unlink(missing_ok=True)
        return target

    def _unreachable(self, error: httpx.TransportError) -> UnreachableError:
        detail = f"no searchd service at {self.url} ({error}); start one with: searchd up"
        return UnreachableError(
            Problem(type="about:blank", title="Unreachable", status=503, detail=detail)
        )


def _checked_url(url: str) -> str:
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise InvalidValueError(f"the URL {url!r} of the service is not valid: {error}") from error
    if parsed.scheme in ("http", "https") and parsed.host and (parsed.port or 0) <= _MAX_PORT:
        return url
    without_scheme = re.fullmatch(r"([\w.-]+|\[[0-9a-f:]+\])(:[0-9]{1,5})?(/.*)?", url)
    instead = f"write http://{url}" if without_scheme else "it looks like http://127.0.0.1:8080"
    raise InvalidValueError(f"{url!r} is not the URL of a service; {instead}")


def _check_path(path: str) -> None:
    """Check that the names and ids in a path cannot change which endpoint is called."""
    wrong = re.search(r"[^A-Za-z0-9_/-]|//|/$", path)
    if wrong is not None:
        given = path.split("/", 2)[2]
        raise InvalidValueError(
            f"{given!r} is neither a name nor an id, which have only letters, digits, '-' and '_'"
        )


def _authorization(token: str) -> dict[str, str]:
    if not token:
        return {}
    if not re.fullmatch(r"[!-~]+", token):  # the error of the HTTP library would show the token
        raise InvalidValueError(
            f"{TOKEN} has a space, a line break or a character that is not ASCII; copy it again"
        )
    return {"Authorization": f"Bearer {token}"}


def _check(response: httpx.Response) -> None:
    if response.is_success:
        return
    response.read()
    try:
        problem = Problem.model_validate_json(response.content)
    except ValidationError:  # not from searchd: a proxy, or another service at this URL
        raise api_error(
            f"{response.url} answered {response.status_code}: {response.text[:200]}",
            response.status_code,
        ) from None
    if problem.type == "about:blank" and problem.status == HTTPStatus.NOT_FOUND:
        detail = f"{response.url} does not exist"  # no endpoint, such as for a name with a slash
        problem = problem.model_copy(update={"detail": detail})
    raise ApiError(problem)


def api_error(detail: str, status: int) -> ApiError:
    """Return an error that the client itself detected."""
    return ApiError(Problem(type="about:blank", title="Error", status=status, detail=detail))
