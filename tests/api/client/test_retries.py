"""Calls are repeated where that is safe, and only there."""

import asyncio
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pytest
import stamina

from api.client import ApiError, AsyncClient, Client, UnreachableError
from searchd.spec import SearchSpec

SPEC = SearchSpec(name="first", dataset="shapes", pool="teachers")


class Scripted(BaseHTTPRequestHandler):
    """Answers calls by a script: a status, or None to break the connection."""

    script: ClassVar[list[int | None]] = []
    calls: ClassVar[list[tuple[str, str | None]]] = []

    def answer(self) -> None:
        self.calls.append((self.command, self.headers.get("Idempotency-Key")))
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        status = self.script.pop(0) if self.script else 200
        if status is None:
            self.connection.close()
            return
        body: dict[str, object] = {"items": [], "next_page_token": None, "warnings": []}
        problem = {"type": "t", "title": "later", "status": status, "detail": "come back later"}
        content = json.dumps(body if status == 200 else problem).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = answer

    def log_message(self, *_arguments: object) -> None:
        """Say nothing."""


@pytest.fixture
def url() -> Iterator[str]:
    """A service that answers by `Scripted.script`; nothing waits between attempts."""
    Scripted.script.clear()
    Scripted.calls.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Scripted)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    with stamina.set_testing(True, attempts=4):
        yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("script", [[429, 503], [200, None, None]])
def test_a_call_that_is_put_off_or_breaks_is_repeated(url: str, script: list[int | None]) -> None:
    with Client(url) as client:
        if script[0] == 200:  # a broken connection is repeated to a service that has answered
            assert list(client.list_pools()) == []
        Scripted.script[:] = [each for each in script if each != 200]
        assert list(client.list_pools()) == []
        assert [call for call, _ in Scripted.calls[-3:]] == ["GET", "GET", "GET"]


def test_a_submission_is_repeated_with_the_same_key(url: str) -> None:
    Scripted.script[:] = [503]
    with Client(url) as client, pytest.raises(ValueError, match="validation error"):
        client.submit_search(SPEC)  # its answer is no search; what counts is how it was asked

    (_, first), (_, second) = Scripted.calls
    assert first is not None
    assert first == second


def test_a_post_without_a_key_is_repeated_only_if_it_was_refused(url: str) -> None:
    with Client(url) as client:
        Scripted.script[:] = [503]
        with pytest.raises(ApiError, match="come back later"):
            client.extend_distillation("d")
        assert len(Scripted.calls) == 1
        Scripted.script[:] = [429, 429, 429, 429]
        with pytest.raises(ApiError, match="come back later"):
            client.extend_distillation("d")
        assert len(Scripted.calls) == 5
        Scripted.script[:] = [None]
        with pytest.raises(UnreachableError):
            client.extend_distillation("d")
        assert len(Scripted.calls) == 6


def test_nothing_is_repeated_that_the_service_refuses_or_if_it_is_not_wanted(url: str) -> None:
    Scripted.script[:] = [422, 503]
    with Client(url, retry_s=0) as client:
        for _ in range(2):
            with pytest.raises(ApiError, match="come back later"):
                list(client.list_pools())
    assert len(Scripted.calls) == 2


def test_the_client_for_asyncio_repeats_too(url: str) -> None:
    async def call() -> None:
        async with AsyncClient(url) as client:
            assert await client.list_pools().to_list() == []
            assert (await client.validate(SPEC)).warnings == []

    Scripted.script[:] = [503]
    asyncio.run(call())
    assert [call for call, _ in Scripted.calls] == ["GET", "GET", "POST"]
