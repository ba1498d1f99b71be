"""A line in the log for each request, with the search and the trial that it is about."""

import logging
import time
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

log = logging.getLogger("api.access")

_PROBES = frozenset({"/healthz", "/readyz", "/metrics"})
"""Paths that programs read every few seconds; they are not logged."""


class AccessLog:
    """ASGI middleware that logs each response when it begins."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in _PROBES:
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()

        async def logged(message: Message) -> None:
            if message["type"] == "http.response.start":
                _log(scope, message["status"], time.perf_counter() - began)
            await send(message)

        await self._app(scope, receive, logged)


def _log(scope: Scope, status: int, seconds: float) -> None:
    # The raw path is percent-encoded, so that no client can write a line of its own.
    path = scope.get("raw_path", b"").decode("ascii", "replace")
    client = scope["client"][0] if scope.get("client") else "-"
    arguments = (client, scope["method"], path, status, 1000 * seconds)
    log.info("%s %s %s %d %.0f ms", *arguments, extra=_ids(scope.get("path_params", {})))


def _ids(parameters: dict[str, Any]) -> dict[str, str]:
    """Return the ids of a request in the log; a search may be given by its name."""
    found = {
        "search": parameters.get("search") or parameters.get("distillation"),
        "trial": parameters.get("trial") or parameters.get("trial_id"),
    }
    return {name: str(value) for name, value in found.items() if value is not None}
