"""What a trial reports of its detections on the validation split."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from detection.analysis.breakdown import break_down, sample_predictions
from detection.data.coco import CocoSplit
from detection.measurement.complexity import count
from detection.measurement.evaluation import Detection, score_by_class
from detection.measurement.latency import measure
from searchd import artifacts
from searchd.domain.detector import Detector
from searchd.domain.resolution import Resolution
from searchd.domain.trial import Artifact, Evaluation
from searchd.messages import files
from searchd.messages.codecs import SAMPLE_PREDICTIONS
from searchd.messages.tasks import TrialTask
from workers.trial.cost import counted_cost


def evaluation_of(
    task: TrialTask,
    model: Any,
    detector: Detector,
    split: CocoSplit,
    resolution: Resolution,
    detections: list[Detection],
) -> Evaluation:
    """Return the figures of a trial's detector at one resolution.

    Args:
        task: The trial's.
        model: The detector, on the task's device.
        detector: Its architecture.
        split: The validation split.
        resolution: Resolution of the evaluation.
        detections: What the detector found on all images of the split.
    """
    precision, class_aps = score_by_class(split, detections)
    return Evaluation(
        resolution=resolution,
        **asdict(precision),
        macs=count(detector, resolution).macs,
        **asdict(measure(model, resolution, device=task.device)),
        cost=counted_cost(task, detector, resolution),
        breakdown=break_down(split, detections, class_aps),
    )


def write_predictions(
    task: TrialTask, split: CocoSplit, resolution: Resolution, detections: Sequence[Detection]
) -> Artifact:
    """Store a trial's detections on sample images of the validation split."""
    uri = artifacts.join(task.artifacts, files.PREDICTIONS_FILE)
    found = sample_predictions(split, resolution, detections)
    return artifacts.write(uri, SAMPLE_PREDICTIONS.dump_json(found), name=files.PREDICTIONS)
