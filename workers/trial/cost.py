"""The cost of a student, as the search of a trial counts it."""

from detection.measurement.cost import cost_of
from searchd.domain.detector import Detector
from searchd.domain.resolution import Resolution
from searchd.domain.score import Cost
from searchd.messages.tasks import TrialTask


def counted_cost(task: TrialTask, detector: Detector, resolution: Resolution) -> float | None:
    """Return what the search counts as cost at a resolution; None if it counts MACs."""
    counted = task.score.cost
    if counted is Cost.MACS:
        return None
    return cost_of(counted, detector, resolution, task.table)
