"""Trains a detector to become a teacher, in time slices, then evaluates and stores it.

A plain function from a task to a report. It reaches no database and writes the report last.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from detection.build import build_detector
from detection.data.coco import CocoSplit
from detection.head_traits import mmdet_traits
from detection.measurement.evaluation import Detection, predict, score
from detection.measurement.latency import measure
from detection.starting_weights import start_mmdet
from detection.stored_weights import write_weights
from detection.teacher_loading import build_mmdet, feature_levels
from detection.training import Training
from searchd import artifacts
from searchd.domain.detector import MmdetDetector
from searchd.domain.errors import InvalidValueError
from searchd.domain.lifecycle import FailureCause
from searchd.domain.trial import Evaluation, Outcome
from searchd.messages.codecs import TEACHER_TRAINING_REPORT
from searchd.messages.files import REPORT_FILE, TEACHER
from searchd.messages.reports import TeacherProgress, TeacherReport, TeacherTrainingReport
from searchd.messages.tasks import TeacherTrainingTask
from searchd.spec.codecs import TEACHER_DETECTOR
from workers.teacher_evaluation import LoadedTeacher, complexity_of
from workers.torch_settings import configure_torch
from workers.trial.checkpoints import (
    delete_checkpoints,
    newest_checkpoint,
    write_checkpoint,
    write_epoch,
)
from workers.trial.failures import cause_and_reason
from workers.trial.resuming import found_batch_size

log = logging.getLogger(__name__)


def train_teacher(
    task: TeacherTrainingTask, progress: Callable[[TeacherProgress], bool] = lambda _: True
) -> TeacherTrainingReport:
    """Train a detector, evaluate it on the validation split, and store it.

    A training that was stopped has written a checkpoint. It resumes from there when a task names
    this attempt's folder among its `previous_attempts`.

    Args:
        task: The teacher to train, and how.
        progress: Called after every time slice; returning False stops the training.

    Returns:
        The report, which was also written to the task's folder unless the training was stopped.
        Failures are reported and not raised.

    Raises:
        OSError: The report itself could not be written.
    """
    try:
        report = _TeacherWorker(task, progress).run()
    except Exception as error:  # the boundary: every failure becomes a report
        log.exception("training of teacher %s failed", task.teacher)
        report = _failed_report(task, error)
    # A store that refused the teacher's files would make us wait as long again for the report.
    if report.outcome is not Outcome.STOPPED and report.cause is not FailureCause.STORE_REFUSED:
        uri = artifacts.join(task.artifacts, REPORT_FILE)
        artifacts.write(uri, TEACHER_TRAINING_REPORT.dump_json(report), name="report")
    if report.outcome is Outcome.SUCCEEDED:
        delete_checkpoints((task.artifacts, *task.previous_attempts))
    return report


class _Stopped(Exception):
    """A stop was requested. `_TeacherWorker.run` catches it."""


class _TeacherWorker:
    """One attempt at training a teacher."""

    def __init__(
        self, task: TeacherTrainingTask, progress: Callable[[TeacherProgress], bool]
    ) -> None:
        configure_torch(task, seed=task.train.seed)
        self.task = task
        self._progress = progress
        self.train_split = CocoSplit(task.dataset.train)
        self.validation_split = CocoSplit(task.dataset.validation)
        self.resumed = newest_checkpoint((task.artifacts, *task.previous_attempts))
        self.notes: tuple[str, ...] = ()
        self.detector, self.model = self._start() if self.resumed is None else self._resume()
        self.training = Training(
            self.model,
            self.train_split,
            task.train.training,
            seed=task.train.seed,
            device=task.device,
            batch_size=found_batch_size(self.resumed, task.train.training),
            num_readers=task.num_readers,
        )
        found = self.training.found_batch_size
        if found is not None:
            self.notes += (f"batch size {found.number} found by memory: {found.reason}",)
        if self.resumed is not None:
            self.training.load_state_dict(self.resumed["training"])
        self.slice_ends = time.monotonic() + task.slice_s
        self.checkpoint_due = time.monotonic() + task.checkpoint_s

    def run(self) -> TeacherTrainingReport:
        task = self.task
        try:
            self._report_progress("start", len(self.training.epochs) + 1, 0)
            self._train()
            result = self._result()
        except _Stopped:
            return TeacherTrainingReport(
                teacher=task.teacher,
                attempt=task.attempt,
                outcome=Outcome.STOPPED,
                reason="stop requested",
            )
        return TeacherTrainingReport(
            teacher=task.teacher, attempt=task.attempt, outcome=Outcome.SUCCEEDED, result=result
        )

    def _start(self) -> LoadedTeacher:
        """Build the detector with the weights that the training starts from."""
        train, num_classes = self.task.train, self.train_split.num_classes
        detector = train.detector(num_classes)
        if detector is not None:
            return detector, build_detector(detector)
        assert train.mmdet is not None  # a spec has one source
        start = start_mmdet(
            MmdetDetector(
                config=train.mmdet.config,
                num_classes=num_classes,
                options=dict(train.mmdet.options),
            ),
            train.mmdet.checkpoint,
            self.train_split.class_names,
        )
        self.notes = start.notes
        return start.detector, start.model

    def _resume(self) -> LoadedTeacher:
        """Build the detector of the checkpoint, whose weights `Training` loads."""
        assert self.resumed is not None  # checked by the caller
        self.notes = tuple(self.resumed["notes"])
        log.info("teacher %s resumes from a checkpoint", self.task.teacher)
        detector = TEACHER_DETECTOR.validate_json(self.resumed["detector"])
        if isinstance(detector, MmdetDetector):
            return detector, build_mmdet(detector)
        return detector, build_detector(detector)

    def _train(self) -> None:
        training = self.training
        for at in training.run():
            if at.finished_epoch:
                self._checkpoint(write_epoch)
            elif time.monotonic() >= self.checkpoint_due:
                self._checkpoint()
            if at.finished_epoch or self._slice_is_over():
                try:
                    self._report_progress("train", at.epoch, at.iteration)
                except _Stopped:
                    if not at.finished_epoch:
                        self._checkpoint()
                    raise

    def _result(self) -> TeacherReport:
        """Evaluate the trained detector and store it."""
        task, detector, model = self.task, self.detector, self.training.evaluated_model.eval()
        complexity = complexity_of(detector, model, task.spec.resolution)
        levels = feature_levels(model, task.spec.resolution)
        return TeacherReport(
            detector=detector,
            params=complexity.params,
            evaluation=self._evaluate(model, complexity.macs),
            levels=levels,
            weights=write_weights(task.artifacts, TEACHER, model.state_dict()),
            epochs=tuple(self.training.epochs),
            mmdet_traits=mmdet_traits(detector, model, levels),
        )

    def _evaluate(self, model: Any, macs: float) -> Evaluation:
        resolution, device = self.task.spec.resolution, self.task.device
        detections: list[Detection] = []
        for found in predict(model, self.validation_split, resolution, device=device):
            detections += found
            if self._slice_is_over():
                self._report_progress("evaluate", self.training.num_epochs, 0)
        return Evaluation(
            resolution=resolution,
            **asdict(score(self.validation_split, detections)),
            macs=macs,
            **asdict(measure(model, resolution, device=device)),
        )

    def _checkpoint(self, write: Callable[[str, dict[str, Any]], None] = write_checkpoint) -> None:
        state = {
            "detector": TEACHER_DETECTOR.dump_json(self.detector).decode(),
            "training": self.training.state_dict(),
            "notes": list(self.notes),
        }
        write(self.task.artifacts, state)
        self.checkpoint_due = time.monotonic() + self.task.checkpoint_s

    def _slice_is_over(self) -> bool:
        return time.monotonic() >= self.slice_ends

    def _report_progress(self, stage: str, epoch: int, iteration: int) -> None:
        """Report the progress.

        Raises:
            _Stopped: The caller requests a stop.
        """
        in_epoch = stage == "train"
        should_continue = self._progress(
            TeacherProgress(
                epoch=min(epoch, self.training.num_epochs),
                num_epochs=self.training.num_epochs,
                iteration=iteration,
                num_iterations=self.training.num_iterations if in_epoch else 0,
                stage=stage,
                losses=self.training.mean_losses,
                epochs=tuple(self.training.epochs),
                notes=self.notes,
            )
        )
        if not should_continue:
            raise _Stopped
        self.slice_ends = time.monotonic() + self.task.slice_s


def _failed_report(task: TeacherTrainingTask, error: Exception) -> TeacherTrainingReport:
    if isinstance(error, InvalidValueError):  # the spec names what cannot be built
        cause, reason = None, str(error)
    else:
        cause, reason = cause_and_reason(error, task.gpu_memory)
    return TeacherTrainingReport(
        teacher=task.teacher,
        attempt=task.attempt,
        outcome=Outcome.FAILED,
        cause=cause,
        reason=reason,
    )
