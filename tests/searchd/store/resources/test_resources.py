"""Data sets, pools and searches: created, found, listed, reported."""

from datetime import UTC, datetime

import pytest

from searchd.domain.detector import Family
from searchd.domain.distillation_methods import MethodName
from searchd.domain.errors import ConflictError, InvalidValueError, NotFoundError
from searchd.domain.lifecycle import DatasetStatus, PoolStatus, SearchStatus, WorkStatus
from searchd.domain.trial import Outcome
from searchd.messages.reports import PoolProgress
from searchd.spec import HeadSpec, MethodSpec, MethodsSpec
from searchd.store import Database, Lease, events, paging
from searchd.store.models import DatasetRow, PoolRow, SearchRow
from searchd.store.paging import Listing
from searchd.store.resources import datasets, pools, searches
from searchd.store.work import queue, requests
from tests.searchd.store.factories import (
    add_dataset,
    add_pool,
    add_search,
    artifact,
    dataset_spec,
    leased,
    pool_report,
    pool_spec,
    refused,
    search_spec,
)


def test_a_data_set_is_checked_and_then_ready(database: Database) -> None:
    with database.write() as session:
        row = datasets.create(session, dataset_spec())
        assert (row.status, row.id[:2]) == (DatasetStatus.CHECKING, "d-")
    with leased(database, f"dataset_check-{row.id}") as (session, lease):
        datasets.record_ready(session, lease, {"classes": ["cat"]})
    with database.read() as session:
        found = datasets.get(session, "shapes")
        assert (found.id, found.status) == (row.id, DatasetStatus.READY)
        assert (found.summary, found.spec) == ({"classes": ["cat"]}, dataset_spec())


def test_names_are_unique(database: Database) -> None:
    add_dataset(database)
    with refused(database, ConflictError, "'shapes' already") as session:
        datasets.create(session, dataset_spec())


def test_a_repeated_request_creates_nothing_new(database: Database) -> None:
    with database.write() as session:
        first = datasets.create(session, dataset_spec(), idempotency_key="k")
    with database.write() as session:
        assert datasets.create(session, dataset_spec(), idempotency_key="k").id == first.id
        assert len(paging.page(session, DatasetRow).items) == 1
    with refused(database, ConflictError, "with another body") as session:
        datasets.create(session, dataset_spec("other"), idempotency_key="k")


def test_repeated_pools_and_searches_create_nothing_new(database: Database) -> None:
    add_dataset(database)
    with database.write() as session:
        pool = pools.create(session, pool_spec(), idempotency_key="k")
        assert pools.create(session, pool_spec(), idempotency_key="k").id == pool.id
        search = searches.create(session, search_spec(), idempotency_key="k")
        assert searches.create(session, search_spec(), idempotency_key="k").id == search.id


def test_a_search_may_wait_for_a_data_set_and_a_pool_in_the_making(database: Database) -> None:
    add_dataset(database, ready=False)
    add_pool(database, ready=False)
    with database.write() as session:
        row = searches.create(session, search_spec())
    assert (row.status, row.status_reason) == (SearchStatus.QUEUED, "waits for admission")


def test_a_search_needs_a_data_set_and_a_pool_that_exist(database: Database) -> None:
    with refused(
        database, InvalidValueError, "dataset: data set 'shapes' does not exist"
    ) as session:
        searches.create(session, search_spec())
    add_dataset(database)
    with refused(database, InvalidValueError, "pool: pool 'teachers' does not exist") as session:
        searches.create(session, search_spec())


def test_what_has_failed_cannot_be_referred_to(database: Database) -> None:
    dataset_id = add_dataset(database, ready=False)
    pool_id = add_pool(database, ready=False)
    with leased(database, f"pool-{pool_id}") as (session, lease):
        queue.advance(session, lease, PoolStatus.TRAINING, "started")
        pools.record_report(
            session, lease, pool_report(pool_id, Outcome.FAILED, "CUDA out of memory")
        )
    with refused(database, ConflictError, r"'teachers' is failed: .*CUDA out of memory") as session:
        searches.create(session, search_spec())
    with leased(database, f"dataset_check-{dataset_id}") as (session, lease):
        queue.finish(session, lease, DatasetStatus.FAILED, "train.json: no images")
    with refused(database, ConflictError, "failed its check: train.json: no images") as session:
        pools.create(session, pool_spec("more"))


def test_a_pool_of_another_data_set_does_not_fit(database: Database) -> None:
    add_dataset(database)
    with database.write() as session:
        datasets.create(session, dataset_spec("other"))
        pools.create(session, pool_spec("elsewhere", dataset="other"))
        pools.create(session, pool_spec("narrow", head=HeadSpec(neck_channels=8)))
    with refused(database, InvalidValueError, "trained on data set 'other'") as session:
        searches.create(session, search_spec(pool="elsewhere"))
    with database.write() as session:
        searches.create(session, search_spec(pool="narrow"))


def test_a_method_that_does_not_fit_the_pool_is_refused_with_what_would(database: Database) -> None:
    add_dataset(database)
    with database.write() as session:
        pools.create(session, pool_spec("teachers"))
    transfer = MethodsSpec(methods=(MethodSpec(name=MethodName.HEAD_TRANSFER),))
    expected = "head_transfer needs a teacher with the student's head.*what fits this pair: .*ckd"
    with refused(database, InvalidValueError, expected) as session:
        searches.create(session, search_spec(pool="teachers", distillation=transfer))


def test_students_of_other_families_learn_from_a_two_stage_pool(database: Database) -> None:
    add_dataset(database)
    with database.write() as session:
        pools.create(session, pool_spec("teachers"))
        methods = (MethodSpec(name=MethodName.SGFI), MethodSpec(name=MethodName.CKD))
        searches.create(
            session,
            search_spec(
                pool="teachers",
                head=HeadSpec(family=Family.RETINANET),
                distillation=MethodsSpec(methods=methods),
            ),
        )


def test_a_trained_pool_is_ready_and_can_be_referred_to(database: Database) -> None:
    add_dataset(database)
    pool_id = add_pool(database)
    with database.read() as session:
        row = pools.get(session, "teachers")
        assert (row.status, row.status_reason) == (
            PoolStatus.READY,
            "trained; 2 subnets evaluated",
        )
        reference = pools.reference(session, pool_id)
        subnets = pools.subnet_evaluations(session, pool_id)
        epochs = pools.epochs(session, pool_id)
        assert queue.of_resource(session, pool_id).status is WorkStatus.DONE
    assert reference.supernet.uri == artifact("weights").uri
    assert reference.space == pool_spec().space
    space = pool_spec().space.space
    assert [s.subnet for s in subnets] == [space.largest, space.smallest]
    assert subnets[0].params == 9_000_000_000
    assert [(e.phase, e.epoch) for e in epochs] == [("supernet", 1)]


def test_an_untrained_pool_cannot_be_referred_to(database: Database) -> None:
    add_dataset(database)
    pool_id = add_pool(database, ready=False)
    with refused(database, ConflictError, "teachers is queued, not ready") as session:
        pools.reference(session, pool_id)


def test_progress_of_a_pool_is_overwritten(database: Database) -> None:
    add_dataset(database)
    pool_id = add_pool(database, ready=False)
    latest = PoolProgress(
        pool=pool_id,
        attempt=1,
        phase="shrink-1",
        epoch=2,
        num_epochs=3,
        iteration=4,
        num_iterations=5,
        losses={"loss": 1.0},
    )
    with leased(database, f"pool-{pool_id}") as (session, lease):
        pools.record_progress(session, lease, latest)
    with database.read() as session:
        assert pools.get(session, pool_id).progress == latest


@pytest.mark.parametrize(
    ("cancel", "status"), [(True, PoolStatus.CANCELLED), (False, PoolStatus.TRAINING)]
)
def test_a_stopped_pool_is_cancelled_only_if_a_user_wants_it(
    database: Database, cancel: bool, status: PoolStatus
) -> None:
    add_dataset(database)
    pool_id = add_pool(database, ready=False)
    with leased(database, f"pool-{pool_id}") as (session, lease):
        queue.advance(session, lease, PoolStatus.TRAINING, "started")
        if cancel:
            requests.ask_to_cancel(session, pool_id)
        report = pool_report(pool_id, Outcome.STOPPED, "stop requested")
        assert pools.record_report(session, lease, report).status is status
    with database.write() as session:
        again = queue.lease(session, f"pool-{pool_id}", owner="", lease_s=9, now=datetime.now(UTC))
    assert again == (None if cancel else Lease(f"pool-{pool_id}", 2))


def test_pages_of_resources_follow_each_other_newest_first(database: Database) -> None:
    for name in ("a", "b", "c"):
        with database.write() as session:
            datasets.create(session, dataset_spec(name))
    with database.read() as session:
        first = paging.page(session, DatasetRow, Listing(page_size=2))
        rest = paging.page(
            session, DatasetRow, Listing(page_size=2, page_token=first.next_page_token)
        )
        assert [row.name for row in first.items] == ["c", "b"]
        assert ([row.name for row in rest.items], rest.next_page_token) == (["a"], None)
        assert paging.page(session, DatasetRow, status=[DatasetStatus.READY]).items == []
        with pytest.raises(InvalidValueError, match="page_size=0"):
            paging.page(session, DatasetRow, Listing(page_size=0))
        with pytest.raises(InvalidValueError, match="'d-none' was not given out"):
            paging.page(session, DatasetRow, Listing(page_token="d-none"))


def test_lists_are_filtered_by_status(database: Database) -> None:
    search = add_search(database)
    with database.read() as session:
        ready = paging.page(session, PoolRow, status=[PoolStatus.READY]).items
        assert [p.name for p in ready] == ["teachers"]
        assert paging.page(session, PoolRow, status=[PoolStatus.FAILED]).items == []
        found = paging.page(session, SearchRow, status=[SearchStatus.QUEUED]).items
        assert [s.id for s in found] == [search.id]
        assert paging.page(session, SearchRow, status=[SearchStatus.RUNNING]).items == []


@pytest.mark.parametrize(
    ("get", "message"),
    [
        (datasets.get, "data set 'x' does not exist"),
        (pools.get, "pool 'x' does not exist"),
        (searches.get, "search 'x' does not exist"),
    ],
)
def test_what_does_not_exist_is_not_found(database: Database, get, message: str) -> None:  # type: ignore[no-untyped-def]  # three functions of three types
    with pytest.raises(NotFoundError, match=message), database.read() as session:
        get(session, "x")


def test_events_are_numbered_from_one_and_read_from_anywhere(database: Database) -> None:
    dataset_id = add_dataset(database)
    with database.read() as session:
        found = events.after(session, dataset_id)
        assert [(e.number, e.status) for e in found] == [
            (1, "checking"),
            (2, "checking"),
            (3, "ready"),
        ]
        assert [e.number for e in events.after(session, dataset_id, 2, limit=1)] == [3]
