"""One signed request to the receiver of a webhook.

The addresses of its host are looked up and checked when it is sent, and the connection goes to the
address that was checked: a name that leads elsewhere a moment later leads nowhere. Redirects are
not followed.
"""

import asyncio
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

import httpcore
from standardwebhooks import Webhook
from typing_extensions import override

from searchd.domain.addresses import is_public, not_public

TIMEOUT_S = 15.0
"""Seconds for the whole request, from the look-up of the name to the status of the response."""
_USER_AGENT = "searchd"


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """What is sent, and where to."""

    id: str
    url: str
    body: str
    secret: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """How a request ended."""

    status: int | None = None
    """HTTP status; None: there was no response."""
    error: str = ""
    """Why it failed, in words; empty if the receiver accepted it."""
    retry_after_s: float = 0.0
    """Seconds that the receiver asked to wait."""

    @property
    def is_gone(self) -> bool:
        """Whether the receiver wants nothing more."""
        return self.status == HTTPStatus.GONE


async def send(message: Message, *, allow_private: bool, timeout_s: float = TIMEOUT_S) -> Answer:
    """Send a message once.

    Args:
        message: What to send.
        allow_private: Whether the receiver may be in a private network, or on this machine.
        timeout_s: Seconds for the whole request.
    """
    try:
        async with asyncio.timeout(timeout_s):
            return await _post(message, allow_private)
    except TimeoutError:
        return Answer(error=f"no answer within {timeout_s:g} s")
    except _RefusedError as error:
        return Answer(error=str(error))
    except socket.gaierror as error:
        return Answer(error=f"the host of {message.url} is unknown: {error.strerror}")
    except httpcore.ConnectError as error:
        return Answer(error=f"no connection to {message.url}: {error}")
    except Exception as error:  # whatever a library makes of one receiver: others must not wait
        return Answer(error=f"{type(error).__name__}: {error}")


async def _post(message: Message, allow_private: bool) -> Answer:
    backend = _CheckingBackend(allow_private)
    async with (
        httpcore.AsyncConnectionPool(network_backend=backend) as pool,
        # The body of the response is not read: it could be endless.
        pool.stream(
            "POST", message.url, headers=_headers(message), content=message.body.encode()
        ) as response,
    ):
        return _answer(response.status, dict(response.headers))


def _headers(message: Message) -> list[tuple[bytes | str, bytes | str]]:
    at = datetime.now(UTC)
    return [
        ("Content-Type", "application/json"),
        ("User-Agent", _USER_AGENT),
        ("webhook-id", message.id),
        ("webhook-timestamp", str(int(at.timestamp()))),
        ("webhook-signature", Webhook(message.secret).sign(message.id, at, message.body)),
    ]


def _answer(status: int, headers: dict[bytes, bytes]) -> Answer:
    if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
        return Answer(status=status)
    error = f"the receiver answered {status}"
    if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
        error += ", and redirects are not followed"
    wait = next((value for name, value in headers.items() if name.lower() == b"retry-after"), b"")
    return Answer(status=status, error=error, retry_after_s=float(wait) if wait.isdigit() else 0.0)


class _RefusedError(Exception):
    """The receiver is at an address that requests may not be sent to."""


class _CheckingBackend(httpcore.AsyncNetworkBackend):
    """Opens connections to the public internet only, unless others are allowed."""

    def __init__(self, allow_private: bool) -> None:
        self._allow_private = allow_private
        self._backend = httpcore.AnyIOBackend()

    @override
    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        addresses = await _look_up(host, port)
        refused = [each for each in addresses if not (self._allow_private or is_public(each))]
        if refused:
            raise _RefusedError(not_public(host, refused[0]))
        return await self._backend.connect_tcp(
            addresses[0], port, timeout, local_address, socket_options
        )

    @override
    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


async def _look_up(host: str, port: int) -> list[str]:
    """Return the addresses of a host, the preferred one first."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(address[0]) for *_, address in found]
