"""While the database is unavailable, calls are refused with the time after which to retry."""

import asyncio

import httpx
import pytest

from api.app import create_app
from api.auth import Rules
from searchd.store import Database

NOWHERE = "postgresql+psycopg://searchd@127.0.0.1:1/searchd"
CALLS = [
    ("GET", "/api/v1/searches"),
    ("POST", "/api/v1/searches/first/cancel"),
    ("GET", "/api/v1/searches/first/events"),
]


async def _call(tokens_needed: bool) -> list[httpx.Response]:
    database = Database(NOWHERE)
    app = create_app(database, Rules(tokens_needed=tokens_needed))
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app),
        base_url="http://127.0.0.1",
        headers={"Authorization": "Bearer searchd_x"},
    ) as http:
        answers = [await http.request(*call) for call in CALLS]
    database.close()
    return answers


@pytest.mark.parametrize("tokens_needed", [False, True])
def test_every_call_says_when_to_retry(tokens_needed: bool) -> None:
    for answer in asyncio.run(_call(tokens_needed)):
        assert answer.status_code == 503
        assert answer.headers["Retry-After"] == "5"
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert answer.json()["type"] == "urn:searchd:problem:database-unavailable"
