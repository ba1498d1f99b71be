"""Statuses and the transitions between them."""

import pytest

from searchd.domain.errors import IllegalTransitionError
from searchd.domain.lifecycle import (
    FAILED,
    STOPPABLE,
    DatasetStatus,
    PoolStatus,
    SearchStatus,
    TeacherStatus,
    WorkKind,
    check_transition,
)


def test_statuses_of_two_kinds_of_resources_are_not_mixed_up() -> None:
    check_transition("pools p-1", PoolStatus.QUEUED, PoolStatus.PAUSED)
    with pytest.raises(IllegalTransitionError, match="pools p-1 cannot go from queued to paused"):
        check_transition("pools p-1", PoolStatus.QUEUED, SearchStatus.PAUSED)


def test_every_kind_of_work_knows_the_failed_status_of_its_resource() -> None:
    assert FAILED == {
        WorkKind.DATASET_CHECK: DatasetStatus.FAILED,
        WorkKind.POOL: PoolStatus.FAILED,
        WorkKind.TEACHER: TeacherStatus.FAILED,
        WorkKind.SEARCH: SearchStatus.FAILED,
        WorkKind.DISTILLATION: SearchStatus.FAILED,
    }
    assert FAILED[WorkKind.POOL] is PoolStatus.FAILED  # equal texts would pass above
    assert FAILED[WorkKind.SEARCH] is SearchStatus.FAILED


def test_pools_and_runs_can_be_stopped_and_checks_cannot() -> None:
    assert set(STOPPABLE) == {WorkKind.POOL, WorkKind.SEARCH, WorkKind.DISTILLATION}
    assert STOPPABLE[WorkKind.POOL].paused is PoolStatus.PAUSED
    assert STOPPABLE[WorkKind.DISTILLATION].paused is SearchStatus.PAUSED
