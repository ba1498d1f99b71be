"""Searches with registered teachers: which are accepted, and how their detectors are finished."""

from dataclasses import replace
from typing import Any

import pytest

from searchd.domain.detector import Family
from searchd.domain.distillation_methods import MethodName
from searchd.domain.errors import ConflictError, InvalidValueError
from searchd.domain.lifecycle import SearchStatus, TeacherStatus
from searchd.domain.teacher import RegisteredTeacher
from searchd.domain.trial import Outcome
from searchd.messages.reports import TeacherTrainingReport
from searchd.spec import (
    DistillationSpec,
    FinishSpec,
    MethodSpec,
    MethodsSpec,
    SearchSpec,
    TeachersSpec,
    TrainingSpec,
)
from searchd.store import Database, paging
from searchd.store.models import TeacherRow
from searchd.store.resources import datasets, removal, searches, teachers
from searchd.store.resources.finish import finish
from searchd.store.work import queue, requests
from tests.searchd.store.factories import (
    LARGE,
    SMALL,
    add_dataset,
    add_pool,
    add_teacher,
    base_proposal,
    dataset_spec,
    leased,
    refused,
    run_trial,
    search_proposal,
    search_spec,
    succeeded,
    teacher_report,
    teacher_spec,
    trained_teacher,
)

STRONG = TeachersSpec(registered=("strong",))


def alone(*names: str, **changes: Any) -> SearchSpec:
    """A search without a pool."""
    return search_spec(pool=None, teachers=TeachersSpec(registered=names), **changes)


def test_a_search_may_have_a_pool_and_registered_teachers_or_these_alone(
    database: Database,
) -> None:
    add_dataset(database)
    pool_id, teacher_id = add_pool(database), add_teacher(database)
    with database.write() as session:
        both = searches.create(session, search_spec("both", teachers=STRONG))
        without = searches.create(session, search_spec("without", pool=None, teachers=STRONG))
        assert (both.pool_id, without.pool_id) == (pool_id, None)
        for row in (both, without):
            found = teachers.of_run(session, row.spec)
            assert {name: each.id for name, each in found.items()} == {"strong": teacher_id}


def test_a_teacher_may_still_be_trained(database: Database) -> None:
    add_dataset(database)
    add_teacher(database, ready=False)
    with database.write() as session:
        assert searches.create(session, alone("strong")).status is SearchStatus.QUEUED


def test_teachers_must_exist_and_know_the_classes_of_the_search(database: Database) -> None:
    add_dataset(database)
    with refused(database, InvalidValueError, "teacher 'strong' does not exist") as session:
        searches.create(session, alone("strong"))
    with database.write() as session:
        datasets.create(session, dataset_spec("other"))
        teachers.create(session, trained_teacher(dataset="other"))
    with refused(database, InvalidValueError, "belongs to data set 'other'") as session:
        searches.create(session, alone("strong"))


def test_teachers_that_failed_or_were_cancelled_cannot_be_named(database: Database) -> None:
    add_dataset(database)
    teacher_id = add_teacher(database, ready=False)
    add_teacher(database, "gone", ready=False)
    with leased(database, f"teacher_training-{teacher_id}") as (session, lease):
        failed = TeacherTrainingReport(
            teacher=teacher_id, attempt=1, outcome=Outcome.FAILED, reason="no such config"
        )
        teachers.record_training(session, lease, failed)
        requests.ask_to_cancel(session, teachers.get(session, "gone").id)
    with refused(database, ConflictError, "'strong' has failed: no such config") as session:
        searches.create(session, alone("strong"))
    with refused(database, ConflictError, "'gone' is cancelled: cancelled by a user") as session:
        searches.create(session, alone("gone"))


def test_every_teacher_must_fit_the_methods(database: Database) -> None:
    """The default methods read the RoI head of a two-stage teacher."""
    add_dataset(database)
    add_teacher(database)
    with database.write() as session:
        row = teachers.create(session, teacher_spec())
    with leased(database, f"teacher-{row.id}") as (session, lease):
        teachers.record_report(session, lease, teacher_report(Family.RETINANET))
    expected = "teacher 'swin': proposal_feature needs .* and this one is retinanet; what fits"
    with refused(database, InvalidValueError, expected) as session:
        searches.create(session, alone("strong", "swin"))
    fgd = MethodsSpec(methods=(MethodSpec(name=MethodName.FGD),))
    with database.write() as session:
        searches.create(session, alone("strong", "swin", distillation=fgd))


def test_a_teacher_of_ours_is_checked_before_it_is_trained(database: Database) -> None:
    add_dataset(database)
    own = {"backbone": "resnet50", "head": {"family": "fcos"}}
    with database.write() as session:
        teachers.create(session, trained_teacher(train=own))
    with refused(database, InvalidValueError, "teacher 'strong': .* is fcos") as session:
        searches.create(session, alone("strong"))


@pytest.mark.parametrize("by", ["a registered teacher", "a subnet"])
def test_a_detector_is_fine_tuned_under_the_teacher_that_the_search_found(
    database: Database, by: str
) -> None:
    add_dataset(database)
    add_pool(database)
    teacher_id = add_teacher(database)
    with database.write() as session:
        training = TrainingSpec(resolutions=(SMALL, LARGE))
        row = searches.create(session, search_spec(teachers=STRONG, trial=training))
    with leased(database, f"search-{row.id}") as (session, lease):
        queue.advance(session, lease, SearchStatus.PREPARING, "driver started")
        queue.advance(session, lease, SearchStatus.RUNNING, "base trained")
    run_trial(database, lease, base_proposal(), succeeded("base", ap=0.1))
    proposal = search_proposal(0)
    if by == "a registered teacher":
        proposal = replace(proposal, teacher=RegisteredTeacher(teacher=teacher_id))
    run_trial(database, lease, proposal, succeeded("0"))
    with database.write() as session:
        queue.finish(session, lease, SearchStatus.SUCCEEDED, "converged")
    with database.write() as session:
        found = searches.get(session, "first")
        (tuned,) = finish(session, found, FinishSpec(detectors="all"))
    assert isinstance(tuned.spec, DistillationSpec)
    expected = "strong" if by == "a registered teacher" else proposal.teacher
    assert tuned.spec.teachers == {"found": expected}


def test_a_teacher_that_a_search_names_cannot_be_deleted(database: Database) -> None:
    add_dataset(database)
    add_pool(database)
    for name in ("strong", "unused"):
        teacher_id = add_teacher(database, name, ready=False)
        with database.write() as session:
            searches.create(session, search_spec(f"pool-beside-{name}"))
            if name == "strong":
                searches.create(session, alone(name))
        with leased(database, f"teacher_training-{teacher_id}") as (session, lease):
            failed = TeacherTrainingReport(
                teacher=teacher_id, attempt=1, outcome=Outcome.FAILED, reason="no such config"
            )
            queue.advance(session, lease, TeacherStatus.TRAINING, "started")
            teachers.record_training(session, lease, failed)
    with refused(database, ConflictError, "strong is used by search 'first'") as session:
        removal.delete_failed(session, teachers.get(session, "strong"))
    with database.write() as session:
        removal.delete_failed(session, teachers.get(session, "unused"))
    with database.read() as session:
        assert [row.name for row in paging.page(session, TeacherRow).items] == ["strong"]
