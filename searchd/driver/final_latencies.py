"""Measures the latency of the detectors that users compare, after the last trial of a search.

Trials that share a machine slow each other down, so the latencies that they measured are replaced.
"""

import logging
from collections.abc import Sequence
from itertools import chain

import ray
from ray.exceptions import RayError

from searchd.domain.accuracy import ApKind
from searchd.domain.trial import CONTROL_ROLES, TrialRole
from searchd.driver.cluster import resolve
from searchd.driver.ledger import Ledger
from searchd.messages.files import STUDENT
from searchd.messages.tasks import (
    LatencyTask,
    MeasuredDetector,
    device_of,
    gpu_memory_of,
    threads_of,
)
from searchd.search.finishing import answer
from searchd.search.pareto import pareto_front
from searchd.settings import Settings
from searchd.spec import ResourcesSpec
from searchd.store.models import EvaluationRow, TrialRow
from searchd.store.runs import trials

log = logging.getLogger(__name__)

Timed = tuple[TrialRow, EvaluationRow]


def measure_latencies(ledger: Ledger, settings: Settings) -> None:
    """Have one worker measure the detectors of `detectors_to_time`, and record the results.

    A failure is logged and leaves what the trials measured; the search still succeeds.
    """
    kind = ledger.spec.score.accuracy
    chosen = detectors_to_time(ledger.scored(), best_name(ledger), kind)
    if not chosen:
        return
    resources = ledger.spec.resources
    remote = _measure.options(num_cpus=resources.cpus_per_trial, num_gpus=resources.gpus_per_trial)
    try:
        found = ray.get(remote.remote(settings.latency, _task(chosen, resources, settings)))
    except RayError:
        log.exception("run %s: latencies could not be measured", ledger.run_id)
        return
    times = {evaluation.id: taken for (_, evaluation), taken in zip(chosen, found, strict=True)}
    ledger.write(trials.record_latencies, times)
    log.info("run %s: %d detectors were timed side by side", ledger.run_id, len(chosen))


def best_name(ledger: Ledger) -> str | None:
    """Return the name of the best detector, finished if finishing has made it better; None if no
    search trial was accepted."""
    best = answer(ledger.history.accepted)
    return None if best is None else best.proposal.name


def detectors_to_time(
    scored: Sequence[TrialRow], best: str | None, kind: ApKind = ApKind.BOX_AP
) -> list[Timed]:
    """Return the Pareto front of AP against cost over all resolutions, and the base, the best, the
    other finished detectors and the last control of each kind, each at the resolutions at which
    one of them is at its best. Trials without weights are left out.

    Args:
        scored: The trials that succeeded, in the order in which they ended.
        best: Name of the best detector; None if no search trial was accepted.
        kind: Which AP the run ranks by.
    """
    scored = [row for row in scored if has_weights(row)]
    points = [(row, evaluation) for row in scored for evaluation in row.evaluations]
    front = pareto_front(points, cost=_cost, value=lambda point: point[1].of(kind))
    by_role = {role: [row for row in scored if row.role is role] for role in TrialRole}
    compared = [
        *by_role[TrialRole.BASE],
        *(row for row in by_role[TrialRole.SEARCH] if row.name == best),
        *by_role[TrialRole.FINISH],
        *(row for role in CONTROL_ROLES for row in by_role[role][-1:]),
    ]
    own = [(row, row.best) for row in compared if row.best is not None]
    resolutions = {at.resolution for _, at in own}
    equal = [
        (row, evaluation)
        for row in compared
        for evaluation in row.evaluations
        if best is not None and evaluation.resolution in resolutions
    ]
    return list({point[1].id: point for point in chain(front, own, equal)}.values())


def _cost(timed: Timed) -> float:
    return timed[1].counted_cost


def has_weights(row: TrialRow) -> bool:
    """Return whether the student of a trial is stored."""
    return any(file.name == STUDENT and file.deleted_at is None for file in row.artifacts)


def _task(chosen: Sequence[Timed], resources: ResourcesSpec, settings: Settings) -> LatencyTask:
    return LatencyTask(
        detectors=tuple(measured(row, evaluation) for row, evaluation in chosen),
        num_threads=threads_of(resources.cpus_per_trial),
        device=device_of(resources.gpus_per_trial),
        gpu_memory=gpu_memory_of(resources.gpus_per_trial, limited=settings.limit_gpu_memory),
    )


def measured(row: TrialRow, evaluation: EvaluationRow) -> MeasuredDetector:
    """Return the stored student of a trial, to be measured at the resolution of an evaluation."""
    assert row.detector is not None  # a success has one
    (student,) = (file.artifact for file in row.artifacts if file.name == STUDENT)
    return MeasuredDetector(
        trial=row.name,
        detector=row.detector,
        student=student,
        resolution=evaluation.resolution,
    )


@ray.remote
def _measure(path: str, task: LatencyTask) -> list[tuple[float, float]]:
    """Return seconds per forward pass and images per second of each detector."""
    return [(found.latency_s, found.images_per_s) for found in resolve(path)(task)]
