"""The cost of a detector, as a search counts it."""

from detection.measurement.complexity import count
from detection.measurement.workload import workload_of
from searchd.domain.detector import Detector
from searchd.domain.latency_table import LatencyTable
from searchd.domain.resolution import Resolution
from searchd.domain.score import Cost


def cost_of(
    cost: Cost, detector: Detector, resolution: Resolution, table: LatencyTable | None
) -> float:
    """Return multiply-accumulates, parameters, or predicted seconds of one batch.

    Args:
        cost: What is counted.
        detector: The detector.
        resolution: The exact resolution of the input; without effect on parameters.
        table: Of the device. None: latency is not counted.
    """
    if cost is Cost.LATENCY:
        assert table is not None  # `TrialTask` has it
        return table.seconds(workload_of(detector, resolution))
    counted = count(detector, resolution)
    return counted.macs if cost is Cost.MACS else float(counted.params)
