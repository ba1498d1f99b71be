"""A run (a search or a distillation) as the driver sees it, and the folders of its artifacts."""

from dataclasses import dataclass

from sqlalchemy.orm import Session

from searchd.domain.latency_table import LatencyTable
from searchd.domain.teacher import RegisteredTeacher, Teacher
from searchd.messages import files
from searchd.settings import Settings
from searchd.spec import (
    DatasetSpec,
    DeviceSpec,
    DistillationSpec,
    PoolSpec,
    SearchSpec,
)
from searchd.store.models import DatasetRow, DistillationRow, PoolRow, RunRow
from searchd.store.resources import devices, distillations, teachers


@dataclass(frozen=True, slots=True, kw_only=True)
class RunDevice:
    """The device whose latency a run counts as cost."""

    spec: DeviceSpec
    table: LatencyTable
    """Its lookup table."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A search or a distillation as it was submitted, with the resources that it names."""

    id: str
    spec: SearchSpec | DistillationSpec
    dataset: DatasetSpec
    num_classes: int
    pool_id: str | None
    pool_spec: PoolSpec | None
    origin_id: str | None
    """Id of the finished trial whose student is the base; None if the base is trained or loaded."""
    teachers: dict[str, Teacher]
    """The teachers of a distillation, by the names that its order uses; the registered teachers of
    a search, by their names."""
    device: RunDevice | None = None
    """The device whose latency is the cost; None if another cost is counted."""

    @property
    def device_round_to(self) -> int:
        """Multiple of channels that the device computes best; 1 without a device."""
        return 1 if self.device is None else self.device.spec.round_to


def load_run(session: Session, run_id: str) -> Run:
    """Read a run that was admitted."""
    row = session.get_one(RunRow, run_id)
    dataset = session.get_one(DatasetRow, row.dataset_id)
    assert dataset.summary is not None  # a run is admitted once its data set is READY
    pool = None if row.pool_id is None else session.get_one(PoolRow, row.pool_id)
    return Run(
        id=row.id,
        spec=row.spec,
        dataset=dataset.spec.as_checked(dataset.summary),
        num_classes=len(dataset.summary["class_names"]),
        pool_id=row.pool_id,
        pool_spec=None if pool is None else pool.spec,
        origin_id=row.origin_id,
        teachers=_teachers(session, row),
        device=_device(session, row),
    )


def _device(session: Session, row: RunRow) -> RunDevice | None:
    name = row.spec.score.device
    if name is None:
        return None
    found = devices.get(session, name)
    assert found.report is not None  # checked when the run was submitted
    return RunDevice(spec=found.spec, table=found.report.table)


def _teachers(session: Session, row: RunRow) -> dict[str, Teacher]:
    if isinstance(row, DistillationRow):
        return distillations.teachers(session, row)
    found = teachers.of_run(session, row.spec)
    return {name: RegisteredTeacher(teacher=each.id) for name, each in found.items()}


def run_folder(settings: Settings, run_id: str) -> str:
    """Return the URI of a run's folder."""
    return files.run_folder(settings.artifact_root, run_id)


def attempt_folder(settings: Settings, run_id: str, trial: str, attempt: int) -> str:
    """Return the URI of the folder that one attempt writes to."""
    return files.attempt_folder(settings.artifact_root, run_id, trial, attempt)
