"""Leases: one driver at a time, and a driver that lost its lease writes nothing."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy.orm import Session

from searchd.domain.errors import ConflictError, NotFoundError, StaleLeaseError
from searchd.domain.lifecycle import (
    DatasetStatus,
    PoolStatus,
    SearchStatus,
    TrialStatus,
    WorkKind,
    WorkStatus,
)
from searchd.store import Database, Desired, Lease, events
from searchd.store.resources import datasets, pools, searches
from searchd.store.runs import reports, trials
from searchd.store.work import queue, requests
from tests.searchd.store.factories import (
    add_dataset,
    add_pool,
    add_search,
    base_proposal,
    progress,
    refused,
    search_proposal,
    start_search,
    succeeded,
)


def _now() -> datetime:
    return datetime.now(UTC)


def test_a_new_resource_comes_with_its_queued_work(database: Database) -> None:
    dataset_id = add_dataset(database, ready=False)
    with database.read() as session:
        (queued,) = queue.queued(session, now=_now())
        assert queued.id == f"dataset_check-{dataset_id}"
        assert queued.kind is WorkKind.DATASET_CHECK
        assert queue.resource(session, queued).name == "shapes"
        assert queue.of_resource(session, dataset_id).id == queued.id


def test_lease_is_granted_once_and_numbered(database: Database) -> None:
    search = add_search(database)
    now = _now()
    with database.write() as session:
        work_id = queue.of_resource(session, search.id).id
        granted = queue.lease(session, work_id, owner="me", lease_s=30, now=now)
        again = queue.lease(session, work_id, owner="you", lease_s=30, now=now)
    assert granted == Lease(f"search-{search.id}", 1)
    assert again is None
    with database.read() as session:
        row = queue.get(session, work_id)
        assert (row.status, row.owner, row.attempts) == (WorkStatus.LEASED, "me", 1)
        assert row.lease_expires_at == now + timedelta(seconds=30)
        assert [w.id for w in queue.leased(session)] == [work_id]


def test_lease_expires_unless_it_is_extended(database: Database) -> None:
    _, lease = start_search(database)
    now = _now()
    with database.write() as session:
        assert queue.extend(session, lease, lease_s=100, now=now)
    with database.read() as session:
        row = queue.get(session, lease.work_id)
        assert row.lease_expires_at == now + timedelta(seconds=100)


def test_requeued_work_waits_for_its_back_off(database: Database) -> None:
    _, lease = start_search(database)
    now = _now()
    with database.write() as session:
        queue.requeue(session, lease, "driver died", delay_s=10, now=now)
    with database.write() as session:
        assert queue.queued(session, now=now + timedelta(seconds=9)) == []
        early = now + timedelta(seconds=9)
        assert queue.lease(session, lease.work_id, owner="x", lease_s=9, now=early) is None
        later = now + timedelta(seconds=10)
        granted = queue.lease(session, lease.work_id, owner="x", lease_s=9, now=later)
        assert granted == Lease(lease.work_id, 2)
        assert queue.get(session, lease.work_id).attempts == 2


def test_every_write_of_a_driver_is_refused_when_its_lease_is_lost(database: Database) -> None:
    _, lease = start_search(database)
    with database.write() as session:
        trials.add(session, lease, base_proposal())
        trials.start(session, lease, "base")
        queue.requeue(session, lease, "no sign of life", delay_s=0, now=_now())
    writes: list[Callable[[Session], object]] = [
        lambda s: trials.add(s, lease, search_proposal(0)),
        lambda s: trials.start(s, lease, "base"),
        lambda s: trials.requeue_trial(s, lease, "base", "lost"),
        lambda s: trials.record_progress(s, lease, progress("base")),
        lambda s: reports.record(s, lease, succeeded("base"), {}),
        lambda s: queue.advance(s, lease, SearchStatus.RUNNING, "on"),
        lambda s: queue.finish(s, lease, SearchStatus.SUCCEEDED, "done"),
        lambda s: queue.requeue(s, lease, "again", delay_s=0, now=_now()),
        lambda s: queue.reset_attempts(s, lease),
    ]
    for write in writes:
        with refused(database, StaleLeaseError, "lease 1 on") as session:
            write(session)
    with database.write() as session:
        assert not queue.extend(session, lease, lease_s=60, now=_now())
        assert queue.lease(session, lease.work_id, owner="new", lease_s=60, now=_now())
    with refused(database, StaleLeaseError, "lease 2 was granted") as session:
        reports.record(session, lease, succeeded("base"), {})
    with database.read() as session:
        assert trials.get(session, f"{lease.work_id[7:]}-base").status is TrialStatus.RUNNING


def test_advance_does_nothing_when_an_earlier_driver_got_so_far(database: Database) -> None:
    search, lease = start_search(database)
    with database.write() as session:
        before = len(events.after(session, search.id))
        queue.advance(session, lease, SearchStatus.RUNNING, "again")
        assert len(events.after(session, search.id)) == before


def test_finish_ends_the_resource_its_trials_and_the_work(database: Database) -> None:
    search, lease = start_search(database)
    with database.write() as session:
        trials.add(session, lease, base_proposal())
        queue.finish(session, lease, SearchStatus.SUCCEEDED, "budget: 1 trial")
    with database.read() as session:
        row = searches.get(session, search.id)
        assert (row.status, row.status_reason) == (SearchStatus.SUCCEEDED, "budget: 1 trial")
        assert row.started_at is not None
        assert row.finished_at is not None
        assert trials.get(session, f"{search.id}-base").status is TrialStatus.CANCELLED
        assert queue.get(session, lease.work_id).status is WorkStatus.DONE


def test_give_up_fails_resource_and_work_and_says_why(database: Database) -> None:
    search, lease = start_search(database)
    with database.write() as session:
        queue.give_up(session, lease, "the driver crashed 5 times")
    with database.read() as session:
        row = searches.get(session, search.id)
        assert (row.status, row.status_reason) == (
            SearchStatus.FAILED,
            "the driver crashed 5 times",
        )
        assert queue.get(session, lease.work_id).status is WorkStatus.FAILED


def test_give_up_works_on_queued_work_and_not_on_a_later_lease(database: Database) -> None:
    search = add_search(database)
    with database.write() as session:
        queued = queue.of_resource(session, search.id)
        queue.give_up(session, queue.lease_of(queued), "no node has 8 GPUs")
        assert searches.get(session, search.id).status is SearchStatus.FAILED
    other = add_search(database, "second")
    with database.write() as session:
        seen = queue.lease_of(queue.of_resource(session, other.id))
        queue.lease(session, seen.work_id, owner="driver", lease_s=60, now=_now())
    with pytest.raises(StaleLeaseError), database.write() as session:
        queue.give_up(session, seen, "too late")


def test_cancelling_queued_work_ends_it_without_a_driver(database: Database) -> None:
    search = add_search(database)
    with database.write() as session:
        asked = requests.ask_to_cancel(session, search.id)
        assert asked.desired is Desired.CANCEL
        requests.ask_to_cancel(session, search.id)  # twice is once
    with database.read() as session:
        assert searches.get(session, search.id).status is SearchStatus.CANCELLED
        found = [(e.status, e.message) for e in events.after(session, search.id)]
    assert found == [("queued", "waits for admission"), ("cancelled", "cancelled by a user")]


def test_cancelling_after_a_crash_passes_cancelling(database: Database) -> None:
    search, lease = start_search(database)
    with database.write() as session:
        requests.ask_to_cancel(session, search.id)
        queue.requeue(session, lease, "driver died", delay_s=0, now=_now())
    with database.read() as session:
        statuses = [e.status for e in events.after(session, search.id) if e.subject == search.id]
    assert statuses == [
        *("queued", "queued", "preparing", "running", "running", "cancelling", "cancelled")
    ]


def test_driver_of_a_pool_cancels_it(database: Database) -> None:
    add_dataset(database)
    pool_id = add_pool(database, ready=False)
    with database.write() as session:
        lease = queue.lease(session, f"pool-{pool_id}", owner="x", lease_s=9, now=_now())
        assert lease is not None
        queue.advance(session, lease, PoolStatus.TRAINING, "started")
        queue.finish(session, lease, PoolStatus.CANCELLED, "a user asked to cancel")
    with database.read() as session:
        assert pools.get(session, "teachers").status is PoolStatus.CANCELLED


def test_what_has_ended_or_is_a_data_set_cannot_be_cancelled(database: Database) -> None:
    dataset_id = add_dataset(database, ready=False)
    with refused(database, ConflictError, "shapes cannot be cancelled") as session:
        requests.ask_to_cancel(session, dataset_id)
    with database.write() as session:
        lease = queue.lease(session, f"dataset_check-{dataset_id}", owner="", lease_s=9, now=_now())
        assert lease is not None
        datasets.record_ready(session, lease, {})
    pool_id = add_pool(database)
    with refused(database, ConflictError, "teachers is ready already") as session:
        requests.ask_to_cancel(session, pool_id)


def test_a_waiting_search_says_what_it_waits_for(database: Database) -> None:
    search = add_search(database)
    with database.write() as session:
        for _ in range(2):
            queue.explain(session, f"search-{search.id}", "1 search is running, 1 may run")
    with database.read() as session:
        row = searches.get(session, search.id)
        assert row.status is SearchStatus.QUEUED
        assert row.status_reason == "1 search is running, 1 may run"
        assert len(events.after(session, search.id)) == 2


def test_a_result_resets_the_number_of_crashes(database: Database) -> None:
    _, lease = start_search(database)
    with database.write() as session:
        queue.reset_attempts(session, lease)
        assert queue.get(session, lease.work_id).attempts == 0


def test_unknown_work_is_not_found(database: Database) -> None:
    with refused(database, NotFoundError, "work search-s-nowhere") as session:
        queue.get(session, "search-s-nowhere")
    with pytest.raises(NotFoundError), database.write() as session:
        queue.lease(session, "search-s-nowhere", owner="x", lease_s=1, now=_now())


def test_a_failed_check_names_the_record(database: Database) -> None:
    dataset_id = add_dataset(database, ready=False)
    with database.write() as session:
        lease = queue.lease(
            session, f"dataset_check-{dataset_id}", owner="x", lease_s=9, now=_now()
        )
        assert lease is not None
        queue.finish(session, lease, DatasetStatus.FAILED, "train.json: annotation 7: no area")
    with database.read() as session:
        row = datasets.get(session, dataset_id)
        assert (row.status, row.summary) == (DatasetStatus.FAILED, None)
        assert row.status_reason == "train.json: annotation 7: no area"
