"""Exports in the store: what can be exported, and what a card tells of it."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import update

from searchd.domain.detector import Family
from searchd.domain.distillation_methods import MethodName
from searchd.domain.errors import ConflictError, NotFoundError
from searchd.domain.lifecycle import ExportStatus
from searchd.domain.method_set import MethodSet, MutateMethods, WeightedMethod
from searchd.domain.teacher import RegisteredTeacher
from searchd.messages.files import STUDENT
from searchd.spec import BaseSpec, ExportSpec
from searchd.store import Database
from searchd.store.models import ArtifactRow, SearchRow, WorkRow
from searchd.store.resources import exports, removal
from searchd.store.runs import trials
from searchd.store.work import queue
from tests.searchd.store.factories import (
    NOW,
    add_teacher,
    base_proposal,
    detector,
    export_report,
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


def test_the_status_of_an_export_has_its_mask_ap(database: Database) -> None:
    _, lease = start_search(database)
    found = replace(detector(), family=Family.MASK_RCNN)
    trial = run_trial(
        database, lease, base_proposal(), replace(succeeded("base"), detector=found)
    ).id
    with database.write() as session:
        export = exports.create(session, trial, ExportSpec()).id
    report = export_report()
    measured = replace(report.measurement, mask_ap=0.375, torch_mask_ap=0.375, mask_difference=1e-6)

    with leased(database, f"export-{export}") as (session, lease):
        row = exports.record_report(session, lease, replace(report, measurement=measured))

        assert row.status_reason == (
            "equal to the detector on 32 images; AP 0.500, mask AP 0.375, 12.0 ms at 96x96"
        )


def test_an_export_of_another_trial_is_not_found(database: Database) -> None:
    _, lease = start_search(database)
    first = run_trial(database, lease, base_proposal()).id
    second = run_trial(database, lease, search_proposal(0), succeeded("0")).id
    with database.write() as session:
        export = exports.create(session, first, ExportSpec()).id

    with refused(database, NotFoundError, f"trial {second} has no export '{export}'") as session:
        exports.get(session, second, export)


def test_an_export_is_found_by_id_and_by_name(database: Database) -> None:
    _, lease = start_search(database)
    trial = run_trial(database, lease, base_proposal()).id
    with database.write() as session:
        export = exports.create(session, trial, ExportSpec()).id

    with database.read() as session:
        assert exports.find(session, export).id == export
        assert exports.find(session, f"{trial}-onnx-fp32-dynamic").id == export
    with refused(database, NotFoundError, "export 'x-none' does not exist") as session:
        exports.find(session, "x-none")


def test_an_export_is_deleted_unless_it_is_being_written(database: Database) -> None:
    _, lease = start_search(database)
    trial = run_trial(database, lease, base_proposal()).id
    with database.write() as session:
        export = exports.create(session, trial, ExportSpec()).id

    with leased(database, f"export-{export}") as (_, driver):
        pass
    with refused(database, ConflictError, "is being written; wait until") as session:
        exports.delete(session, exports.find(session, export))
    with database.write() as session:
        queue.requeue(session, driver, "it died", delay_s=0, now=NOW)
        exports.delete(session, exports.find(session, export))

    with database.read() as session:
        assert exports.of_trial(session, trial) == []
        assert session.get(WorkRow, f"export-{export}") is None


def test_exports_are_deleted_with_their_search(database: Database) -> None:
    search, lease = start_search(database)
    trial = run_trial(database, lease, base_proposal()).id
    with database.write() as session:
        export = exports.create(session, trial, ExportSpec()).id

    with database.write() as session:
        removal.delete_rows(session, session.get_one(SearchRow, search.id))

    with refused(database, NotFoundError, "does not exist") as session:
        exports.find(session, export)


def test_the_licence_is_that_of_the_base(database: Database) -> None:
    named = BaseSpec(backbone="resnet18", licence=" Apache-2.0 ")
    _, lease = start_search(database, base=named)
    run_trial(database, lease, base_proposal())
    trial = run_trial(database, lease, search_proposal(0), succeeded("0")).id

    with database.write() as session:
        row = exports.create(session, trial, ExportSpec())
        assert exports.licence(session, row) == "Apache-2.0"


def test_a_licence_that_nobody_named_is_unknown(database: Database) -> None:
    _, lease = start_search(database)
    trial = run_trial(database, lease, base_proposal()).id

    with database.write() as session:
        assert exports.licence(session, exports.create(session, trial, ExportSpec())) is None


def test_the_lineage_of_a_card_names_the_methods_that_were_searched(database: Database) -> None:
    _, lease = start_search(database)
    cwd = WeightedMethod(name=MethodName.CWD, weight=10.0)
    change, methods = MutateMethods(added=cwd, removed=cwd.name), MethodSet(methods=(cwd,))
    run_trial(database, lease, base_proposal(), succeeded("base", ap=0.25))
    proposal = search_proposal(0, change=change, methods=methods)
    trial = run_trial(database, lease, proposal, succeeded("0", ap=0.5)).id
    with database.write() as session:
        facts = exports.facts(session, exports.create(session, trial, ExportSpec()))

    lineage: Any = facts["lineage"]
    assert lineage[1] == (
        "search first, trial 0: methods: cwd with weight 10, taught by "
        f"{proposal.teacher} (cwd 10): AP 0.500 at 96x96"
    )


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
    assert facts["seeds"] == [11, 0]
    assert facts["data set"] == "shapes"
    measured: Any = facts["measurements"]
    assert [(each["split"], each["resolution"], each["ap"]) for each in measured] == [
        ("validation", "64x64", 0.25),
        ("validation", "96x96", 0.5),
    ]
