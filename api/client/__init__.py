"""The typed client of the HTTP API; `Client` is all that most users need."""

from api.client.client import Client, LifecycleRequest
from api.client.transport import DEFAULT_URL, ApiError, UnreachableError

__all__ = ["DEFAULT_URL", "ApiError", "Client", "UnreachableError", "LifecycleRequest"]
