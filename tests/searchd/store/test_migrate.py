"""Migrations make exactly the tables of the models."""

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import inspect, text

from searchd.store import Database, DesiredBy, downgrade, upgrade
from searchd.store.base import Base
from searchd.store.resources import searches
from searchd.store.runs import trials
from searchd.store.work import queue
from tests.searchd.store.factories import base_proposal, run_trial, start_search, succeeded

TABLES = {
    "adaptation_costs",
    "artifacts",
    "breakdowns",
    "counters",
    "datasets",
    "devices",
    "epoch_metrics",
    "evaluations",
    "events",
    "exports",
    "front_points",
    "pools",
    "searches",
    "sinks",
    "split_evaluations",
    "subnet_evaluations",
    "teachers",
    "tokens",
    "trials",
    "webhook_deliveries",
    "webhooks",
    "work",
}


def test_migrations_make_the_tables_of_the_models(database: Database) -> None:
    with database.connect() as connection:
        context = MigrationContext.configure(connection)
        assert compare_metadata(context, Base.metadata) == []


def test_upgrade_makes_every_table_and_downgrade_removes_them(url: str) -> None:
    upgrade(url)
    upgrade(url)  # up to date: does nothing
    opened = Database(url)
    assert set(inspect(opened.engine).get_table_names()) == TABLES | {"alembic_version"}
    downgrade(url, "base")
    assert set(inspect(opened.engine).get_table_names()) == {"alembic_version"}
    opened.close()


REVISIONS = [f"{number:04}" for number in range(1, 10)]


@pytest.mark.parametrize("revision", REVISIONS)
def test_downgrade_and_upgrade_keep_what_is_stored(url: str, revision: str) -> None:
    upgrade(url)
    before = Database(url)
    search, lease = start_search(before)
    run_trial(before, lease, base_proposal(), succeeded("base", ap=0.625))
    before.close()

    downgrade(url, revision)
    upgrade(url)

    after = Database(url)
    with after.read() as session:
        assert trials.get(session, f"{search.id}-base").score == 0.625
        assert searches.get(session, search.id).spec == search.spec
    after.close()


@pytest.mark.parametrize(
    ("desired", "reason", "expected"),
    [
        (
            "pause",
            "stopped for want of disk space; goes on by itself when ...",
            DesiredBy.DISK_GUARD,
        ),
        ("pause", "a user asked to pause", DesiredBy.USER),
        ("run", "leased to coordinator", DesiredBy.USER),
    ],
)
def test_what_the_disk_guard_was_pausing_during_an_upgrade_still_resumes(
    url: str, desired: str, reason: str, expected: DesiredBy
) -> None:
    upgrade(url)
    opened = Database(url)
    _, lease = start_search(opened)
    downgrade(url, "0005")
    with opened.connect() as connection:
        connection.execute(
            text("UPDATE work SET desired = :desired, status_reason = :reason WHERE id = :id"),
            {"desired": desired, "reason": reason, "id": lease.work_id},
        )

    upgrade(url)

    with opened.read() as session:
        work = queue.get(session, lease.work_id)
    assert work.desired == desired
    assert work.desired_by is expected
    opened.close()
