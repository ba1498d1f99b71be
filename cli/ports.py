"""The port of the API: whether it is free, and who uses it otherwise. Does not import Ray."""

import contextlib
import errno
import socket
from typing import Any

import httpx
import psutil

from searchd.domain.errors import ConflictError, InvalidValueError

_TIMEOUT_S = 2.0
"""Seconds that whoever uses the port has to say whether it is a searchd."""


def check_free(host: str, port: int) -> None:
    """Check that a server can listen on a port.

    Raises:
        ConflictError: Another program listens on it; the message says which.
        InvalidValueError: The host is not of this machine, or the port needs more rights.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        socket.create_server((host, port), family=family).close()
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise ConflictError(
                f"port {port} of {host} is in use by {_user(host, port)}; use that one, or choose "
                "another port with --port or SEARCHD_API_PORT"
            ) from error
        if isinstance(error, PermissionError):
            raise InvalidValueError(
                f"port {port} needs the rights of an administrator; choose one above 1023"
            ) from error
        raise InvalidValueError(
            f"SEARCHD_API_HOST={host} is not an address of this machine: {error.strerror}"
        ) from error


def identity(url: str) -> dict[str, Any] | None:
    """Return what a searchd at this URL says about itself; None if there is none."""
    try:
        # Without trust_env, so that the user's proxy is not used for processes on this machine.
        response = httpx.get(f"{url}/healthz", timeout=_TIMEOUT_S, trust_env=False)
        found = response.json()
    except (httpx.HTTPError, ValueError):
        return None
    is_searchd = isinstance(found, dict) and found.get("status") == "ok" and "instance" in found
    return found if is_searchd else None


def _user(host: str, port: int) -> str:
    found = identity(f"http://{f'[{host}]' if ':' in host else host}:{port}")
    if found is None:
        return f"another program{_process(port)}"
    folder = found.get("data_folder")
    return f"another searchd with the data folder {folder}" if folder else "another searchd"


def _process(port: int) -> str:
    """Return the process that listens on a port, for a message; empty if it cannot be seen."""
    with contextlib.suppress(psutil.Error):
        for connection in psutil.net_connections("tcp"):
            listens_on = connection.laddr.port if connection.laddr else None
            listens = connection.status == psutil.CONN_LISTEN and listens_on == port
            if listens and connection.pid is not None:
                return f" ({psutil.Process(connection.pid).name()}, process {connection.pid})"
    return ""
