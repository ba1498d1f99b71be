"""Measures on a device: its lookup table, and detectors that a search found. Plain functions that
run on the device and reach no database."""

import platform
from functools import partial

import torch

from detection.build import load_student
from detection.deployment.device_table import calibrate, latency_of, noise
from detection.deployment.runtime import Runtime, create
from detection.deployment.timing import measure_quietly, processor
from detection.stored_weights import read_student
from searchd import artifacts
from searchd.messages.codecs import DEVICE_REPORT
from searchd.messages.devices import (
    DeviceLatency,
    DeviceLatencyTask,
    DeviceReport,
    DeviceTask,
)
from searchd.messages.files import REPORT_FILE
from searchd.messages.tasks import MeasuredDetector
from searchd.spec import DeviceSpec


def measure_table(task: DeviceTask) -> DeviceReport:
    """Measure layers and detectors, fit the table, and check its predictions.

    Returns:
        The report, after it was stored as `report.json` in the task's folder.

    Raises:
        InvalidValueError: The packages of the runtime are not installed, or there is no GPU.
    """
    spec = task.spec
    runtime = _runtime(spec)
    found = calibrate(spec, runtime)
    report = DeviceReport(
        hardware=torch.cuda.get_device_name() if spec.gpu else processor(),
        software=f"{runtime.software}, {platform.system()} {platform.release()}",
        host=platform.node(),
        table=found.table,
        median_error=found.median_error,
        largest_error=max(found.errors),
        checked=found.checked,
        num_measured=len(found.timings),
        num_noisy=sum(not timing.is_quiet for timing in found.timings),
    )
    uri = artifacts.join(task.artifacts, REPORT_FILE)
    artifacts.write(uri, DEVICE_REPORT.dump_json(report), name="report")
    return report


def measure_latencies(task: DeviceLatencyTask) -> list[DeviceLatency]:
    """Measure detectors through the exported graph, in the order of `task.detectors`.

    Raises:
        ArtifactError: A stored student is missing or damaged.
        InvalidValueError: A detector cannot be exported, or the runtime cannot be used.
    """
    runtime = _runtime(task.spec)
    by_trial: dict[str, list[int]] = {}
    for index, each in enumerate(task.detectors):
        by_trial.setdefault(each.trial, []).append(index)
    found: dict[int, DeviceLatency] = {}
    for indices in by_trial.values():  # a trial is exported once, whatever the resolutions
        detectors = [task.detectors[index] for index in indices]
        found |= dict(zip(indices, _latencies(task.spec, runtime, detectors), strict=True))
    return [found[index] for index in range(len(task.detectors))]


def _runtime(spec: DeviceSpec) -> Runtime:
    torch.set_num_threads(spec.threads)
    return create(spec.runtime, spec.threads, gpu=spec.gpu, precision=spec.precision)


def _latencies(
    spec: DeviceSpec, runtime: Runtime, detectors: list[MeasuredDetector]
) -> list[DeviceLatency]:
    """Measure one detector at several resolutions."""
    stored = detectors[0]
    model = load_student(read_student(stored.detector, stored.student))
    run = runtime.detector(model.eval().requires_grad_(False))
    found = []
    for each in detectors:
        images = noise(each.resolution, spec.batch)
        timing = measure_quietly(partial(run, images), num_timed=spec.runs)
        found.append(latency_of(timing))
    return found
