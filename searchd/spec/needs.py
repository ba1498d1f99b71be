"""The CPUs and GPUs that a spec needs."""

from searchd.domain.capacity import Need
from searchd.domain.export_formats import FORMATS
from searchd.spec.devices import DeviceSpec
from searchd.spec.distillations import DistillationSpec
from searchd.spec.exports import ExportSpec
from searchd.spec.pool import PoolSpec
from searchd.spec.search import SearchSpec
from searchd.spec.teachers import TeacherSpec


def need_of(
    spec: SearchSpec | DistillationSpec | PoolSpec | TeacherSpec | ExportSpec | DeviceSpec,
) -> Need:
    """Return what the work that a spec describes needs at the same time."""
    match spec:
        case DeviceSpec():
            return Need(part="measurement", cpus=spec.threads, gpus=int(spec.gpu))
        case ExportSpec():
            return Need(part="export", cpus=spec.cpus, gpus=FORMATS[spec.format].gpus)
        case TeacherSpec():
            return Need(part="teacher", cpus=spec.cpus, gpus=spec.gpus)
        case PoolSpec():
            cpus, gpus = spec.cpus_per_worker, spec.gpus_per_worker
            return Need(part="worker", count=spec.num_workers, cpus=cpus, gpus=gpus)
        case _:
            reserved = spec.resources
            cpus, gpus = reserved.cpus_per_trial, reserved.gpus_per_trial
            return Need(part="trial", cpus=cpus, gpus=gpus)
