"""Statuses of resources, trials and work. Standard library only.

`searchd.domain.transitions` has the legal transitions between them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


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


class ExportStatus(StrEnum):
    """The status of an export of a detector.

    Attributes:
        EXPORTING: Accepted; it is being written and compared with the detector, or waits for it.
        READY: Written, and it finds what the detector finds. Final.
        FAILED: `status_reason` says why; nothing is offered. Final.
    """

    EXPORTING = "exporting"
    READY = "ready"
    FAILED = "failed"


class DeviceStatus(StrEnum):
    """The status of a device.

    Attributes:
        MEASURING: Registered; its lookup table is being measured, or waits for it.
        READY: Measured; searches may count its latency as cost. Final.
        FAILED: `status_reason` says why. Final.
    """

    MEASURING = "measuring"
    READY = "ready"
    FAILED = "failed"


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


class Desired(StrEnum):
    """What is wanted of a piece of work; `DesiredBy` names who wants it.

    Attributes:
        RUN: Carry it out.
        PAUSE: Stop it within a time slice; it resumes from there when RUN is desired again.
        CANCEL: Stop it for good within a time slice; keep every finished score.
        KILL: Stop it for good without waiting for its driver.
    """

    RUN = "run"
    PAUSE = "pause"
    CANCEL = "cancel"
    KILL = "kill"


class DesiredBy(StrEnum):
    """Who asked for what is desired of a piece of work.

    Attributes:
        USER: A user. A user's request always takes precedence.
        DISK_GUARD: The coordinator's disk guard, which only pauses what a user wants to run, and
            resumes only what it paused itself.
    """

    USER = "user"
    DISK_GUARD = "disk_guard"


class WorkKind(StrEnum):
    """The kind of work that a driver is started for. TEACHER evaluates a teacher that exists
    already, TEACHER_TRAINING trains one and evaluates it."""

    DATASET_CHECK = "dataset_check"
    POOL = "pool"
    TEACHER = "teacher"
    TEACHER_TRAINING = "teacher_training"
    EXPORT = "export"
    DEVICE = "device"
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


ResourceStatus = (
    DatasetStatus | PoolStatus | TeacherStatus | ExportStatus | DeviceStatus | SearchStatus
)
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
"""By the kind of work that serves the resource. Checks, evaluations, exports and measurements of
devices are missing: they cannot be stopped."""
FAILED: Mapping[WorkKind, ResourceStatus] = {
    WorkKind.DATASET_CHECK: DatasetStatus.FAILED,
    WorkKind.POOL: PoolStatus.FAILED,
    WorkKind.TEACHER: TeacherStatus.FAILED,
    WorkKind.TEACHER_TRAINING: TeacherStatus.FAILED,
    WorkKind.EXPORT: ExportStatus.FAILED,
    WorkKind.DEVICE: DeviceStatus.FAILED,
    WorkKind.SEARCH: SearchStatus.FAILED,
    WorkKind.DISTILLATION: SearchStatus.FAILED,
}
"""The status of a resource whose work of this kind has failed."""
