"""Measures the latencies of detectors side by side, after a search, on a worker with no other work.

Trials measure their student's latency too, but while other trials share the machine. Latencies that
are to be compared are measured here, in rounds with every detector once per round, so that a drift
of the machine's speed affects all of them alike.
"""

import statistics

from detection.build import load_student
from detection.measurement.latency import Latency, measure
from detection.stored_weights import read_student
from searchd.messages.tasks import LatencyTask
from workers.torch_settings import configure_torch

NUM_ROUNDS = 5
IMAGES_PER_ROUND = 10
"""Images per detector and round."""


def measure_latencies(task: LatencyTask) -> list[Latency]:
    """Measure each detector's latency at batch size 1.

    Returns:
        The medians over the rounds, in the order of `task.detectors`.

    Raises:
        ArtifactError: A stored student is missing or damaged.
    """
    configure_torch(task)
    models = [
        load_student(read_student(timed.detector, timed.student)).to(task.device)
        for timed in task.detectors
    ]
    rounds = [
        [
            measure(model, timed.resolution, device=task.device, num_images=IMAGES_PER_ROUND)
            for model, timed in zip(models, task.detectors, strict=True)
        ]
        for _ in range(NUM_ROUNDS)
    ]
    return [
        Latency(
            latency_s=statistics.median(latency.latency_s for latency in times),
            images_per_s=statistics.median(latency.images_per_s for latency in times),
        )
        for times in zip(*rounds, strict=True)
    ]
