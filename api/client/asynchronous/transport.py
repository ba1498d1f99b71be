"""The HTTP transport of the client: requests, responses, repetitions and streams."""

import hashlib
import os
from asyncio import sleep
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import Any, Self, TypeVar
from uuid import uuid4

import httpx
from pydantic import BaseModel

from api.client import protocol
from api.client.asynchronous.items import AsyncItems
from api.schemas import PREFIX, Event
from searchd.domain.transitions import is_final

S = TypeVar("S", bound=BaseModel)
R = TypeVar("R", bound=protocol.Resource)


class AsyncTransport:
    """The transport. Every method raises `ApiError` if the service refuses the call or is
    unreachable.

    A call that the service puts off (429, 503), or whose connection breaks, is repeated with
    growing pauses, if it may arrive twice. The first call does not wait for a service.

    Args:
        url: URL of the service.
        timeout_s: Timeout of a call in seconds.
        token: Access token. None uses SEARCHD_TOKEN of the environment, if it is set.
        retry_s: Seconds for which a call is repeated; 0 repeats none.

    Raises:
        InvalidValueError: The URL is none of HTTP, or the token has characters that no token can
            have.
    """

    def __init__(
        self,
        url: str = protocol.DEFAULT_URL,
        *,
        timeout_s: float = 30.0,
        token: str | None = None,
        retry_s: float = 45.0,
    ) -> None:
        self.url = protocol.checked_url(url.rstrip("/"))
        self._timeout_s, self._retry_s = timeout_s, retry_s
        self._reached = False
        # A service on this machine must not be called through the user's proxy.
        local = httpx.URL(self.url).host in ("127.0.0.1", "localhost", "::1")
        self._http = httpx.AsyncClient(
            base_url=self.url + PREFIX,
            timeout=timeout_s,
            trust_env=not local,
            verify=protocol.verification(self.url, local=local),
            headers=protocol.authorization(token),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections to the service."""
        await self._http.aclose()

    async def is_ready(self) -> bool:
        """Whether the service is running and its database is available."""
        try:
            return (await self._http.get(f"{self.url}/readyz")).is_success
        except httpx.TransportError:
            return False

    async def _call(
        self, method: str, path: str, *, repeatable: bool = False, **options: Any
    ) -> httpx.Response:
        """Call the service.

        Args:
            method: Method of HTTP.
            path: Path below the prefix of the API.
            repeatable: Whether a POST without a key has the same effect if it arrives twice.
            options: Options of the HTTP library.
        """
        if method == "POST":
            options.setdefault("timeout", max(self._timeout_s, protocol.POST_TIMEOUT_S))
        protocol.check_path(path)
        repeatable = repeatable or protocol.is_repeatable(method, options.get("headers"))
        call = partial(self._once, method, path, **options)
        try:
            return await call()
        except protocol.ApiError as error:
            if not self._pause(error, repeatable=repeatable):
                raise
            return await self._repeat(error, repeatable, call)

    async def _once(self, method: str, path: str, **options: Any) -> httpx.Response:
        try:
            response = await self._http.request(method, path, **options)
        except httpx.TransportError as error:
            raise protocol.unreachable(self.url, error) from error
        self._reached = True
        protocol.check_read(response)
        return response

    async def _repeat(
        self,
        first: protocol.ApiError,
        repeatable: bool,
        call: Callable[[], Awaitable[httpx.Response]],
    ) -> httpx.Response:
        # Imported here since it imports asyncio, which a command that succeeds does not need.
        from stamina import retry_context

        failed: list[protocol.ApiError] = [first]
        again = partial(self._pause, repeatable=repeatable)
        async for attempt in retry_context(on=again, attempts=None, timeout=self._retry_s):
            with attempt:
                if failed:  # the first call counts as the first attempt
                    raise failed.pop()
                return await call()
        raise AssertionError("the last attempt returns or raises")

    def _pause(self, error: Exception, *, repeatable: bool) -> bool | float:
        return self._retry_s > 0 and protocol.pause_before_repeating(
            error, repeatable=repeatable, reached=self._reached
        )

    async def _get(self, path: str, schema: type[S], params: dict[str, Any] | None = None) -> S:
        response = await self._call("GET", path, params=params)
        return schema.model_validate_json(response.content)

    async def _post(self, path: str, schema: type[S], **options: Any) -> S:
        response = await self._call("POST", path, **options)
        return schema.model_validate_json(response.content)

    async def _create(self, path: str, spec: BaseModel, key: str | None, schema: type[S]) -> S:
        """Submit a spec. Every submission has a key, so that it can be repeated."""
        headers = {protocol.KEY: key or uuid4().hex}
        return await self._post(path, schema, json=protocol.request_body(spec), headers=headers)

    def _list(self, path: str, schema: type[S], filters: dict[str, Any]) -> AsyncItems[S]:
        return AsyncItems(lambda: self._pages(path, schema, filters))

    async def _pages(self, path: str, schema: type[S], filters: dict[str, Any]) -> AsyncIterator[S]:
        params = dict(filters)
        while True:
            page = (await self._call("GET", path, params=params)).json()
            for item in page["items"]:
                yield schema.model_validate(item)
            if page["next_page_token"] is None:
                return
            params["page_token"] = page["next_page_token"]

    async def _events(self, path: str, after: int) -> AsyncIterator[Event]:
        heard_at = monotonic()
        while True:
            try:
                async for event in self._stream(path, after):
                    after, heard_at = event.number, monotonic()
                    yield event
                return  # the service ends the stream when the resource has ended
            except httpx.TransportError as error:
                gone = isinstance(error, httpx.ConnectError)
                if gone and not (self._reached and monotonic() - heard_at < self._retry_s):
                    raise protocol.unreachable(self.url, error) from error
                await sleep(1)  # the connection broke: resume after the last event received

    async def _stream(self, path: str, after: int) -> AsyncIterator[Event]:
        protocol.check_path(path)
        headers = {"Last-Event-ID": str(after)}
        async with self._http.stream("GET", path, headers=headers) as response:
            self._reached = True
            await _check(response)
            async for line in response.aiter_lines():
                if line.startswith("data:"):
                    yield Event.model_validate_json(line.removeprefix("data:"))

    async def _fetch(self, path: str, target: Path) -> str:
        protocol.check_path(path)
        digest = hashlib.sha256()
        try:
            async with self._http.stream("GET", path) as response:
                await _check(response)
                with target.open("wb") as file:
                    async for chunk in response.aiter_bytes():
                        digest.update(chunk)
                        file.write(chunk)
        except httpx.TransportError as error:
            raise protocol.unreachable(self.url, error) from error
        return digest.hexdigest()

    async def _download(self, path: str, target: Path, sha256: str | None) -> Path:
        partial_file = target.with_name(f".{target.name}.partial")
        try:
            found = await self._fetch(path, partial_file)
            if found != sha256:
                raise protocol.api_error(f"{path} arrived damaged (SHA-256 {found}); retry", 502)
            os.replace(partial_file, target)
        finally:
            partial_file.unlink(missing_ok=True)
        return target


async def _check(response: httpx.Response) -> None:
    if not response.is_success:
        await response.aread()
        protocol.check_read(response)


async def until_ended(
    look: Callable[[], Awaitable[R]], poll_s: float, timeout_s: float | None = None
) -> R:
    """Look at a resource until its status is final.

    Raises:
        TimeoutError: It is not within `timeout_s` seconds.
    """
    begun = monotonic()
    while not is_final((found := await look()).status):
        if timeout_s is not None and monotonic() - begun + poll_s > timeout_s:
            raise TimeoutError(f"{found.name} is still {found.status}: {found.status_reason}")
        await sleep(poll_s)
    return found
