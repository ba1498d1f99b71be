"""The thread that keeps a driver's lease."""

import pytest

from searchd.domain.lifecycle import WorkStatus
from searchd.driver.lease_heartbeat import LeaseHeartbeat
from searchd.store import Database, Lease
from searchd.store.base import now
from searchd.store.resources import datasets
from searchd.store.work import queue, requests
from tests.searchd.store import factories


@pytest.fixture
def lost() -> list[str]:
    """Grows when the heartbeat finds its lease lost."""
    return []


@pytest.fixture
def lease(sqlite: Database) -> Lease:
    search = factories.add_search(sqlite)
    with factories.leased(sqlite, f"search-{search.id}") as (_, lease):
        return lease


@pytest.fixture
def heartbeat(sqlite: Database, lease: Lease, lost: list[str]) -> LeaseHeartbeat:
    return LeaseHeartbeat(sqlite, lease, lease_s=3600, on_lost=lambda: lost.append("lost"))


def test_beat_extends_the_lease(
    sqlite: Database, lease: Lease, heartbeat: LeaseHeartbeat, lost: list[str]
) -> None:
    heartbeat.beat()

    with sqlite.read() as session:
        expires_at = queue.get(session, lease.work_id).lease_expires_at
    assert expires_at is not None
    assert 3500 < (expires_at - now()).total_seconds() <= 3600
    assert lost == []


def test_driver_ends_when_its_work_was_requeued(
    sqlite: Database, lease: Lease, heartbeat: LeaseHeartbeat, lost: list[str]
) -> None:
    with sqlite.write() as session:
        queue.requeue(session, lease, "no sign of life", delay_s=0, now=now())

    heartbeat.beat()

    assert lost == ["lost"]


def test_driver_ends_when_a_later_lease_was_granted(
    sqlite: Database, lease: Lease, heartbeat: LeaseHeartbeat, lost: list[str]
) -> None:
    with sqlite.write() as session:
        queue.requeue(session, lease, "no sign of life", delay_s=0, now=now())
    with factories.leased(sqlite, lease.work_id):
        pass

    heartbeat.beat()

    assert lost == ["lost"]


def test_lease_is_not_lost_when_the_driver_has_just_finished(
    sqlite: Database, lost: list[str]
) -> None:
    dataset = factories.add_dataset(sqlite, ready=False)
    with factories.leased(sqlite, f"dataset_check-{dataset}") as (session, lease):
        datasets.record_ready(session, lease, {"class_names": ["a"]})
    heartbeat = LeaseHeartbeat(sqlite, lease, lease_s=60, on_lost=lambda: lost.append("lost"))

    heartbeat.beat()

    with sqlite.read() as session:
        assert queue.get(session, lease.work_id).status is WorkStatus.DONE
    assert lost == []


def test_stopping_is_set_when_a_user_asks(
    sqlite: Database, lease: Lease, heartbeat: LeaseHeartbeat
) -> None:
    heartbeat.beat()
    assert not heartbeat.stopping.is_set()

    with sqlite.write() as session:
        requests.ask_to_cancel(session, queue.get(session, lease.work_id).resource_id)
    heartbeat.beat()

    assert heartbeat.stopping.is_set()


def test_a_wish_to_cancel_that_is_older_than_the_driver_is_known_from_the_start(
    sqlite: Database, lease: Lease, heartbeat: LeaseHeartbeat
) -> None:
    with sqlite.write() as session:
        requests.ask_to_cancel(session, queue.get(session, lease.work_id).resource_id)

    with heartbeat:
        assert heartbeat.stopping.is_set()
