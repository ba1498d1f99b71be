"""Metrics: what /metrics shows of requests, of work and of trials."""

from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import event

from api.metrics import ServiceMetrics
from searchd.domain.lifecycle import FailureCause
from searchd.store import Database, Role
from searchd.store.base import now
from searchd.store.resources import tokens
from searchd.store.runs import reports, trials
from searchd.store.work import queue
from tests.api.service import Service
from tests.api.test_auth import App
from tests.searchd.driver.bookkeeping import failed
from tests.searchd.store.factories import (
    add_search,
    base_proposal,
    run_trial,
    scores_of,
    search_proposal,
    start_search,
    succeeded,
)

Samples = dict[tuple[str, ...], float]


def scraped(text: str) -> Samples:
    """Every sample by its name and the values of its labels, in the order of their names."""
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


@pytest.fixture
def scrape(service: Service) -> "Scrape":
    return Scrape(service)


class Scrape:
    """Scrapes the service."""

    def __init__(self, service: Service) -> None:
        self._url = f"{service.url}/metrics"

    def __call__(self) -> Samples:
        response = httpx.get(self._url)
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/plain; version=")
        return scraped(response.text)


def test_requests_are_counted_by_route_and_status_and_timed(
    http: httpx.Client, scrape: Scrape
) -> None:
    route = "/searches/{search}"
    before = scrape()
    for name in ("missing", "missing-too"):
        assert http.get(f"/searches/{name}").status_code == 404
    assert http.get("/nowhere").status_code == 404

    after = scrape()

    def increase(*key: str) -> float:
        return after[key] - before.get(key, 0)

    assert increase("searchd_http_requests_total", "GET", route, "404") == 2
    assert increase("searchd_http_requests_total", "GET", "other", "404") == 1
    assert increase("searchd_http_request_seconds_count", "GET", route) == 2
    assert not any("missing" in value for key in after for value in key)


def test_work_is_counted_by_kind_and_status(database: Database, scrape: Scrape) -> None:
    _, lease = start_search(database)
    add_search(database, "second")

    found = scrape()

    assert found["searchd_work", "search", "leased"] == 1
    assert found["searchd_work", "search", "queued"] == 1
    assert found["searchd_work", "pool", "paused"] == 0
    assert found[("searchd_leases",)] == 1
    assert found[("searchd_leases_overdue",)] == 0
    assert found["searchd_leases_granted_total", "search"] == 1
    assert found["searchd_work_ended_total", "dataset_check", "done"] == 1
    assert found["searchd_queue_wait_seconds_count", "search"] == 1

    with database.write() as session:
        queue.requeue(session, lease, "its driver died", delay_s=0, now=now())

    assert scrape()["searchd_work_requeues_total", "search"] == 1


def test_a_lease_without_heartbeat_is_overdue_and_waiting_work_grows_old(
    database: Database, scrape: Scrape
) -> None:
    _, lease = start_search(database)
    add_search(database, "second")
    with database.write() as session:
        queue.extend(session, lease, lease_s=0, now=now() - timedelta(seconds=1))

    found = scrape()

    assert found[("searchd_leases_overdue",)] == 1
    assert 0 < found[("searchd_oldest_queued_seconds",)] < 60


def test_trials_are_counted_by_outcome_with_the_seconds_of_their_workers(
    database: Database, scrape: Scrape
) -> None:
    _, lease = start_search(database)
    with database.write() as session:
        trials.add(session, lease, base_proposal())
        trials.start(session, lease, "base")
    assert scrape()["searchd_trials", "running"] == 1
    report = succeeded("base")
    with database.write() as session:
        reports.record(session, lease, report, scores_of(report), busy_s=42.0)
    run_trial(database, lease, search_proposal(1), failed("1", FailureCause.BUG))

    found = scrape()

    assert found["searchd_trials", "running"] == 0
    assert found[("searchd_trial_starts_total",)] == 2
    assert found["searchd_trials_ended_total", "succeeded"] == 1
    assert found["searchd_trials_ended_total", "failed"] == 1
    assert found["searchd_trials_ended_total", "cancelled"] == 0
    assert found["searchd_trial_seconds_sum", "succeeded"] == 42.0
    assert found["searchd_trial_seconds_bucket", "15.0", "succeeded"] == 0
    assert found["searchd_trial_seconds_bucket", "60.0", "succeeded"] == 1
    assert found["searchd_trial_seconds_bucket", "+Inf", "succeeded"] == 1


def test_metrics_need_no_token_and_name_no_search(tmp_path: Path, database: Database) -> None:
    start_search(database, "secret-project")
    with database.write() as session:
        tokens.create(session, "ada", Role.ADMIN)

    response = App.on(database, tokens_needed=True, data_roots=(tmp_path,)).get("/metrics")

    assert response.status_code == 200
    assert "searchd_leases 1.0" in response.text
    assert not any(word in response.text for word in ("secret-project", "shapes", "ada"))


def test_without_a_database_the_metrics_say_so(tmp_path: Path) -> None:
    (tmp_path / "searchd.sqlite").write_bytes(b"this is no database" * 100)
    database = Database(f"sqlite:///{tmp_path / 'searchd.sqlite'}")

    text = App.on(database).get("/metrics").text

    database.close()
    assert scraped(text)[("searchd_database_up",)] == 0
    assert "searchd_trials_ended_total" not in text


def test_a_scrape_reads_no_more_when_more_has_ended(database: Database) -> None:
    statements: list[str] = []
    event.listen(database.engine, "before_cursor_execute", lambda *args: statements.append(args[2]))
    list(ServiceMetrics(database).collect())
    queries = [each for each in statements if each.startswith("SELECT")]

    with database.engine.connect() as connection:
        plans = [
            row[3]
            for query in queries
            for row in connection.exec_driver_sql(
                f"EXPLAIN QUERY PLAN {query}", ("running",) * query.count("?")
            )
        ]

    assert len(queries) == 6
    assert [plan for plan in plans if plan.startswith("SCAN")] == ["SCAN counters"]
    assert sorted(set(plans) - {"SCAN counters", "USE TEMP B-TREE FOR GROUP BY"}) == [
        "SEARCH trials USING COVERING INDEX ix_trials_status (status=?)",
        "SEARCH webhook_deliveries USING COVERING INDEX ix_webhook_deliveries_status (status=?)",
        "SEARCH work USING INDEX ix_work_status (status=?)",
    ]
