"""The typed clients of the HTTP API: `Client`, and `AsyncClient` for asyncio."""

from typing import TYPE_CHECKING, Any

from api.client.protocol import (
    DEFAULT_URL,
    ApiError,
    FailedKind,
    LifecycleRequest,
    ListedKind,
    Submitted,
    UnreachableError,
)
from api.client.synchronous.client import Client

if TYPE_CHECKING:
    from api.client.asynchronous.client import AsyncClient

__all__ = [
    "DEFAULT_URL",
    "ApiError",
    "AsyncClient",
    "Client",
    "FailedKind",
    "ListedKind",
    "LifecycleRequest",
    "Submitted",
    "UnreachableError",
]


def __getattr__(name: str) -> Any:
    """Import `AsyncClient` when it is used: asyncio would slow down each command."""
    if name == "AsyncClient":
        from api.client.asynchronous.client import AsyncClient

        return AsyncClient
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
