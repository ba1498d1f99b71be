"""Access control of the API: authentication, roles, ownership and rate limits. The rules:

1. `/healthz`, `/readyz` and the files of the web page are open. Every other path needs access,
   whether it exists or not: `Gate` wraps the whole app.
2. With authentication, a request has the header `Authorization: Bearer SECRET`; otherwise 401. The
   role of the token (`searchd.store.Role`) must include READ for safe methods and SUBMIT for all
   others; otherwise 403.
3. A token owns what it creates. Only the owner and an ADMIN may change it: `check_owner`.
4. Without authentication everything is allowed, and the API listens on loopback only
   (`searchd.settings.check_access`). So that no foreign web page can make a browser on this machine
   call the API, `Host` must be loopback, and `Origin`, if a browser sends it, the same host.
5. Requests are counted per token, or per client address without a valid token, and refused above a
   rate: 429. A stream of events is one request.
6. Paths in specs must be below the data roots: `api.data_roots`.
7. There are no CORS headers, so that no other site can read responses. Bodies are small
   (`api.body_limit`).
"""

import math
import time
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import Depends, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.security import HTTPBearer
from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import SlidingWindowCounterRateLimiter
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send

from api import web_page
from api.problems import DATABASE_AWAY, Refused, database_away
from searchd.domain.paths import CACHE_FOLDER
from searchd.settings import Settings, is_loopback
from searchd.store import Database, Role
from searchd.store.base import now
from searchd.store.models import WebhookRow
from searchd.store.models.resources import AnyResource
from searchd.store.resources import tokens

OPEN_PATHS = frozenset({"/healthz", "/readyz", "/metrics"}) | web_page.FILES
BEARER = HTTPBearer(auto_error=False, description="A token that `searchd token create` printed.")
"""The security scheme of the OpenAPI document; `Gate` itself checks the header."""
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """The access rules that an operator sets."""

    tokens_needed: bool = False
    data_roots: tuple[Path, ...] = ()
    """Folders that paths in specs must be below; empty to allow any path."""
    data_stores: tuple[str, ...] = ()
    """URIs that data sets on a shared store must be below, if there are data roots."""
    cache_folder: Path = CACHE_FOLDER
    """Folder on each worker that data sets of a shared store are copied to."""
    requests_per_minute: int = 3000
    private_webhooks: bool = False
    """Whether webhooks may call addresses that are not public."""

    @classmethod
    def of(cls, settings: Settings) -> "Rules":
        """Return the rules that the settings define.

        Raises:
            InvalidValueError: The settings would give everybody access.
        """
        settings.check_access()
        return cls(
            tokens_needed=settings.auth,
            data_roots=settings.roots,
            data_stores=settings.stores,
            cache_folder=settings.cache_folder,
            requests_per_minute=settings.requests_per_minute,
            private_webhooks=settings.webhook_private_networks,
        )


WITHOUT_TOKENS = Rules()


@dataclass(frozen=True, slots=True)
class Caller:
    """The caller of a request."""

    name: str | None
    """Name of the token; None without authentication."""
    role: Role


class Gate:
    """ASGI middleware that admits or refuses a request, and passes its caller to the app."""

    def __init__(self, app: ASGIApp, database: Database, rules: Rules) -> None:
        self._app, self._database, self._rules = app, database, rules
        self._rate = RateLimitItemPerMinute(rules.requests_per_minute)
        self._limiter = SlidingWindowCounterRateLimiter(MemoryStorage())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan" and scope["path"] not in OPEN_PATHS:
            try:
                caller = await self._admit(HTTPConnection(scope))
            except Refused as refusal:
                await refusal.response()(scope, receive, send)
                return
            except DATABASE_AWAY as error:  # the app's handlers are further in
                await database_away(error)(scope, receive, send)
                return
            scope.setdefault("state", {})["caller"] = caller
        await self._app(scope, receive, send)

    async def _admit(self, call: HTTPConnection) -> Caller:
        if not self._rules.tokens_needed:
            _check_same_site(call)
            self._count("address", _address(call))
            return Caller(None, Role.ADMIN)
        secret = _secret(call)
        caller = await run_in_threadpool(self._authenticate, secret) if secret else None
        if caller is None:
            self._count("address", _address(call))
            raise _unknown(token_given=secret is not None)
        self._count("token", str(caller.name))
        check_role(caller, Role.READ if call.scope.get("method") in _SAFE_METHODS else Role.SUBMIT)
        return caller

    def _authenticate(self, secret: str) -> Caller | None:
        with self._database.read() as session:
            token = tokens.recognise(session, secret)
        if token is None:
            return None
        if tokens.use_is_news(token, at := now()):
            with self._database.write() as session:
                tokens.record_use(session, token.name, at)
        return Caller(token.name, token.role)

    def _count(self, kind: str, who: str) -> None:
        if self._limiter.hit(self._rate, kind, who):
            return
        free_at = self._limiter.get_window_stats(self._rate, kind, who).reset_time
        wait_s = max(1, math.ceil(free_at - time.time()))
        raise Refused(
            HTTPStatus.TOO_MANY_REQUESTS,
            "rate-limit",
            f"more than {self._rules.requests_per_minute} requests per minute by this {kind}; "
            f"retry in {wait_s} s (the operator sets SEARCHD_REQUESTS_PER_MINUTE)",
            {"Retry-After": str(wait_s)},
        )


def check_role(caller: Caller, needed: Role) -> None:
    """Check that the caller's role includes the needed one.

    Raises:
        Refused: The caller's role does not include the needed one.
    """
    if not caller.role.includes(needed):
        raise _forbidden(
            needed, f"token {caller.name!r} has role {caller.role}; this call needs {needed}"
        )


def check_owner(caller: Caller, resource: AnyResource | WebhookRow) -> None:
    """Check that the caller may change the resource.

    Raises:
        Refused: The caller neither owns the resource nor is an admin.
    """
    if caller.role is not Role.ADMIN and resource.owner != caller.name:
        raise _forbidden(
            Role.ADMIN,
            f"{resource.name} belongs to {resource.owner or 'nobody'}; token {caller.name!r} with "
            f"role {caller.role} may only change its own resources, role {Role.ADMIN} all",
        )


def _caller(request: Request) -> Caller:
    caller: Caller = request.state.caller
    return caller


CallerDep = Annotated[Caller, Depends(_caller)]


def _secret(call: HTTPConnection) -> str | None:
    scheme, _, secret = call.headers.get("Authorization", "").partition(" ")
    return secret.strip() if scheme.lower() == "bearer" else None


def _address(call: HTTPConnection) -> str:
    return call.client.host if call.client else "unknown"


def _check_same_site(call: HTTPConnection) -> None:
    host = call.headers.get("Host", "")
    origin = call.headers.get("Origin")
    if not is_loopback(_hostname(host)):
        reason = f"Host {host!r} is not this machine"
    elif origin is not None and origin.partition("://")[2] != host:
        reason = f"Origin {origin!r} is not {host!r}"
    else:
        return
    raise Refused(
        HTTPStatus.FORBIDDEN,
        "cross-site",
        f"{reason}; without authentication searchd answers requests from this machine only, see "
        "SEARCHD_AUTH",
    )


def _hostname(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:  # brackets that hold no IPv6 address
        return ""


def _unknown(*, token_given: bool) -> Refused:
    if token_given:
        detail, error = "this token is unknown or was revoked", ', error="invalid_token"'
    else:
        detail, error = "this call needs a token, as Authorization: Bearer TOKEN", ""
    return Refused(
        HTTPStatus.UNAUTHORIZED,
        "unauthenticated",
        f"{detail}; the operator creates one with `searchd token create`, clients take it from "
        "SEARCHD_TOKEN",
        {"WWW-Authenticate": f'Bearer realm="searchd"{error}'},
    )


def _forbidden(needed: Role, detail: str) -> Refused:
    challenge = f'Bearer realm="searchd", error="insufficient_scope", scope="{needed}"'
    return Refused(HTTPStatus.FORBIDDEN, "forbidden", detail, {"WWW-Authenticate": challenge})
