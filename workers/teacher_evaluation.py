"""A registered teacher: loaded, evaluated once, stored as distillations will read it.

A plain function, an order in and a report out. It reaches no database; report.json is written last.
"""

from dataclasses import asdict
from typing import Any

import torch
from safetensors.torch import load as load_safetensors
from safetensors.torch import save as save_safetensors

from detection.build import Student, load_student
from detection.data.coco import CocoSplit
from detection.measurement.complexity import Complexity, count, count_model
from detection.measurement.evaluation import predict, score
from detection.measurement.latency import measure
from detection.teacher_loading import feature_levels, load_mmdet
from elastic_pool.teacher import load_supernet
from searchd import artifacts
from searchd.domain.detector import Detector, MmdetDetector
from searchd.domain.errors import DataError
from searchd.domain.trial import Artifact, Evaluation
from searchd.messages.reports import TEACHER_REPORT, TeacherReport
from searchd.messages.tasks import TeacherOrder
from searchd.spec import TrainingSpec
from workers.teachers import build_teacher

REPORT_FILE = "report.json"
TEACHER = "teacher"
"""Name of the weights' artifact."""
SEED = 0
"""Of the images' order in BN reset, as in comparisons of teachers."""

Loaded = tuple[Detector | MmdetDetector, Any]
"""What describes a teacher, and mmdet's model of it on the order's device, in eval mode."""


def evaluate_teacher(order: TeacherOrder) -> TeacherReport:
    """Load the teacher, evaluate it on the validation split, and store it.

    Returns:
        The report, which was also written to the order's folder.

    Raises:
        ArtifactError: A stored supernet or student is missing or damaged.
        CheckpointError: mmdet's checkpoint cannot be read or does not fit.
        DataError: The data set cannot be read, or has another number of classes.
        InvalidValueError: The mmdet config is unknown, or no teacher.
    """
    torch.set_num_threads(order.num_threads)
    train_split = CocoSplit(order.dataset.train)
    detector, model = _load(order, train_split)
    complexity = _complexity(order, detector, model)
    report = TeacherReport(
        detector=detector,
        params=complexity.params,
        evaluation=_evaluate(order, model, complexity.macs),
        levels=feature_levels(model, order.spec.resolution),
        weights=_store(order, model),
    )
    uri = artifacts.join(order.artifacts, REPORT_FILE)
    artifacts.write(uri, TEACHER_REPORT.dump_json(report), name="report")
    return report


def _load(order: TeacherOrder, train_split: CocoSplit) -> Loaded:
    if order.student is not None:
        _check_classes(order, order.student.detector.num_classes, train_split)
        detector, model = _of_trial(order)
    elif order.spec.mmdet is not None:
        detector, model = _of_mmdet(order, train_split.num_classes)
    else:
        return _of_pool(order, train_split)
    return detector, model.to(order.device).eval().requires_grad_(False)


def _of_trial(order: TeacherOrder) -> Loaded:
    assert order.student is not None  # seen to by `_load`
    weights = load_safetensors(artifacts.read(order.student.student))
    detector = order.student.detector
    return detector, load_student(Student(detector=detector, weights=weights))


def _of_mmdet(order: TeacherOrder, num_classes: int) -> Loaded:
    mmdet = order.spec.mmdet
    assert mmdet is not None  # seen to by `_load`
    detector = MmdetDetector(
        config=mmdet.config, num_classes=num_classes, options=dict(mmdet.options)
    )
    return detector, load_mmdet(detector, mmdet.checkpoint)


def _of_pool(order: TeacherOrder, train_split: CocoSplit) -> Loaded:
    assert order.pool is not None  # checked by TeacherOrder
    assert order.spec.subnet is not None
    supernet = load_supernet(order.pool, train_split.num_classes)
    subnet = order.spec.subnet.subnet
    teacher = build_teacher(
        supernet,
        subnet,
        train_split,
        pool=order.pool,
        training=TrainingSpec(resolutions=(order.spec.resolution,)),
        seed=SEED,
        device=order.device,
    )
    return supernet.static(subnet), teacher


def _check_classes(order: TeacherOrder, num_classes: int, split: CocoSplit) -> None:
    if split.num_classes != num_classes:
        raise DataError(
            f"{order.dataset.train.annotations} has {split.num_classes} classes, but the teacher "
            f"has {num_classes}"
        )


def _complexity(order: TeacherOrder, detector: Detector | MmdetDetector, model: Any) -> Complexity:
    resolution = order.spec.resolution
    if isinstance(detector, Detector):
        return count(detector, resolution)
    return count_model(model, resolution)


def _evaluate(order: TeacherOrder, model: Any, macs: float) -> Evaluation:
    split, resolution = CocoSplit(order.dataset.validation), order.spec.resolution
    batches = predict(model, split, resolution, device=order.device)
    precision = score(split, [detection for found in batches for detection in found])
    latency = measure(model, resolution, device=order.device)
    return Evaluation(resolution=resolution, **asdict(precision), macs=macs, **asdict(latency))


def _store(order: TeacherOrder, model: Any) -> Artifact:
    weights = {name: value.cpu().contiguous() for name, value in model.state_dict().items()}
    uri = artifacts.join(order.artifacts, f"{TEACHER}.safetensors")
    return artifacts.write(uri, save_safetensors(weights), name=TEACHER)
