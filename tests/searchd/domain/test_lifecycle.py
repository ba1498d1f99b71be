"""Statuses and the transitions between them."""

import pytest

from searchd.domain.errors import IllegalTransitionError
from searchd.domain.lifecycle import (
    FAILED,
    STOPPABLE,
    DatasetStatus,
    DeviceStatus,
    ExportStatus,
    PoolStatus,
    SearchStatus,
    TeacherStatus,
    WorkKind,
)
from searchd.domain.transitions import check_transition, is_final, next_statuses


def test_statuses_of_two_kinds_of_resources_are_not_mixed_up() -> None:
    check_transition("pools p-1", PoolStatus.QUEUED, PoolStatus.PAUSED)
    with pytest.raises(IllegalTransitionError, match="pools p-1 cannot go from queued to paused"):
        check_transition("pools p-1", PoolStatus.QUEUED, SearchStatus.PAUSED)


def test_every_kind_of_work_knows_the_failed_status_of_its_resource() -> None:
    assert FAILED == {
        WorkKind.DATASET_CHECK: DatasetStatus.FAILED,
        WorkKind.POOL: PoolStatus.FAILED,
        WorkKind.TEACHER: TeacherStatus.FAILED,
        WorkKind.TEACHER_TRAINING: TeacherStatus.FAILED,
        WorkKind.EXPORT: ExportStatus.FAILED,
        WorkKind.DEVICE: DeviceStatus.FAILED,
        WorkKind.SEARCH: SearchStatus.FAILED,
        WorkKind.DISTILLATION: SearchStatus.FAILED,
    }
    assert FAILED[WorkKind.POOL] is PoolStatus.FAILED  # equal texts would pass above
    assert FAILED[WorkKind.SEARCH] is SearchStatus.FAILED


def test_trainings_and_runs_can_be_stopped_and_checks_cannot() -> None:
    assert set(STOPPABLE) == {
        *(WorkKind.POOL, WorkKind.TEACHER_TRAINING, WorkKind.SEARCH, WorkKind.DISTILLATION),
    }
    assert STOPPABLE[WorkKind.TEACHER_TRAINING].paused is TeacherStatus.PAUSED
    assert STOPPABLE[WorkKind.POOL].paused is PoolStatus.PAUSED
    assert STOPPABLE[WorkKind.DISTILLATION].paused is SearchStatus.PAUSED


def test_a_teacher_is_either_checked_or_trained() -> None:
    checked = {TeacherStatus.READY, TeacherStatus.FAILED}
    assert next_statuses(TeacherStatus.CHECKING) == checked
    assert next_statuses(TeacherStatus.QUEUED) == {
        *(TeacherStatus.TRAINING, TeacherStatus.PAUSED, TeacherStatus.CANCELLED),
        TeacherStatus.FAILED,
    }
    assert next_statuses(TeacherStatus.PAUSED) == {TeacherStatus.QUEUED, TeacherStatus.CANCELLED}
    assert {status for status in TeacherStatus if is_final(status)} == {
        *(TeacherStatus.READY, TeacherStatus.FAILED, TeacherStatus.CANCELLED),
    }
