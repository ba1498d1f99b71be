"""Measures detectors on a split after a search, with the resamples that intervals need."""

from dataclasses import asdict

from detection.build import load_student
from detection.data.coco import CocoSplit
from detection.measurement.bootstrap import resampled_ap
from detection.measurement.evaluation import predict, score
from detection.measurement.matches import match
from detection.stored_weights import read_student
from searchd.messages.tasks import MeasuredDetector, SplitMeasurement, SplitTask
from workers.torch_settings import configure_torch


def measure_on_split(task: SplitTask) -> list[SplitMeasurement]:
    """Measure each detector's AP on the split, and on resamples of its images.

    Returns:
        The results in the order of `task.detectors`.

    Raises:
        ArtifactError: A stored student is missing or damaged.
        DataError: The split cannot be read.
    """
    configure_torch(task)
    split = CocoSplit(task.split)
    return [_measure(detector, split, task) for detector in task.detectors]


def _measure(stored: MeasuredDetector, split: CocoSplit, task: SplitTask) -> SplitMeasurement:
    model = load_student(read_student(stored.detector, stored.student)).to(task.device)
    batches = predict(model, split, stored.resolution, device=task.device)
    detections = [detection for batch in batches for detection in batch]
    return SplitMeasurement(
        **asdict(score(split, detections)),
        num_images=len(split),
        resampled=tuple(resampled_ap(match(split, detections, task.accuracy)).tolist()),
    )
