"""Clients that submit, read and cancel searches without pause, and record the responses."""

import asyncio
import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx

DATASET, POOL = "load", "load"
TIMEOUT_S = 60.0


@dataclass(slots=True)
class Promises:
    """What the responses to all clients together promised.

    Attributes:
        samples: Kind of request, status of the response and seconds, for each request.
        submitted: Name of each search whose submission was accepted, by id.
        cancelled: Ids of searches whose cancellation was accepted.
        refused: Ids of searches whose cancellation was refused, since they had ended.
        broken: Wrong responses, in words.
    """

    samples: list[tuple[str, int, float]] = field(default_factory=list)
    submitted: dict[str, str] = field(default_factory=dict)
    cancelled: set[str] = field(default_factory=set)
    refused: set[str] = field(default_factory=set)
    broken: list[str] = field(default_factory=list)


class LoadClient:
    """One user with its own token.

    Args:
        http: HTTP client that all users share; its base URL ends with /api/v1.
        number: Number of the user; each starts at another step of the same sequence.
        name: Name of the token.
        secret: The token.
        promises: Record of the responses.
    """

    def __init__(
        self, http: httpx.AsyncClient, number: int, name: str, secret: str, promises: Promises
    ) -> None:
        self._http = http
        self._number = number
        self._name = name
        self._headers = {"Authorization": f"Bearer {secret}"}
        self._promises = promises
        self._own: list[str] = []

    async def work(self, deadline: float, others: "list[LoadClient]") -> None:
        """Submit one search after another until time.monotonic() exceeds the deadline."""
        for number in itertools.count(self._number):
            if time.monotonic() > deadline:
                return
            search_id = await self._submit(f"{self._name}-{number}", twice=number % 10 == 9)
            await self._read(search_id)
            if number % 3 == 2:
                await self._misuse(number // 3, others)
            if number % 5 != 4:
                await self._cancel(search_id, times=3 if number % 4 == 3 else 1)
            await self._read(search_id)

    async def _submit(self, name: str, *, twice: bool) -> str:
        """Submit a search and return its id; twice at once if `twice`, like an impatient client."""
        call = {"json": _spec(name), "headers": {"Idempotency-Key": name}}
        names = ["submit", "submit again"] if twice else ["submit"]
        answers = await asyncio.gather(
            *[self._ask(what, {201}, "POST", "/searches", **call) for what in names]
        )
        ids = {answer.json()["id"] for answer in answers}
        if len(ids) != 1:
            self._promises.broken.append(f"one key, two searches: {ids}")
        self._promises.submitted |= dict.fromkeys(ids, name)
        self._own += ids
        return min(ids)

    async def _read(self, search_id: str) -> None:
        found = (await self._ask("read", {200}, "GET", f"/searches/{search_id}")).json()
        if found["owner"] != self._name:
            self._promises.broken.append(f"{search_id} of {self._name} is {found['owner']}'s")
        if search_id in self._promises.cancelled and found["desired"] != "cancel":
            self._promises.broken.append(f"{search_id}: a request to cancel was lost")
        await self._ask("list", {200}, "GET", "/searches?page_size=20")
        await self._ask("list trials", {200}, "GET", f"/searches/{search_id}/trials")

    async def _cancel(self, search_id: str, *, times: int) -> None:
        path = f"/searches/{search_id}/cancel"
        answers = await asyncio.gather(
            *[self._ask("cancel", {202, 409}, "POST", path) for _ in range(times)]
        )
        accepted = any(answer.status_code == 202 for answer in answers)
        (self._promises.cancelled if accepted else self._promises.refused).add(search_id)

    async def _misuse(self, number: int, others: "list[LoadClient]") -> None:
        """Send a request that must be refused."""
        other = others[number % len(others)]
        kinds = ["unknown", "illegal", "name taken"]
        if other is not self and other._own:
            kinds.append("other's")
        match kinds[number % len(kinds)]:
            case "unknown":
                await self._ask("read nothing", {404}, "GET", "/searches/s-none")
            case "illegal":
                spec = _spec("x") | {"surprise": 1}
                await self._ask("submit nonsense", {422}, "POST", "/searches", json=spec)
            case "name taken":
                name = self._promises.submitted[self._own[-1]]
                await self._ask("submit taken name", {409}, "POST", "/searches", json=_spec(name))
            case _:
                path = f"/searches/{other._own[-1]}/cancel"
                await self._ask("cancel other's", {403}, "POST", path)

    async def _ask(
        self, what: str, expected: set[int], method: str, path: str, **call: Any
    ) -> httpx.Response:
        call["headers"] = self._headers | call.get("headers", {})
        start = time.perf_counter()
        answer = await self._http.request(method, path, **call)
        self._promises.samples.append((what, answer.status_code, time.perf_counter() - start))
        if answer.status_code not in expected:
            raise UnexpectedAnswerError(f"{what}: {answer.status_code} {answer.text[:500]}")
        return answer


class UnexpectedAnswerError(Exception):
    """The service sent a response with a wrong status."""


def _spec(name: str) -> dict[str, Any]:
    return {"name": name, "dataset": DATASET, "pool": POOL}


async def run(address: str, secrets: dict[str, str], seconds: float) -> tuple[Promises, float]:
    """Run one client per token for a number of seconds.

    Returns:
        The record of the responses, and the seconds until the last response.
    """
    promises = Promises()
    limits = httpx.Limits(max_connections=2 * len(secrets))
    async with httpx.AsyncClient(
        base_url=f"{address}/api/v1", limits=limits, timeout=TIMEOUT_S, trust_env=False
    ) as http:
        clients = [
            LoadClient(http, number, name, secret, promises)
            for number, (name, secret) in enumerate(secrets.items())
        ]
        start = time.monotonic()
        ended = await asyncio.gather(
            *[client.work(start + seconds, clients) for client in clients], return_exceptions=True
        )
        took_s = time.monotonic() - start
    promises.broken += _failures(ended)
    return promises, took_s


def _failures(ended: list[BaseException | None]) -> Iterator[str]:
    for error in ended:
        if error is not None:
            yield f"{type(error).__name__}: {error}"
