"""Evaluates a registered teacher: loads it, measures it once and stores it for distillations.

A plain function from a task to a report. It reaches no database and writes the report last.
"""

from dataclasses import asdict
from typing import Any

from detection.build import load_student
from detection.data.coco import CocoSplit
from detection.head_traits import mmdet_traits
from detection.measurement.complexity import Complexity, count, count_model
from detection.measurement.evaluation import evaluate
from detection.measurement.latency import measure
from detection.stored_weights import read_student, write_weights
from detection.teacher_loading import feature_levels, load_mmdet
from elastic_pool.teacher import load_supernet
from searchd import artifacts
from searchd.domain.detector import Detector, MmdetDetector
from searchd.domain.errors import DataError
from searchd.domain.resolution import Resolution
from searchd.domain.trial import Evaluation
from searchd.messages.codecs import TEACHER_REPORT
from searchd.messages.files import REPORT_FILE, TEACHER
from searchd.messages.reports import TeacherReport
from searchd.messages.tasks import TeacherEvaluationTask
from searchd.spec import TrainingSpec
from workers.teachers import COMPARISON_SEED, build_teacher
from workers.torch_settings import configure_torch

LoadedTeacher = tuple[Detector | MmdetDetector, Any]
"""The description of a teacher, and its mmdet model on the task's device, in eval mode."""


def evaluate_teacher(task: TeacherEvaluationTask) -> TeacherReport:
    """Load the teacher, evaluate it on the validation split, and store it.

    Returns:
        The report, which was also written to the task's folder.

    Raises:
        ArtifactError: A stored supernet or student is missing or damaged.
        CheckpointError: mmdet's checkpoint cannot be read or does not fit.
        DataError: The data set cannot be read, or has another number of classes.
        InvalidValueError: The mmdet config is unknown, or its detector cannot teach.
    """
    configure_torch(task)
    train_split = CocoSplit(task.dataset.train)
    detector, model = _load(task, train_split)
    complexity = complexity_of(detector, model, task.spec.resolution)
    levels = feature_levels(model, task.spec.resolution)
    report = TeacherReport(
        detector=detector,
        params=complexity.params,
        evaluation=_evaluate(task, model, complexity.macs),
        levels=levels,
        weights=write_weights(task.artifacts, TEACHER, model.state_dict()),
        mmdet_traits=mmdet_traits(detector, model, levels),
    )
    uri = artifacts.join(task.artifacts, REPORT_FILE)
    artifacts.write(uri, TEACHER_REPORT.dump_json(report), name="report")
    return report


def _load(task: TeacherEvaluationTask, train_split: CocoSplit) -> LoadedTeacher:
    if task.student is not None:
        _check_classes(task, task.student.detector.num_classes, train_split)
        detector, model = _load_from_trial(task)
    elif task.spec.mmdet is not None:
        detector, model = _load_from_mmdet(task, train_split.num_classes)
    else:
        return _load_from_pool(task, train_split)
    return detector, model.to(task.device).eval().requires_grad_(False)


def _load_from_trial(task: TeacherEvaluationTask) -> LoadedTeacher:
    assert task.student is not None  # checked by `_load`
    detector = task.student.detector
    return detector, load_student(read_student(detector, task.student.student))


def _load_from_mmdet(task: TeacherEvaluationTask, num_classes: int) -> LoadedTeacher:
    mmdet = task.spec.mmdet
    assert mmdet is not None  # checked by `_load`
    detector = MmdetDetector(
        config=mmdet.config, num_classes=num_classes, options=dict(mmdet.options)
    )
    return detector, load_mmdet(detector, mmdet.checkpoint)


def _load_from_pool(task: TeacherEvaluationTask, train_split: CocoSplit) -> LoadedTeacher:
    assert task.pool is not None  # checked by TeacherEvaluationTask
    assert task.spec.subnet is not None
    supernet = load_supernet(task.pool, train_split.num_classes)
    subnet = task.spec.subnet.subnet
    teacher = build_teacher(
        supernet,
        subnet,
        train_split,
        pool=task.pool,
        training=TrainingSpec(resolutions=(task.spec.resolution,)),
        seed=COMPARISON_SEED,
        device=task.device,
    )
    return supernet.static(subnet), teacher


def _check_classes(task: TeacherEvaluationTask, num_classes: int, split: CocoSplit) -> None:
    if split.num_classes != num_classes:
        raise DataError(
            f"{task.dataset.train.annotations} has {split.num_classes} classes, but the teacher "
            f"has {num_classes}"
        )


def complexity_of(
    detector: Detector | MmdetDetector, model: Any, resolution: Resolution
) -> Complexity:
    """Return the multiply-accumulates and parameters of a teacher."""
    if isinstance(detector, Detector):
        return count(detector, resolution)
    return count_model(model, resolution)


def _evaluate(task: TeacherEvaluationTask, model: Any, macs: float) -> Evaluation:
    split, resolution = CocoSplit(task.dataset.validation), task.spec.resolution
    precision = evaluate(model, split, resolution, device=task.device)
    latency = measure(model, resolution, device=task.device)
    return Evaluation(resolution=resolution, **asdict(precision), macs=macs, **asdict(latency))
