"""Measures the detectors that users compare on the test split, after the last trial of a search or
of a distillation that sweeps a setting.

The search selects by AP on the validation split, so that this AP of the best is too high. The test
split has chosen nothing. The same detectors are measured on the validation split again, for the
intervals over its images.
"""

import logging
import threading
from collections.abc import Sequence

import ray
from ray.exceptions import RayError

from searchd.driver.cluster import resolve
from searchd.driver.final_latencies import (
    Timed,
    best_name,
    detectors_to_time,
    has_weights,
    measured,
)
from searchd.driver.ledger import Ledger
from searchd.messages.tasks import SplitMeasurement, SplitTask, device_of, gpu_memory_of, threads_of
from searchd.search.sweep_results import swept_ends
from searchd.settings import Settings
from searchd.spec import SearchSpec
from searchd.store.models import FinalSplit
from searchd.store.runs import split_evaluations
from searchd.store.work import queue

log = logging.getLogger(__name__)

_POLL_S = 1.0


def measure_on_splits(ledger: Ledger, settings: Settings, stopping: threading.Event) -> None:
    """Have one worker measure the detectors of `detectors_to_time`, or those that a sweep compares,
    on each split, and record it.

    What was measured before is not measured again. A failure becomes an event; the run still
    succeeds.

    Args:
        ledger: The ledger of the run. A distillation without a sweep is not measured.
        settings: The path of the function that measures.
        stopping: Set when the user asks to pause or cancel the run; the measurement then ends.
    """
    chosen = _chosen(ledger)
    for split in FinalSplit:
        known = ledger.read(split_evaluations.measured, ledger.run_id, split)
        missing = [point for point in chosen if point[1].id not in known]
        if missing and split.value in ledger.dataset.splits and not stopping.is_set():
            _measure_and_record(ledger, settings, stopping, split, missing)


def _chosen(ledger: Ledger) -> list[Timed]:
    if isinstance(ledger.spec, SearchSpec):
        kind = ledger.spec.score.accuracy
        return detectors_to_time(ledger.scored(), best_name(ledger), kind)
    plan = ledger.row().plan
    if ledger.spec.sweep is None or plan is None:
        return []
    ends = swept_ends(
        plan, ledger.spec.compared_values, ledger.spec.baselines, ledger.history.proposals
    )
    names = {end.trial.name for end in ends if end.trial is not None}
    return [
        (row, evaluation)
        for row in ledger.scored()
        for evaluation in row.evaluations
        if row.name in names and has_weights(row)
        if evaluation.resolution == ledger.spec.trial.largest_resolution
    ]


def _measure_and_record(
    ledger: Ledger,
    settings: Settings,
    stopping: threading.Event,
    split: FinalSplit,
    chosen: Sequence[Timed],
) -> None:
    resources = ledger.spec.resources
    remote = _measure.options(num_cpus=resources.cpus_per_trial, num_gpus=resources.gpus_per_trial)
    task = SplitTask(
        split=ledger.dataset.splits[split.value],
        detectors=tuple(measured(row, evaluation) for row, evaluation in chosen),
        accuracy=ledger.spec.score.accuracy,
        num_threads=threads_of(resources.cpus_per_trial),
        device=device_of(resources.gpus_per_trial),
        gpu_memory=gpu_memory_of(resources.gpus_per_trial, limited=settings.limit_gpu_memory),
    )
    try:
        found = _wait(remote.remote(settings.split_measurement, task), stopping)
    except RayError as error:
        log.exception("run %s: nothing was measured on the %s split", ledger.run_id, split)
        reason = f"detectors could not be measured on the {split} split: {_cause(error)}"
        ledger.write(queue.record_once, f"split:{split}", [reason])
        return
    if found is not None:
        results = {e.id: result for (_, e), result in zip(chosen, found, strict=True)}
        ledger.write(split_evaluations.record, split, results)
        log.info("run %s: %d detectors measured on %s", ledger.run_id, len(found), split)


def _wait(
    reference: "ray.ObjectRef[list[SplitMeasurement]]", stopping: threading.Event
) -> list[SplitMeasurement] | None:
    """Return the results; None if the user asked to stop the run before there were any."""
    while not ray.wait([reference], timeout=_POLL_S)[0]:
        if stopping.is_set():
            ray.cancel(reference, force=True)
            return None
    found: list[SplitMeasurement] = ray.get(reference)
    return found


def _cause(error: RayError) -> str:
    """Return the last line of what Ray reports, which names the error of the worker."""
    return str(error).strip().splitlines()[-1]


@ray.remote(max_retries=0)
def _measure(path: str, task: SplitTask) -> list[SplitMeasurement]:
    found: list[SplitMeasurement] = resolve(path)(task)
    return found
