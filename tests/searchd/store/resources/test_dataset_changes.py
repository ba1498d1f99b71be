"""Data sets are checked again, renamed and deleted; what failed without a result is replaced."""

from typing import Any

import pytest

from searchd.domain.errors import ConflictError, NotFoundError
from searchd.domain.lifecycle import (
    DatasetStatus,
    FailureCause,
    PoolStatus,
    SearchStatus,
    TeacherStatus,
    WorkKind,
)
from searchd.domain.trial import Outcome
from searchd.messages.reports import Report
from searchd.spec import DatasetImport
from searchd.store import Database, events
from searchd.store.resources import datasets, pools, searches, teachers
from searchd.store.work import queue
from tests.searchd.store.factories import (
    add_dataset,
    add_pool,
    add_search,
    base_proposal,
    dataset_spec,
    leased,
    pool_report,
    pool_spec,
    refused,
    run_trial,
    search_spec,
    start_search,
    teacher_report,
    teacher_spec,
)

SUMMARY: dict[str, Any] = {
    "class_names": ("a", "b", "c", "d"),  # as a check returns them, before they are JSON
    "train": {"sha256": "a" * 64, "left_out": ["/data/train/broken.jpg"]},
    "validation": {"sha256": "b" * 64},
    "samples": [{"path": "/data/train/1.jpg"}],
}


def end_check(database: Database, dataset: str, **changes: Any) -> None:
    with leased(database, f"dataset_check-{dataset}") as (session, lease):
        datasets.record_ready(session, lease, SUMMARY | changes)


def fail_work(database: Database, kind: WorkKind, resource: str) -> None:
    with leased(database, f"{kind}-{resource}") as (session, lease):
        queue.give_up(session, lease, "it cannot be")


def test_check_records_digests_for_workers_and_samples(database: Database) -> None:
    dataset = add_dataset(database, ready=False)
    end_check(database, dataset)

    with database.read() as session:
        row = datasets.get(session, dataset)
    checked = row.spec.as_checked(row.summary)

    assert row.samples == {"samples": [{"path": "/data/train/1.jpg"}]}
    assert row.summary is not None
    assert "samples" not in row.summary
    assert (checked.train.sha256, checked.validation.sha256) == ("a" * 64, "b" * 64)
    assert checked.train.left_out == ("/data/train/broken.jpg",)


def test_data_set_is_checked_again(database: Database) -> None:
    dataset = add_dataset(database)

    with database.write() as session:
        first = datasets.recheck(session, "shapes")
        again = datasets.recheck(session, "shapes")
        assert first.status is again.status is DatasetStatus.CHECKING
        assert first.summary == {"class_names": ["a", "b", "c", "d"]}
    add_pool(database)
    end_check(database, dataset, train={"sha256": "c" * 64})

    with database.read() as session:
        row = datasets.get(session, "shapes")
        assert row.status is DatasetStatus.READY
        assert row.summary is not None
        assert row.summary["train"] == {"sha256": "c" * 64}
        messages = [each.message for each in events.after(session, dataset)]
    assert "waits for its files to be checked again" in messages


def test_data_set_that_failed_is_checked_again(database: Database) -> None:
    dataset = add_dataset(database, ready=False)
    fail_work(database, WorkKind.DATASET_CHECK, dataset)

    with database.write() as session:
        datasets.recheck(session, dataset)
    end_check(database, dataset)

    with database.read() as session:
        assert datasets.get(session, dataset).status is DatasetStatus.READY


def test_data_set_is_not_checked_again_under_running_work(database: Database) -> None:
    _, lease = start_search(database)

    with refused(database, ConflictError, "used by first, which must not see other files") as held:
        datasets.recheck(held, "shapes")
    with database.write() as session:
        queue.finish(session, lease, SearchStatus.SUCCEEDED, "converged")
        assert datasets.recheck(session, "shapes").status is DatasetStatus.CHECKING


def test_recheck_with_other_classes_fails_if_something_knows_the_earlier_ones(
    database: Database,
) -> None:
    dataset = add_dataset(database)
    with database.write() as session:
        datasets.recheck(session, dataset)
    end_check(database, dataset, class_names=["a", "b"])
    add_pool(database)

    with database.write() as session:
        datasets.recheck(session, dataset)
    end_check(database, dataset, class_names=["a", "b", "c"])

    with database.read() as session:
        row = datasets.get(session, dataset)
    assert row.status is DatasetStatus.FAILED
    assert "changed from a, b to a, b, c, and teachers know" in row.status_reason


def test_renamed_data_set_is_found_by_its_users(database: Database) -> None:
    add_search(database)

    with database.write() as session:
        datasets.rename(session, "shapes", "forms")
    with database.write() as session:
        pool = pools.get(session, "teachers")
        search = searches.create(session, search_spec("second", dataset="forms"))

        assert datasets.get(session, "forms").spec.name == "forms"
        assert pool.spec.dataset == search.spec.dataset == "forms"
        assert searches.get(session, "first").spec.dataset == "forms"
    with refused(database, NotFoundError, "shapes") as session:
        datasets.get(session, "shapes")


def test_data_set_takes_no_name_of_another(database: Database) -> None:
    add_dataset(database)
    with database.write() as session:
        datasets.create(session, dataset_spec("other"))

    with refused(database, ConflictError, "has a 'other' already") as session:
        datasets.rename(session, "shapes", "other")


def test_data_set_is_deleted_unless_it_is_used(database: Database) -> None:
    add_search(database)

    with refused(database, ConflictError, "used by pool 'teachers', search 'first'") as session:
        datasets.delete(session, "shapes")
    with database.write() as session:
        other = datasets.create(session, dataset_spec("other"))
        assert datasets.delete(session, other.id) is None
    with refused(database, NotFoundError, "other") as session:
        datasets.get(session, "other")
    with database.write() as session:
        assert datasets.create(session, dataset_spec("other")).id != other.id


def test_deletion_names_the_annotation_files_that_the_check_wrote(database: Database) -> None:
    request = DatasetImport(name="mine", paths=("/data/mine",))
    spec = request.stored_below("/artifacts")
    with database.write() as session:
        datasets.create(session, spec)
        datasets.rename(session, "mine", "old")
    with refused(database, ConflictError, "'old' was made by the same request") as session:
        datasets.create(session, spec)

    with database.write() as session:
        assert datasets.delete(session, "old") == str(spec.train.annotations.parent)


def test_test_split_of_a_check_is_recorded_and_a_repeated_request_is_the_same(
    database: Database,
) -> None:
    spec = DatasetImport(name="mine", paths=("/data/mine",)).stored_below("/artifacts")
    with database.write() as session:
        first = datasets.create(session, spec, idempotency_key="4711")
    end_check(database, first.id, test={"sha256": "d" * 64})

    with database.write() as session:
        again = datasets.create(session, spec, idempotency_key="4711")

    assert again.id == first.id
    assert again.spec.test is not None
    assert again.spec.test.annotations == spec.train.annotations.with_name("test.json")


def test_refused_data_set_is_replaced_by_a_new_one_of_its_name(database: Database) -> None:
    first = add_dataset(database, ready=False)
    with database.write() as session:
        pool = pools.create(session, pool_spec())
    fail_work(database, WorkKind.DATASET_CHECK, first)

    with database.write() as session:
        second = datasets.create(session, dataset_spec())
        assert second.id != first
        assert pools.get(session, pool.id).dataset_id == second.id
        messages = [each.message for each in events.after(session, second.id)]
        assert events.after(session, first) == []
    assert messages[-1] == f"replaces {first} of the same name, which failed"
    with refused(database, NotFoundError, first) as session:
        datasets.get(session, first)


def test_data_set_is_replaced_only_by_its_owner_and_only_if_it_failed(database: Database) -> None:
    first = add_dataset(database, ready=False)
    with refused(database, ConflictError, "has a 'shapes' already") as session:
        datasets.create(session, dataset_spec())
    fail_work(database, WorkKind.DATASET_CHECK, first)

    with refused(database, ConflictError, "has a 'shapes' already") as session:
        datasets.create(session, dataset_spec(), owner="alice")


def test_key_of_what_failed_can_be_given_again_with_a_corrected_body(database: Database) -> None:
    add_dataset(database)
    with database.write() as session:
        first = pools.create(session, pool_spec(), idempotency_key="4711")
    fail_work(database, WorkKind.POOL, first.id)

    with database.write() as session:
        same = pools.create(session, pool_spec(), idempotency_key="4711")
        other = pools.create(session, pool_spec(seed=9), idempotency_key="4711")

        assert (same.id, same.status) == (first.id, PoolStatus.FAILED)
        assert (other.id != first.id, other.spec.seed) == (True, 9)


def test_pool_that_failed_before_its_first_epoch_is_replaced(database: Database) -> None:
    add_dataset(database)
    first = add_pool(database, ready=False)
    fail_work(database, WorkKind.POOL, first)

    with database.write() as session:
        second = pools.create(session, pool_spec())

    assert (second.id != first, second.status) == (True, PoolStatus.QUEUED)


def test_pool_that_failed_after_an_epoch_keeps_its_name(database: Database) -> None:
    add_dataset(database)
    first = add_pool(database, ready=False)
    with leased(database, f"pool-{first}") as (session, lease):
        queue.advance(session, lease, PoolStatus.TRAINING, "started")
        pools.record_report(session, lease, pool_report(first, Outcome.FAILED, "no memory"))

    with refused(database, ConflictError, "has a 'teachers' already") as session:
        pools.create(session, pool_spec())


def test_search_whose_base_failed_is_replaced(database: Database) -> None:
    first, lease = start_search(database)
    failed = Report(
        trial="base", attempt=1, outcome=Outcome.FAILED, cause=FailureCause.BUG, reason="no file"
    )
    run_trial(database, lease, base_proposal(), failed)
    with database.write() as session:
        queue.finish(session, lease, SearchStatus.FAILED, "the base failed")
        second = searches.create(session, search_spec())
        assert (second.id != first.id, searches.trial_counts(session, second.id)) == (True, {})


def test_search_with_a_finished_trial_keeps_its_name(database: Database) -> None:
    _, lease = start_search(database)
    run_trial(database, lease, base_proposal())
    with database.write() as session:
        queue.finish(session, lease, SearchStatus.FAILED, "no worker")

    with refused(database, ConflictError, "has a 'first' already") as session:
        searches.create(session, search_spec())


@pytest.mark.parametrize("is_measured", [False, True])
def test_teacher_is_replaced_if_its_evaluation_failed(
    database: Database, is_measured: bool
) -> None:
    add_dataset(database)
    with database.write() as session:
        first = teachers.create(session, teacher_spec())
    if is_measured:
        with leased(database, f"teacher-{first.id}") as (session, lease):
            teachers.record_report(session, lease, teacher_report())
        with refused(database, ConflictError, "has a 'swin' already") as session:
            teachers.create(session, teacher_spec())
        return
    fail_work(database, WorkKind.TEACHER, first.id)

    with database.write() as session:
        second = teachers.create(session, teacher_spec())
    assert (second.id != first.id, second.status) == (True, TeacherStatus.CHECKING)
