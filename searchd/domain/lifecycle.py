"""Statuses of resources, trials and work, and the transitions between them. Standard library only.

There is one table per kind; `searchd.store.work.transition` is the only writer. A final status is
left only if a user extends a run that has ended, or has a data set checked again; a second table
lists those transitions.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from searchd.domain.errors import IllegalTransitionError


class SearchStatus(StrEnum):
    """The status of a search or a distillation.

    Attributes:
        QUEUED: Accepted; waits for admission. `status_reason` says why it waits.
        PREPARING: Its driver trains and scores the base detector and waits for the pool.
        RUNNING: Trials are running.
        PAUSING: It is to be paused; trials in flight write checkpoints and stop.
        PAUSED: Uses no resources of the cluster; resumes from its checkpoints.
        SUCCEEDED: The budget is spent or the search converged. Final.
        FAILED: It cannot continue; `status_reason` says why. Final.
        CANCELLING: A user asked to cancel; trials in flight are being stopped.
        CANCELLED: Stopped; every finished score is kept. Final.
    """

    QUEUED = "queued"
    PREPARING = "preparing"
    RUNNING = "running"
    PAUSING = "pausing"
    PAUSED = "paused"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLING = "cancelling"
    CANCELLED = "cancelled"


class PoolStatus(StrEnum):
    """The status of an elastic teacher pool.

    Attributes:
        QUEUED: Accepted; waits for admission.
        TRAINING: Its driver runs progressive shrinking.
        PAUSING: It is to be paused; its workers write a checkpoint and stop.
        PAUSED: Uses no resources of the cluster; resumes from its checkpoint.
        READY: Trained; searches may sample teachers from it. Final.
        FAILED: `status_reason` says why. Final.
        CANCELLING: A user asked to cancel; its workers are being stopped.
        CANCELLED: Stopped. Final.
    """

    QUEUED = "queued"
    TRAINING = "training"
    PAUSING = "pausing"
    PAUSED = "paused"
    READY = "ready"
    FAILED = "failed"
    CANCELLING = "cancelling"
    CANCELLED = "cancelled"


class DatasetStatus(StrEnum):
    """The status of a data set.

    Attributes:
        CHECKING: Registered; its files are being read.
        READY: Every check passed. Final.
        FAILED: A check failed; `status_reason` names the file and the record. Final.
    """

    CHECKING = "checking"
    READY = "ready"
    FAILED = "failed"


class TeacherStatus(StrEnum):
    """The status of a registered teacher: of one that exists already CHECKING, READY and FAILED, of
    one that is trained all but CHECKING.

    Attributes:
        CHECKING: Registered; it is being loaded and evaluated.
        QUEUED: Its training is accepted; waits for admission.
        TRAINING: Its driver trains it, then evaluates it.
        PAUSING: It is to be paused; its worker writes a checkpoint and stops.
        PAUSED: Uses no resources of the cluster; resumes from its checkpoint.
        READY: Evaluated; searches and distillations may name it. Final.
        FAILED: `status_reason` says why. Final.
        CANCELLING: A user asked to cancel; its worker is being stopped.
        CANCELLED: Stopped. Final.
    """

    CHECKING = "checking"
    QUEUED = "queued"
    TRAINING = "training"
    PAUSING = "pausing"
    PAUSED = "paused"
    READY = "ready"
    FAILED = "failed"
    CANCELLING = "cancelling"
    CANCELLED = "cancelled"


class TrialStatus(StrEnum):
    """The status of a trial.

    Attributes:
        PENDING: Proposed; no worker has it. If one had it before, it resumes from its checkpoint.
        RUNNING: A worker trains it.
        SUCCEEDED: Trained and scored. Final.
        SKIPPED: Not trained to its end, without a failure: its action changed nothing, or early
            stopping ended it after its first epoch; `status_reason` says which. Final.
        FAILED: `cause` and `status_reason` say why. Final.
        CANCELLED: Stopped by a user or by the end of its search. Final.
    """

    PENDING = "pending"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    SKIPPED = "skipped"
    FAILED = "failed"
    CANCELLED = "cancelled"


class WorkStatus(StrEnum):
    """The status of a piece of work.

    Attributes:
        QUEUED: It waits for a driver: for the first one, or for another after a crash or a pause.
        LEASED: One driver holds it, under the lease number in its row.
        PAUSED: No driver is started until it is resumed.
        DONE: The driver finished; the status of the resource is the result. Final.
        FAILED: Given up; `status_reason` says why. Final.
    """

    QUEUED = "queued"
    LEASED = "leased"
    PAUSED = "paused"
    DONE = "done"
    FAILED = "failed"


class WorkKind(StrEnum):
    """The kind of work that a driver is started for. TEACHER evaluates a teacher that exists
    already, TEACHER_TRAINING trains one and evaluates it."""

    DATASET_CHECK = "dataset_check"
    POOL = "pool"
    TEACHER = "teacher"
    TEACHER_TRAINING = "teacher_training"
    SEARCH = "search"
    DISTILLATION = "distillation"


class FailureCause(StrEnum):
    """Why a trial failed; decides whether it is retried.

    Attributes:
        OUT_OF_MEMORY: The device's memory was too small.
        NON_FINITE_LOSS: A loss became infinite or not a number.
        WORKER_LOST: The worker process ended without a report.
        STORE_REFUSED: The artifact store refused writes for longer than a worker waits.
        BAD_CHECKPOINT: A stored file is missing or does not match its SHA-256.
        DATA_ERROR: The data set breaks a rule.
        BUG: Any other error; the traceback is stored.
    """

    OUT_OF_MEMORY = "out_of_memory"
    NON_FINITE_LOSS = "non_finite_loss"
    WORKER_LOST = "worker_lost"
    STORE_REFUSED = "store_refused"
    BAD_CHECKPOINT = "bad_checkpoint"
    DATA_ERROR = "data_error"
    BUG = "bug"

    @property
    def is_retried(self) -> bool:
        """Return whether another attempt can have another result."""
        return self in (FailureCause.WORKER_LOST, FailureCause.STORE_REFUSED)


ResourceStatus = DatasetStatus | PoolStatus | TeacherStatus | SearchStatus
AnyStatus = ResourceStatus | TrialStatus | WorkStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class StoppableStatuses:
    """The statuses of a kind of resource that users can pause and cancel."""

    queued: ResourceStatus
    pausing: ResourceStatus
    paused: ResourceStatus
    cancelling: ResourceStatus
    cancelled: ResourceStatus


_SEARCH_STATUSES = StoppableStatuses(
    queued=SearchStatus.QUEUED,
    pausing=SearchStatus.PAUSING,
    paused=SearchStatus.PAUSED,
    cancelling=SearchStatus.CANCELLING,
    cancelled=SearchStatus.CANCELLED,
)
STOPPABLE: Mapping[WorkKind, StoppableStatuses] = {
    WorkKind.POOL: StoppableStatuses(
        queued=PoolStatus.QUEUED,
        pausing=PoolStatus.PAUSING,
        paused=PoolStatus.PAUSED,
        cancelling=PoolStatus.CANCELLING,
        cancelled=PoolStatus.CANCELLED,
    ),
    WorkKind.TEACHER_TRAINING: StoppableStatuses(
        queued=TeacherStatus.QUEUED,
        pausing=TeacherStatus.PAUSING,
        paused=TeacherStatus.PAUSED,
        cancelling=TeacherStatus.CANCELLING,
        cancelled=TeacherStatus.CANCELLED,
    ),
    WorkKind.SEARCH: _SEARCH_STATUSES,
    WorkKind.DISTILLATION: _SEARCH_STATUSES,
}
"""By the kind of work that serves the resource. Checks and evaluations are missing: they cannot be
stopped."""
FAILED: Mapping[WorkKind, ResourceStatus] = {
    WorkKind.DATASET_CHECK: DatasetStatus.FAILED,
    WorkKind.POOL: PoolStatus.FAILED,
    WorkKind.TEACHER: TeacherStatus.FAILED,
    WorkKind.TEACHER_TRAINING: TeacherStatus.FAILED,
    WorkKind.SEARCH: SearchStatus.FAILED,
    WorkKind.DISTILLATION: SearchStatus.FAILED,
}
"""The status of a resource whose work of this kind has failed."""

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
