"""The CPUs and GPUs that a spec needs."""

import math

from searchd.domain.capacity import Need
from searchd.domain.export_formats import FORMATS
from searchd.spec.devices import DeviceSpec
from searchd.spec.distillations import DistillationSpec
from searchd.spec.exports import ExportSpec
from searchd.spec.pool import PoolSpec
from searchd.spec.search import SearchSpec
from searchd.spec.teachers import TeacherSpec

WorkSpec = SearchSpec | DistillationSpec | PoolSpec | TeacherSpec | ExportSpec | DeviceSpec
"""The specs of work that reserves CPUs and GPUs."""


def need_of(spec: WorkSpec) -> Need:
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


def unusable_gpus(spec: WorkSpec) -> tuple[str, str] | None:
    """Return the field of GPUs that the work could not use, and why; None if it can use them."""
    need = need_of(spec)
    if isinstance(spec, PoolSpec) and need.count > 1 and 0 < need.gpus < 1:
        reason = (
            f"each of {need.count} workers asks for {need.gpus:g} of a GPU, but those that share "
            "one cannot train together (NCCL): give gpus_per_worker: 1, or num_workers: 1"
        )
        return "gpus_per_worker", reason
    if need.gpus <= 1:
        return None
    field, cure = _one_gpu(spec)
    reason = f"each {need.part} asks for {need.gpus:g} GPUs, and it trains on one: give {cure}"
    return field, reason


def _one_gpu(spec: WorkSpec) -> tuple[str, str]:
    """Return the field of the GPUs of a part, and how to use as many with one for each."""
    match spec:
        case TeacherSpec():
            return "gpus", "gpus: 1"
        case PoolSpec():
            workers = math.ceil(spec.num_workers * spec.gpus_per_worker)
            return "gpus_per_worker", f"gpus_per_worker: 1 and num_workers: {workers}"
        case _:
            cure = "gpus_per_trial: 1; further GPUs are used by more trials_in_flight"
            return "resources.gpus_per_trial", cure
