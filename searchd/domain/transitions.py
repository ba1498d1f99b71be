"""The legal transitions between statuses: one table per kind. Standard library only.

`searchd.store.work.transition` is the only writer. A final status is left only if a user extends a
run that has ended, or has a data set checked again; a second table lists those transitions.
"""

from collections.abc import Mapping

from searchd.domain.errors import IllegalTransitionError
from searchd.domain.lifecycle import (
    FAILED,
    AnyStatus,
    DatasetStatus,
    DeviceStatus,
    ExportStatus,
    PoolStatus,
    ResourceStatus,
    SearchStatus,
    TeacherStatus,
    TrialStatus,
    WorkStatus,
)

_Table = Mapping[AnyStatus, set[AnyStatus]]
_SEARCH: _Table = {
    SearchStatus.QUEUED: {
        SearchStatus.PREPARING,
        SearchStatus.PAUSED,
        SearchStatus.CANCELLED,
        SearchStatus.FAILED,
    },
    SearchStatus.PREPARING: {
        SearchStatus.RUNNING,
        SearchStatus.PAUSING,
        SearchStatus.CANCELLING,
        SearchStatus.FAILED,
    },
    SearchStatus.RUNNING: {
        SearchStatus.SUCCEEDED,
        SearchStatus.PAUSING,
        SearchStatus.CANCELLING,
        SearchStatus.FAILED,
    },
    SearchStatus.PAUSING: {
        SearchStatus.PAUSED,
        SearchStatus.CANCELLING,
        SearchStatus.FAILED,
    },
    SearchStatus.PAUSED: {SearchStatus.QUEUED, SearchStatus.CANCELLED},
    SearchStatus.CANCELLING: {SearchStatus.CANCELLED, SearchStatus.FAILED},
}
_POOL: _Table = {
    PoolStatus.QUEUED: {
        PoolStatus.TRAINING,
        PoolStatus.PAUSED,
        PoolStatus.CANCELLED,
        PoolStatus.FAILED,
    },
    PoolStatus.TRAINING: {
        PoolStatus.READY,
        PoolStatus.PAUSING,
        PoolStatus.CANCELLING,
        PoolStatus.FAILED,
    },
    # READY: its last time slice ended before its workers checked whether to stop.
    PoolStatus.PAUSING: {
        PoolStatus.PAUSED,
        PoolStatus.READY,
        PoolStatus.CANCELLING,
        PoolStatus.FAILED,
    },
    PoolStatus.PAUSED: {PoolStatus.QUEUED, PoolStatus.CANCELLED},
    PoolStatus.CANCELLING: {PoolStatus.READY, PoolStatus.CANCELLED, PoolStatus.FAILED},
}
_DATASET: _Table = {
    DatasetStatus.CHECKING: {DatasetStatus.READY, DatasetStatus.FAILED},
}
_EXPORT: _Table = {
    ExportStatus.EXPORTING: {ExportStatus.READY, ExportStatus.FAILED},
}
_DEVICE: _Table = {
    DeviceStatus.MEASURING: {DeviceStatus.READY, DeviceStatus.FAILED},
}
_TEACHER: _Table = {
    TeacherStatus.CHECKING: {TeacherStatus.READY, TeacherStatus.FAILED},
    TeacherStatus.QUEUED: {
        TeacherStatus.TRAINING,
        TeacherStatus.PAUSED,
        TeacherStatus.CANCELLED,
        TeacherStatus.FAILED,
    },
    TeacherStatus.TRAINING: {
        TeacherStatus.READY,
        TeacherStatus.PAUSING,
        TeacherStatus.CANCELLING,
        TeacherStatus.FAILED,
    },
    # READY: its last time slice ended before its worker checked whether to stop.
    TeacherStatus.PAUSING: {
        TeacherStatus.PAUSED,
        TeacherStatus.READY,
        TeacherStatus.CANCELLING,
        TeacherStatus.FAILED,
    },
    TeacherStatus.PAUSED: {TeacherStatus.QUEUED, TeacherStatus.CANCELLED},
    TeacherStatus.CANCELLING: {
        TeacherStatus.READY,
        TeacherStatus.CANCELLED,
        TeacherStatus.FAILED,
    },
}
_TRIAL: _Table = {
    TrialStatus.PENDING: {TrialStatus.RUNNING, TrialStatus.CANCELLED},
    TrialStatus.RUNNING: {
        TrialStatus.SUCCEEDED,
        TrialStatus.SKIPPED,
        TrialStatus.FAILED,
        TrialStatus.CANCELLED,
        TrialStatus.PENDING,  # its worker or driver died, or it was stopped: it is retried
    },
}
_WORK: _Table = {
    WorkStatus.QUEUED: {
        WorkStatus.LEASED,
        WorkStatus.PAUSED,
        WorkStatus.DONE,
        WorkStatus.FAILED,
    },
    WorkStatus.LEASED: {
        WorkStatus.QUEUED,
        WorkStatus.PAUSED,
        WorkStatus.DONE,
        WorkStatus.FAILED,
    },
    WorkStatus.PAUSED: {WorkStatus.QUEUED, WorkStatus.DONE},
}

_TABLES: Mapping[type[AnyStatus], _Table] = {
    # By type, since members of two StrEnums with the same text are equal as dictionary keys.
    SearchStatus: _SEARCH,
    PoolStatus: _POOL,
    DatasetStatus: _DATASET,
    TeacherStatus: _TEACHER,
    ExportStatus: _EXPORT,
    DeviceStatus: _DEVICE,
    TrialStatus: _TRIAL,
    WorkStatus: _WORK,
}
_EXTENDED: Mapping[type[AnyStatus], _Table] = {
    # From final statuses, when a user extends a run or has a data set checked again.
    SearchStatus: {
        SearchStatus.SUCCEEDED: {SearchStatus.QUEUED},
        SearchStatus.FAILED: {SearchStatus.QUEUED},
        SearchStatus.CANCELLED: {SearchStatus.QUEUED},
    },
    DatasetStatus: {
        DatasetStatus.READY: {DatasetStatus.CHECKING},
        DatasetStatus.FAILED: {DatasetStatus.CHECKING},
    },
    TrialStatus: {TrialStatus.CANCELLED: {TrialStatus.PENDING}},
    WorkStatus: {
        WorkStatus.DONE: {WorkStatus.QUEUED},
        WorkStatus.FAILED: {WorkStatus.QUEUED},
    },
}


def failed_without_result(status: ResourceStatus, *, has_result: bool) -> bool:
    """Return whether a resource failed before it had anything worth keeping.

    Its name is free again: a new resource of the same name replaces it.

    Args:
        status: Status of the resource.
        has_result: Whether it has an epoch, a measurement or a file; of a data set: whether a check
            passed and something uses it.
    """
    return status in FAILED.values() and not has_result


def next_statuses(status: AnyStatus) -> frozenset[AnyStatus]:
    """Return the statuses that may follow; after a final one, those that an extension leads to."""
    kind = type(status)
    return frozenset(_TABLES[kind].get(status, _EXTENDED.get(kind, {}).get(status, ())))


def is_final(status: AnyStatus) -> bool:
    """Return whether a resource with this status has ended, unless a user makes it continue."""
    return status not in _TABLES[type(status)]


def check_transition(what: str, status: AnyStatus, to: AnyStatus) -> None:
    """Check that the table leads from one status to another.

    Args:
        what: What is to change its status, for the message.
        status: The present status.
        to: The new status.

    Raises:
        IllegalTransitionError: The table does not lead there.
    """
    # Members of two enums with the same text are equal, hence the check of the type.
    if type(to) is not type(status) or to not in next_statuses(status):
        raise IllegalTransitionError(f"{what} cannot go from {status} to {to}")
