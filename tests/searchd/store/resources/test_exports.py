"""Exports in the store: what can be exported, and what a card tells of it."""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import update

from searchd.domain.errors import ConflictError, NotFoundError
from searchd.domain.lifecycle import ExportStatus
from searchd.domain.teacher import RegisteredTeacher
from searchd.messages.files import STUDENT
from searchd.spec import ExportSpec
from searchd.store import Database
from searchd.store.models import ArtifactRow
from searchd.store.resources import exports
from searchd.store.runs import trials
from searchd.store.work import queue
from tests.searchd.store.factories import (
    add_teacher,
    base_proposal,
    leased,
    refused,
    run_trial,
    search_proposal,
    start_search,
    succeeded,
)


def test_a_trial_that_has_not_ended_is_not_exported(database: Database) -> None:
    _, lease = start_search(database)
    with database.write() as session:
        trial = trials.add(session, lease, base_proposal()).id
        trials.start(session, lease, "base")

    with refused(database, ConflictError, "is running and has no student") as session:
        exports.create(session, trial, ExportSpec())


def test_a_trial_whose_weights_were_collected_is_not_exported(database: Database) -> None:
    _, lease = start_search(database)
    trial = run_trial(database, lease, base_proposal()).id
    with database.write() as session:
        session.execute(
            update(ArtifactRow)
            .where(ArtifactRow.name == STUDENT)
            .values(deleted_at=datetime(2026, 1, 2, tzinfo=UTC))
        )

    with refused(database, ConflictError, "was collected at 2026-01-02") as session:
        exports.create(session, trial, ExportSpec())


def test_only_the_owner_of_a_failed_export_tries_again(database: Database) -> None:
    _, lease = start_search(database)
    trial = run_trial(database, lease, base_proposal()).id
    with database.write() as session:
        first = exports.create(session, trial, ExportSpec(), owner="ada").id
        assert exports.create(session, trial, ExportSpec(), owner="bob").id == first
    with leased(database, f"export-{first}") as (session, lease):
        queue.finish(session, lease, ExportStatus.FAILED, "a.png differs")

    with refused(database, ConflictError, "of ada failed: a.png differs; only its") as session:
        exports.create(session, trial, ExportSpec(), owner="bob")
    with database.write() as session:
        assert exports.create(session, trial, ExportSpec(), owner="ada").id != first


def test_an_export_of_another_trial_is_not_found(database: Database) -> None:
    _, lease = start_search(database)
    first = run_trial(database, lease, base_proposal()).id
    second = run_trial(database, lease, search_proposal(0), succeeded("0")).id
    with database.write() as session:
        export = exports.create(session, first, ExportSpec()).id

    with refused(database, NotFoundError, f"trial {second} has no export '{export}'") as session:
        exports.get(session, second, export)


def test_the_lineage_of_a_card_names_teachers(database: Database) -> None:
    _, lease = start_search(database)
    teacher = RegisteredTeacher(teacher=add_teacher(database))
    run_trial(database, lease, base_proposal(), succeeded("base", ap=0.25))
    proposal = search_proposal(0, teacher=teacher)
    trial = run_trial(database, lease, proposal, succeeded("0", ap=0.5)).id
    with database.write() as session:
        row = exports.create(session, trial, ExportSpec())

        facts = exports.facts(session, row)

    assert facts["lineage"] == [
        "search first, trial base: train: AP 0.250 at 96x96",
        "search first, trial 0: mutate the teacher, taught by strong: AP 0.500 at 96x96",
    ]
    assert facts["data set"] == "shapes"
    measured: Any = facts["measurements"]
    assert [(each["split"], each["resolution"], each["ap"]) for each in measured] == [
        ("validation", "64x64", 0.25),
        ("validation", "96x96", 0.5),
    ]
