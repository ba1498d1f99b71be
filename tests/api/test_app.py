"""Health, the web page, the description, and errors nobody expected."""

import hashlib
from pathlib import Path

import anyio
import httpx
import pytest

from api.app import create_app
from api.client import Client
from searchd.store import Database, downgrade, upgrade
from tests.api.service import Service


def test_a_running_service_is_alive_and_ready(service: Service, client: Client) -> None:
    assert httpx.get(f"{service.url}/healthz").json() == {"status": "ok", "instance": ""}
    assert httpx.get(f"{service.url}/readyz").json() == {"status": "ok"}
    assert client.is_ready()


def _get(database: Database, path: str) -> httpx.Response:
    """Ask an app of its own, without a socket."""
    transport = httpx.ASGITransport(create_app(database), raise_app_exceptions=False)

    async def ask() -> httpx.Response:
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as http:
            return await http.get(path)

    return anyio.run(ask)


def test_a_service_on_other_tables_is_not_ready(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'searchd.sqlite'}"
    upgrade(url)
    downgrade(url, "base")
    database = Database(url)
    response = _get(database, "/readyz")
    database.close()
    assert response.status_code == 503
    assert "the schema of the database is not that of this version" in response.json()["detail"]


def test_a_service_without_a_database_is_not_ready(tmp_path: Path) -> None:
    (tmp_path / "searchd.sqlite").write_bytes(b"this is no database" * 100)
    database = Database(f"sqlite:///{tmp_path / 'searchd.sqlite'}")
    response = _get(database, "/readyz")
    database.close()
    assert response.status_code == 503
    assert response.json()["detail"] == "the database is unavailable: DatabaseError"


def test_an_unexpected_error_is_a_problem_without_its_secrets(tmp_path: Path) -> None:
    (tmp_path / "searchd.sqlite").write_bytes(b"this is no database" * 100)
    database = Database(f"sqlite:///{tmp_path / 'searchd.sqlite'}")
    response = _get(database, "/api/v1/datasets")
    database.close()
    assert response.status_code == 500
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json() == {
        "type": "urn:searchd:problem:internal",
        "title": "Internal",
        "status": 500,
        "detail": "internal error; see the log of the API",
        "errors": [],
    }


@pytest.mark.parametrize("file", ["", "app.js", "style.css", "pages/search.js", "charts/plot.js"])
def test_the_web_page_needs_nothing_from_elsewhere(service: Service, file: str) -> None:
    response = httpx.get(f"{service.url}/{file}")
    assert response.status_code == 200
    text = response.text.replace("http://www.w3.org/2000/svg", "")  # a name, never fetched
    assert "http://" not in text
    assert "https://" not in text


@pytest.mark.parametrize("file", ["", "index.html", "main.js"])
def test_a_browser_may_run_only_what_this_service_serves(service: Service, file: str) -> None:
    headers = httpx.get(f"{service.url}/{file}").headers
    policy = dict(each.split(" ", 1) for each in headers["content-security-policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["connect-src"] == policy["style-src"] == "'self'"
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"


def test_the_libraries_of_the_page_are_those_that_were_published(service: Service) -> None:
    libraries = httpx.get(f"{service.url}/vendor/versions.json").json()
    assert {each["package"] for each in libraries.values()} == {"preact", "htm", "uplot", "js-yaml"}
    for file, library in libraries.items():
        content = httpx.get(f"{service.url}/vendor/{file}").content
        assert hashlib.sha256(content).hexdigest() == library["sha256"], file
        assert httpx.get(f"{service.url}/vendor/LICENSE-{library['package']}.txt").is_success


@pytest.mark.timeout(60)  # the description is built when it is first asked for
def test_the_description_lists_the_calls_and_how_they_fail(service: Service) -> None:
    paths = httpx.get(f"{service.url}/openapi.json", timeout=60).json()["paths"]
    assert set(paths["/api/v1/searches"]) == {"get", "post"}
    responses = paths["/api/v1/searches/{reference}/cancel"]["post"]["responses"]
    assert set(responses) == {"202", "400", "401", "403", "404", "409", "413", "422", "429", "503"}
    assert set(responses["409"]["content"]) == {"application/problem+json"}
    assert "application/problem+json" in responses["409"]["content"]
