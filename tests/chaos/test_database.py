"""The fault matrix for the database: a PostgreSQL server is stopped and started."""

import time
from collections.abc import Iterator

import httpx
import pytest

from tests.chaos.postgresql import Server, running_server
from tests.chaos.recovery import recovered
from tests.chaos.site import Site, running_site

pytestmark = [pytest.mark.chaos, pytest.mark.e2e, pytest.mark.timeout(600)]

OUTAGE_S = 10.0


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with running_server() as server:
        yield server


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, server: Server) -> Iterator[Site]:
    environment = {"SEARCHD_DATABASE_URL": server.url}
    with running_site(tmp_path_factory.mktemp("chaos"), environment=environment) as site:
        site.add_teachers()
        yield site


def test_search_survives_a_database_outage_shorter_than_a_lease(site: Site, server: Server) -> None:
    search = site.submit_busy("database-away")
    before, (driver,) = site.finished(search), site.drivers(search)

    server.stop()
    site.release(search)
    time.sleep(OUTAGE_S)
    server.start()

    took_s = site.wait_until(lambda: len(site.finished(search)) > len(before) + 1)
    recovered(f"PostgreSQL away for {OUTAGE_S:.0f} s", "results come in", took_s, bound_s=10)
    assert site.client.is_ready()
    assert driver.is_running()
    site.check_end(search, before)


def test_search_survives_a_database_outage_of_30_s(site: Site, server: Server) -> None:
    search = site.submit_busy("database-away-30-s")
    before = site.finished(search)

    server.stop()
    site.release(search)
    answer = httpx.get(f"{site.url}/api/v1/searches", timeout=5)
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
    time.sleep(30)
    server.start()

    took_s = site.wait_until(site.client.is_ready)
    recovered("PostgreSQL away for 30 s", "the API is ready", took_s, bound_s=10)
    took_s += site.wait_until(lambda: len(site.finished(search)) > len(before) + 1)
    recovered("PostgreSQL away for 30 s", "results come in", took_s, bound_s=30)
    site.check_end(search, before)
