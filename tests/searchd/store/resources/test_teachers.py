"""Teachers: registered, evaluated, named by distillations."""

from dataclasses import replace
from typing import Any

import pytest

from searchd.domain.errors import ConflictError, InvalidValueError, NotFoundError
from searchd.domain.lifecycle import TeacherStatus, WorkStatus
from searchd.domain.trial import Outcome
from searchd.messages.reports import Report
from searchd.spec import TeacherSpec
from searchd.store import Database, paging
from searchd.store.models import TeacherRow
from searchd.store.paging import Listing
from searchd.store.resources import datasets, pools, teachers
from searchd.store.work import queue, requests
from tests.searchd.store.factories import (
    LARGE,
    add_dataset,
    add_pool,
    artifact,
    base_proposal,
    dataset_spec,
    detector,
    leased,
    pool_spec,
    refused,
    run_trial,
    start_search,
    subnet_teacher,
    teacher_report,
    teacher_spec,
    trained_teacher,
)


def test_an_evaluated_teacher_is_ready_and_can_be_referred_to(database: Database) -> None:
    add_dataset(database)
    with database.write() as session:
        row = teachers.create(session, teacher_spec())
        assert (row.id[:2], row.status, row.pool_id) == ("t-", TeacherStatus.CHECKING, None)
    with leased(database, f"teacher-{row.id}") as (session, lease):
        teachers.record_report(session, lease, teacher_report())
    with database.read() as session:
        found = teachers.get(session, "swin")
        reference = teachers.reference(session, row.id)
        assert queue.of_resource(session, row.id).status is WorkStatus.DONE
    assert (found.status, found.status_reason) == (
        TeacherStatus.READY,
        "evaluated: AP 0.500 at 96x96",
    )
    assert found.report == teacher_report()
    assert reference.detector == teacher_report().detector
    assert reference.weights == artifact("teacher")
    assert reference.aps == {LARGE: 0.5}


def test_a_teacher_that_is_not_ready_cannot_be_referred_to(database: Database) -> None:
    add_dataset(database)
    with database.write() as session:
        row = teachers.create(session, teacher_spec())
    with refused(database, ConflictError, "swin is checking, not ready: waits to be") as session:
        teachers.reference(session, "swin")
    with leased(database, f"teacher-{row.id}") as (session, lease):
        queue.finish(session, lease, TeacherStatus.FAILED, "CheckpointError: no such file")
    with refused(database, ConflictError, "swin is failed.*no such file") as session:
        teachers.reference(session, "swin")
    with refused(database, NotFoundError, "teacher 'unknown' does not exist") as session:
        teachers.reference(session, "unknown")


def test_a_subnet_of_a_pool_may_wait_for_its_training(database: Database) -> None:
    add_dataset(database, ready=False)
    pool_id = add_pool(database, ready=False)
    with database.write() as session:
        row = teachers.create(session, subnet_teacher())
    assert (row.pool_id, row.status) == (pool_id, TeacherStatus.CHECKING)


def test_a_teacher_needs_what_it_refers_to(database: Database) -> None:
    with refused(
        database, InvalidValueError, "dataset: data set 'shapes' does not exist"
    ) as session:
        teachers.create(session, teacher_spec())
    add_dataset(database)
    with refused(
        database, InvalidValueError, "subnet.pool: pool 'teachers' does not exist"
    ) as session:
        teachers.create(session, subnet_teacher())
    with refused(
        database, InvalidValueError, "trial: trial 's-abcdef-1' does not exist"
    ) as session:
        teachers.create(session, teacher_spec(trial="s-abcdef-1", mmdet=None))


def test_a_subnet_must_be_in_the_pool(database: Database) -> None:
    add_dataset(database)
    add_pool(database)
    outside = replace(pool_spec().space.space.smallest, neck_channels=17)
    with refused(database, InvalidValueError, "neck_channels=17 is not in this pool") as session:
        teachers.create(session, subnet_teacher(subnet=outside))


def test_a_pool_of_another_data_set_has_no_teacher_for_this_one(database: Database) -> None:
    add_dataset(database)
    with database.write() as session:
        datasets.create(session, dataset_spec("other"))
        pools.create(session, pool_spec(dataset="other"))
    with refused(database, InvalidValueError, "trained on data set 'other', not on") as session:
        teachers.create(session, subnet_teacher())


def test_a_trials_student_becomes_a_teacher(database: Database) -> None:
    search, lease = start_search(database)
    trial = run_trial(database, lease, base_proposal())
    with database.write() as session:
        teachers.create(session, teacher_spec(trial=trial.id, mmdet=None))
        assert teachers.student(session, trial.id).student == artifact("student")
        assert teachers.student(session, trial.id).detector == detector()
        datasets.create(session, dataset_spec("other"))
    elsewhere = teacher_spec("elsewhere", trial=trial.id, mmdet=None, dataset="other")
    expected = f"'{search.id}-base' is of 'first', which uses data set 'shapes' and not 'other'"
    with refused(database, InvalidValueError, expected) as session:
        teachers.create(session, elsewhere)


def test_a_trial_without_a_student_is_no_teacher(database: Database) -> None:
    _, lease = start_search(database)
    nothing = Report(trial="base", attempt=1, outcome=Outcome.NO_OP, reason="nothing to do")
    trial = run_trial(database, lease, base_proposal(), nothing)
    with refused(database, ConflictError, "is skipped and has no student") as session:
        teachers.create(session, teacher_spec(trial=trial.id, mmdet=None))


def test_a_repeated_request_registers_nothing_new(database: Database) -> None:
    add_dataset(database)
    with database.write() as session:
        first = teachers.create(session, teacher_spec(), idempotency_key="k")
        assert teachers.create(session, teacher_spec(), idempotency_key="k").id == first.id
    with refused(database, ConflictError, "'swin' already") as session:
        teachers.create(session, teacher_spec())


def test_teachers_are_listed_newest_first_by_status(database: Database) -> None:
    add_dataset(database)
    with database.write() as session:
        for name in ("one", "two", "three"):
            teachers.create(session, teacher_spec(name))
    with database.read() as session:
        first = paging.page(session, TeacherRow, Listing(page_size=2))
        rest = paging.page(session, TeacherRow, Listing(page_token=first.next_page_token))
        ready = paging.page(session, TeacherRow, status=[TeacherStatus.READY])
    assert [row.name for row in (*first.items, *rest.items)] == ["three", "two", "one"]
    assert ready.items == []


def test_a_check_cannot_be_cancelled(database: Database) -> None:
    add_dataset(database)
    with database.write() as session:
        row = teachers.create(session, teacher_spec())
    with refused(database, ConflictError, "swin cannot be cancelled") as session:
        requests.ask_to_cancel(session, row.id)


def test_a_training_can_be_paused_and_resumed_before_its_driver_starts(database: Database) -> None:
    add_dataset(database)
    with database.write() as session:
        row = teachers.create(session, trained_teacher())
        assert (row.status, row.status_reason) == (TeacherStatus.QUEUED, "waits for admission")
        seen = []
        for ask in (requests.ask_to_pause, requests.ask_to_resume, requests.ask_to_cancel):
            ask(session, row.id)
            seen.append((row.status, row.status_reason))
    assert seen == [
        (TeacherStatus.PAUSED, "paused by a user"),
        (TeacherStatus.QUEUED, "resumed by a user"),
        (TeacherStatus.CANCELLED, "cancelled by a user"),
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"backbone": "resnet50"}, "give exactly one of mmdet and backbone"),
        ({"mmdet": None}, "give exactly one of mmdet and backbone"),
        ({"mmdet": None, "backbone": "resnet1000"}, "resnet1000"),
        ({"head": {"neck_channels": 64}}, "head belongs to backbone"),
        ({"base_channels": 32}, "base_channels belongs to backbone"),
    ],
)
def test_a_training_that_cannot_be_meant_is_refused(change: dict[str, Any], message: str) -> None:
    train = {"mmdet": {"config": "faster-rcnn_r101_fpn_1x_coco"}, **change}
    with pytest.raises(ValueError, match=message):
        trained_teacher(train=train)


def test_fields_of_a_training_that_are_not_given_have_the_defaults_of_teachers() -> None:
    train = trained_teacher(train={"backbone": "resnet50", "training": {"batch_size": 2}}).train
    assert train is not None
    training = train.training
    assert (training.batch_size, training.epochs, training.schedule) == (2, 12, "step")
    assert TeacherSpec.model_validate_json(trained_teacher().model_dump_json()) == trained_teacher()


@pytest.mark.parametrize("given", [{"mmdet": None}, {"trial": "s-abcdef-1"}])
def test_a_teacher_has_one_source(given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="exactly one of subnet, trial, mmdet and train"):
        TeacherSpec.model_validate(teacher_spec().model_dump() | given)
