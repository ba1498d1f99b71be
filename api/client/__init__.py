"""The typed client of the HTTP API; `Client` is all that most users need."""

from api.client.client import Client, FailedKind, LifecycleRequest
from api.client.transport import DEFAULT_URL, ApiError, UnreachableError

__all__ = [
    "DEFAULT_URL",
    "ApiError",
    "Client",
    "FailedKind",
    "LifecycleRequest",
    "UnreachableError",
]
