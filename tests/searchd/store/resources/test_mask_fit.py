"""Detectors of masks are refused on a data set without masks, when they are submitted or queued."""

from typing import Any

import pytest

from searchd.domain.errors import InvalidFieldError
from searchd.spec import BaseSpec, HeadSpec, ScoreSpec, StudentSpec
from searchd.store import Database
from searchd.store.models import TeacherRow
from searchd.store.resources import datasets, distillations, mask_fit, searches, teachers
from tests.searchd.store.factories import (
    add_dataset,
    add_pool,
    dataset_spec,
    distillation_spec,
    leased,
    refused,
    search_spec,
    trained_teacher,
)

MASKS = HeadSpec(family="mask_rcnn")
OWN = {"backbone": "resnet18", "head": {"family": "mask_rcnn"}}
"""The training of a teacher that is one of this project's detectors."""


def summary(*, train: int = 9, validation: int = 4) -> dict[str, Any]:
    """Of the check of a data set with 9 and 4 objects, so many of which have a mask."""
    of_splits = {
        "train": {"objects": 9, "masks": train},
        "validation": {"objects": 4, "masks": validation},
    }
    return {"class_names": ["a"], "statistics": {"splits": of_splits}}


def checked(database: Database, **masks: int) -> None:
    """The data set, ready, and a pool on it."""
    with database.write() as session:
        row = datasets.create(session, dataset_spec())
    with leased(database, f"dataset_check-{row.id}") as (session, lease):
        datasets.record_ready(session, lease, summary(**masks))
    add_pool(database)


def test_search_of_masks_is_refused_with_the_number_of_objects_without_one(
    database: Database,
) -> None:
    checked(database, train=7)

    with refused(
        database,
        InvalidFieldError,
        "data set 'shapes' has no mask of 2 of the 9 objects of its train split, from which "
        "mask_rcnn learns; add their segmentation and check it again",
    ) as session:
        searches.create(session, search_spec(head=MASKS))


def test_distillation_of_masks_needs_them_for_validation_too(database: Database) -> None:
    checked(database, validation=0)
    student = StudentSpec(base=BaseSpec(), head=MASKS)

    with refused(
        database, InvalidFieldError, "has no mask of 4 of the 4 objects of its validation split"
    ) as session:
        distillations.create(session, distillation_spec(student=student))


def test_teacher_that_is_trained_on_masks_needs_them(database: Database) -> None:
    checked(database, train=0)

    with refused(
        database, InvalidFieldError, "has no mask of 9 of the 9 objects of its train split"
    ) as session:
        teachers.create(session, trained_teacher(train=OWN))


def test_with_all_masks_everything_is_accepted(database: Database) -> None:
    checked(database)

    with database.write() as session:
        searches.create(session, search_spec(head=MASKS))
        teachers.create(session, trained_teacher(train=OWN))


def test_detectors_of_boxes_need_no_masks(database: Database) -> None:
    checked(database, train=0, validation=0)

    with database.write() as session:
        searches.create(session, search_spec())
        teachers.create(session, trained_teacher())


def test_data_set_of_an_earlier_version_is_to_be_checked_again(database: Database) -> None:
    add_dataset(database)
    add_pool(database)

    with refused(
        database, InvalidFieldError, "check it again: searchd dataset recheck shapes"
    ) as session:
        searches.create(session, search_spec(head=MASKS))


@pytest.mark.parametrize(("masks", "reason"), [(3, "has no mask of 6 of the 9"), (9, "None")])
def test_what_was_submitted_during_the_check_is_looked_at_after_it(
    database: Database, masks: int, reason: str
) -> None:
    with database.write() as session:
        dataset = datasets.create(session, dataset_spec())
        teacher = teachers.create(session, trained_teacher(train=OWN))
        assert mask_fit.misfit(session, teacher) is None
    with leased(database, f"dataset_check-{dataset.id}") as (session, lease):
        datasets.record_ready(session, lease, summary(train=masks))

    with database.read() as session:
        found = mask_fit.misfit(session, session.get_one(TeacherRow, teacher.id))

    assert reason in str(found)


def test_mask_ap_ranks_only_detectors_that_find_masks(database: Database) -> None:
    checked(database)
    score = ScoreSpec(accuracy="mask_ap")
    reason = (
        "mask_ap needs detectors that find masks, and faster_rcnn finds boxes alone; use "
        "mask_rcnn or cascade_mask_rcnn"
    )

    with refused(database, InvalidFieldError, reason) as session:
        searches.create(session, search_spec(score=score))
    with refused(database, InvalidFieldError, reason) as session:
        student = StudentSpec(base=BaseSpec(), head=HeadSpec())
        distillations.create(session, distillation_spec(student=student, score=score))
    with database.write() as session:
        searches.create(session, search_spec(head=MASKS, score=score))
