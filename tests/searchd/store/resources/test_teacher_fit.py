"""Wherever a teacher comes from, a head that means something else is refused at submission."""

from dataclasses import replace
from typing import Any

import pytest

from searchd.domain.architecture import preset
from searchd.domain.detector import Detector, Family
from searchd.domain.errors import InvalidValueError
from searchd.domain.method_fit import traits
from searchd.spec import (
    BaseSpec,
    DistillationSpec,
    HeadSpec,
    MethodsSpec,
    SearchSpec,
    StudentSpec,
    TeacherSpec,
    TeachersSpec,
)
from searchd.store import Database
from searchd.store.resources import distillations, searches, teachers
from tests.searchd.store.factories import (
    add_dataset,
    add_pool,
    base_proposal,
    leased,
    refused,
    run_trial,
    search_spec,
    start_search,
    subnet_teacher,
    teacher_report,
    teacher_spec,
    trained_teacher,
)

FINER = HeadSpec(anchor_scale=4)
"""The head of a student whose anchors have half the sides of its teachers'."""
METHODS = ("head_transfer", "inheriting")


def methods(*names: str) -> MethodsSpec:
    return MethodsSpec.model_validate({"methods": [{"name": name} for name in names]})


def by_one_teacher(method: str) -> tuple[SearchSpec, DistillationSpec]:
    """A search and a distillation by the teacher "old"."""
    registered = TeachersSpec(registered=("old",))
    search = search_spec(pool=None, teachers=registered, head=FINER, distillation=methods(method))
    return search, DistillationSpec.model_validate(
        {
            "name": "mtpd",
            "dataset": "shapes",
            "student": StudentSpec(base=BaseSpec(), head=FINER),
            "teachers": {"first": "old"},
            "max_teachers": 1,
            # inheriting alone would be refused as no method of the later teachers
            "distillation": methods("feature_matching", method),
        }
    )


def add_evaluated(database: Database, spec: TeacherSpec, **changes: Any) -> None:
    """A teacher that mmdet describes with the head of ours, in some ways another."""
    known = replace(traits(Detector(architecture=preset("resnet18"))), anchor_scale=None)
    report = replace(
        teacher_report(Family.FASTER_RCNN), mmdet_traits=replace(known, head=(1024,), **changes)
    )
    with database.write() as session:
        row = teachers.create(session, spec)
    with leased(database, f"teacher-{row.id}") as (session, lease):
        teachers.record_report(session, lease, report)


def add_old(database: Database, source: str) -> None:
    """A teacher "old" with the anchors of the default head."""
    if source == "mmdet":
        add_evaluated(database, teacher_spec("old"))
        return
    spec = subnet_teacher().model_copy(update={"name": "old"})
    if source == "trained here":
        spec = trained_teacher("old", train={"backbone": "resnet50"})
    if source == "trial":
        _, lease = start_search(database)
        trial = run_trial(database, lease, base_proposal())
        spec = teacher_spec("old", mmdet=None, trial=trial.id)
    with database.write() as session:
        teachers.create(session, spec)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("source", ["mmdet", "trial", "trained here", "subnet"])
def test_a_head_with_other_anchors_is_not_copied(
    database: Database, source: str, method: str
) -> None:
    add_dataset(database)
    add_pool(database)
    add_old(database, source)
    search, distillation = by_one_teacher(method)

    with refused(
        database, InvalidValueError, f"teacher 'old': {method} needs a teacher"
    ) as session:
        searches.create(session, search)
    with refused(
        database, InvalidValueError, f"teacher 'first': {method} needs .* fits"
    ) as session:
        distillations.create(session, distillation)


@pytest.mark.parametrize("method", METHODS)
def test_nor_is_one_of_which_an_earlier_version_knew_no_more_than_its_family(
    database: Database, method: str
) -> None:
    add_dataset(database)
    add_evaluated(database, teacher_spec("old"), geometry=None)

    with refused(database, InvalidValueError, "register the teacher again") as session:
        searches.create(session, by_one_teacher(method)[0])


def test_necks_without_a_common_level_are_refused_by_the_methods_that_compare_levels(
    database: Database,
) -> None:
    add_dataset(database)
    add_evaluated(database, teacher_spec("old"), strides=(128,))

    expected = "fgd compares levels .* the student has 5, at strides 4, .* the teacher 1, at .* 128"
    with refused(database, InvalidValueError, expected) as session:
        searches.create(session, by_one_teacher("fgd")[0])
    with database.write() as session:
        searches.create(session, by_one_teacher("ckd")[0])


@pytest.mark.parametrize("method", METHODS)
def test_heads_of_other_numbers_of_levels_are_not_copied(database: Database, method: str) -> None:
    add_dataset(database)
    add_evaluated(database, teacher_spec("old"), strides=(4, 8, 16, 32), anchor_scale=4)

    expected = f"{method} needs a teacher with the levels .* has 5, at .* the teacher 4, at strides"
    with refused(database, InvalidValueError, expected) as session:
        searches.create(session, by_one_teacher(method)[0])


def test_the_message_names_the_pool_and_its_subnet(database: Database) -> None:
    add_dataset(database)
    add_pool(database)
    spec = search_spec(head=FINER, distillation=methods("head_transfer"))
    with refused(database, InvalidValueError, "pool 'teachers': head_transfer needs") as session:
        searches.create(session, spec)
