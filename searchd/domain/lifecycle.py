"""Statuses of every resource, and the transitions between them. Standard library only.

One table per kind of resource; `searchd.store.work.transition` is the only writer. A final status
is left only where a user may extend what has ended; a second table lists those transitions.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from searchd.domain.errors import IllegalTransitionError


class SearchStatus(StrEnum):
    """Where a search, or a distillation, is in its life.

    Attributes:
        QUEUED: Accepted; waits for admission. `status_reason` says for what.
        PREPARING: Its driver runs: data checked, base detector trained and scored, pool ready.
        RUNNING: Trials are running.
        PAUSING: A user asked to pause; trials in flight write checkpoints and stop.
        PAUSED: Holds nothing of the cluster; goes on from its checkpoints when a user asks.
        SUCCEEDED: The budget is spent or the search converged. Final.
        FAILED: It cannot go on; `status_reason` says why. Final.
        CANCELLING: A user asked to stop; trials in flight are being stopped.
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
    """Where an elastic teacher pool is in its life.

    Attributes:
        QUEUED: Accepted; waits for admission.
        TRAINING: Its driver runs progressive shrinking.
        PAUSING: A user asked to pause; its workers write a checkpoint and stop.
        PAUSED: Holds nothing of the cluster; goes on from its checkpoint when a user asks.
        READY: Trained; searches may sample teachers from it. Final.
        FAILED: `status_reason` says why. Final.
        CANCELLING: A user asked to stop.
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
    """Where a data set is in its life.

    Attributes:
        CHECKING: Registered; its files are being read.
        READY: Every check passed. Final.
        FAILED: A check failed; `status_reason` names the file and the record. Final.
    """

    CHECKING = "checking"
    READY = "ready"
    FAILED = "failed"


class TeacherStatus(StrEnum):
    """Where a registered teacher is in its life.

    Attributes:
        CHECKING: Registered; it is being loaded and evaluated.
        READY: Evaluated; distillations may name it. Final.
        FAILED: `status_reason` says why. Final.
    """

    CHECKING = "checking"
    READY = "ready"
    FAILED = "failed"


class TrialStatus(StrEnum):
    """Where a trial is in its life.

    Attributes:
        PENDING: Proposed; no worker has it. If one had it before, it goes on from its checkpoint.
        RUNNING: A worker trains it.
        SUCCEEDED: Trained and scored. Final.
        SKIPPED: Not trained to its end, and no failure: its action left nothing to do, or it was
            hopeless after its first epoch; `status_reason` says which. Final.
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
    """Where a piece of work is in its life.

    Attributes:
        QUEUED: No coordinator has started it, or it waits to be started again.
        LEASED: One driver holds it, under the lease number in its row.
        PAUSED: No driver is to be started until a user asks.
        DONE: The driver finished; the resource it served says how. Final.
        FAILED: Given up; `reason` says why. Final.
    """

    QUEUED = "queued"
    LEASED = "leased"
    PAUSED = "paused"
    DONE = "done"
    FAILED = "failed"


class WorkKind(StrEnum):
    """What a driver is started for."""

    DATASET_CHECK = "dataset_check"
    POOL = "pool"
    TEACHER = "teacher"
    SEARCH = "search"
    DISTILLATION = "distillation"


class FailureCause(StrEnum):
    """Why a trial failed; decides whether it is tried again.

    Attributes:
        OUT_OF_MEMORY: The device's memory was too small.
        NON_FINITE_LOSS: A loss became infinite or not a number.
        WORKER_LOST: The worker process ended without a report.
        STORE_REFUSED: The artifact store took no writes for longer than a worker waits.
        BAD_CHECKPOINT: A stored file is missing or does not match its SHA-256.
        DATA_ERROR: The data set breaks a rule.
        BUG: Anything else; the traceback is stored.
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
        """Whether another attempt can end differently."""
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
    WorkKind.SEARCH: _SEARCH_STATUSES,
    WorkKind.DISTILLATION: _SEARCH_STATUSES,
}
"""By the kind of work that serves the resource. Checks are missing: they cannot be stopped."""
FAILED: Mapping[WorkKind, ResourceStatus] = {
    WorkKind.DATASET_CHECK: DatasetStatus.FAILED,
    WorkKind.POOL: PoolStatus.FAILED,
    WorkKind.TEACHER: TeacherStatus.FAILED,
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
    # READY: its last time slice was over before its workers looked whether to stop.
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
}
_TRIAL: _Table = {
    TrialStatus.PENDING: {TrialStatus.RUNNING, TrialStatus.CANCELLED},
    TrialStatus.RUNNING: {
        TrialStatus.SUCCEEDED,
        TrialStatus.SKIPPED,
        TrialStatus.FAILED,
        TrialStatus.CANCELLED,
        TrialStatus.PENDING,  # its worker or driver died: offered again
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
_AGAIN: Mapping[type[AnyStatus], _Table] = {
    # Out of what is final, when a user extends a search.
    SearchStatus: {
        SearchStatus.SUCCEEDED: {SearchStatus.QUEUED},
        SearchStatus.FAILED: {SearchStatus.QUEUED},
        SearchStatus.CANCELLED: {SearchStatus.QUEUED},
    },
    TrialStatus: {TrialStatus.CANCELLED: {TrialStatus.PENDING}},
    WorkStatus: {
        WorkStatus.DONE: {WorkStatus.QUEUED},
        WorkStatus.FAILED: {WorkStatus.QUEUED},
    },
}


def next_statuses(status: AnyStatus) -> frozenset[AnyStatus]:
    """Where a status may go; of a final one, where a user may have it go on."""
    kind = type(status)
    return frozenset(_TABLES[kind].get(status, _AGAIN.get(kind, {}).get(status, ())))


def is_final(status: AnyStatus) -> bool:
    """Whether it has ended: nothing leads out of it unless a user asks for more."""
    return status not in _TABLES[type(status)]


def check_transition(what: str, status: AnyStatus, to: AnyStatus) -> None:
    """
    Raises:
        IllegalTransitionError: The table does not lead from `status` to `to`; names `what`.
    """
    # Members of two enums with the same text are equal, hence the check of the type.
    if type(to) is not type(status) or to not in next_statuses(status):
        raise IllegalTransitionError(f"{what} cannot go from {status} to {to}")
