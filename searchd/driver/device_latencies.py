"""Measures the best detectors of a search by latency on its device, after the last trial.

Trials need no device: the lookup table predicts their latency. What users take away is measured.
"""

import logging
from collections.abc import Sequence

import ray
from ray.exceptions import RayError

from searchd.domain.accuracy import ApKind
from searchd.domain.errors import ArtifactError, InvalidValueError
from searchd.domain.trial import TrialRole
from searchd.driver.cluster import resolve
from searchd.driver.devices import placement
from searchd.driver.final_latencies import Timed, best_name, detectors_to_time, measured
from searchd.driver.ledger import Ledger
from searchd.messages.devices import DeviceLatency, DeviceLatencyTask
from searchd.settings import Settings
from searchd.spec import DeviceSpec, SearchSpec
from searchd.store.models import TrialRow
from searchd.store.runs import trials
from searchd.store.work import queue

log = logging.getLogger(__name__)


def measure_on_device(ledger: Ledger, settings: Settings) -> None:
    """Have the device measure the detectors of `finalists`, and record the results with an event.

    What was measured before is not measured again. If the device cannot be reached, an event says
    so; the search still succeeds.
    """
    device = ledger.run.device
    if device is None or not isinstance(ledger.spec, SearchSpec):
        return
    chosen = finalists(ledger.scored(), best_name(ledger), ledger.spec.score.accuracy)
    if not chosen:
        return
    task = DeviceLatencyTask(
        spec=device.spec, detectors=tuple(measured(row, at) for row, at in chosen)
    )
    try:
        found = _measure(settings.device_latency, task)
    except (InvalidValueError, ArtifactError, RayError) as error:
        log.exception("run %s: nothing was measured on %s", ledger.run_id, device.spec.name)
        _record(ledger, f"nothing was measured on device {device.spec.name}: {_cause(error)}")
        return
    times = {at.id: each for (_, at), each in zip(chosen, found, strict=True)}
    ledger.write(trials.record_device_latencies, times)
    _record(ledger, _summary(device.spec, chosen, found))


def finalists(
    scored: Sequence[TrialRow], best: str | None, kind: ApKind = ApKind.BOX_AP
) -> list[Timed]:
    """Return the base, the best and the finished detectors that were not measured on the device
    yet; without finished ones, the front, at the resolutions of `detectors_to_time`."""
    timed = detectors_to_time(scored, best, kind)
    compared = [each for each in timed if each[1].cost is not None]
    roles = {row.role for row, _ in compared}
    has_finished = TrialRole.FINISH in roles
    return [
        (row, at)
        for row, at in compared
        if at.device_latency_s is None
        and (
            row.role in (TrialRole.BASE, TrialRole.FINISH)
            or row.name == best
            or (row.role is TrialRole.SEARCH and not has_finished)
        )
    ]


def _measure(path: str, task: DeviceLatencyTask) -> list[DeviceLatency]:
    """Run the measurement on the device.

    Raises:
        InvalidValueError: The cluster does not have the device.
        RayError: The measurement failed.
    """
    cpus, gpus = task.spec.threads, int(task.spec.gpu)
    node = placement(task.spec)
    remote = ray.remote(num_cpus=cpus, num_gpus=gpus, resources=node, max_retries=0)(_attempt)
    found: list[DeviceLatency] = ray.get(remote.remote(path, task))
    return found


def _summary(device: DeviceSpec, chosen: Sequence[Timed], found: Sequence[DeviceLatency]) -> str:
    """Return how far the predictions were off, in words."""
    errors = sorted(
        abs((at.cost or 0.0) / each.median_s - 1)
        for (_, at), each in zip(chosen, found, strict=True)
    )
    noisy = sum(not each.quiet for each in found)
    text = (
        f"{len(found)} detectors were measured on device {device.name}; their predictions are "
        f"{100 * errors[len(errors) // 2]:.1f} % off (median)"
    )
    return text + (f"; the machine was never quiet in {noisy} of them" if noisy else "")


def _record(ledger: Ledger, message: str) -> None:
    # The number of trials is part of the key: an extended search is measured again.
    key = f"device:{len(ledger.scored())}"
    ledger.write(queue.record_once, key, [message])


def _cause(error: Exception) -> str:
    """Return the last line of what Ray reports, which names the error of the worker."""
    return str(error).strip().splitlines()[-1]


def _attempt(path: str, task: DeviceLatencyTask) -> list[DeviceLatency]:
    found: list[DeviceLatency] = resolve(path)(task)
    return found
