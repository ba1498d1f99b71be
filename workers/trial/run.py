"""Runs one trial: a plain function from a task to a report.

The student is evolved (or built), trained under its teacher in time slices, evaluated at every
resolution and stored. A worker reaches neither the database nor the coordinator: it returns its
results as a report and writes files to the artifact store, the report last.
"""

import logging
import time
from collections.abc import Callable, Generator
from dataclasses import replace
from typing import Any

from detection.build import Student, load_student
from detection.distillation.distiller import Distiller
from detection.measurement.complexity import count
from detection.measurement.evaluation import Detection, predict, score
from detection.morphism import NothingToDo
from detection.stored_weights import write_weights
from detection.training import Training
from searchd import artifacts
from searchd.domain.lifecycle import FailureCause
from searchd.domain.resolution import Resolution
from searchd.domain.trial import Artifact, Evaluation, Outcome
from searchd.messages import files
from searchd.messages.codecs import CHECKS, REPORT
from searchd.messages.reports import Progress, Report
from searchd.messages.tasks import TrialTask
from searchd.spec.codecs import DETECTOR
from workers.teachers import known_ap, store_ap
from workers.torch_settings import configure_torch
from workers.trial.checkpoints import checkpoints, delete_checkpoints, write_checkpoint, write_epoch
from workers.trial.context import TrialContext
from workers.trial.cost import counted_cost
from workers.trial.early_stopping import StoppedEarly, check_rung, check_threshold, score_at_epoch
from workers.trial.evaluated import evaluation_of, write_predictions
from workers.trial.failures import cause_and_reason, damaged_file
from workers.trial.notes import Notes
from workers.trial.resuming import (
    can_resume,
    found_batch_size,
    rescaled_state,
    resumed_student,
)
from workers.trial.sanity_checks import Checks, zero_ap_reason
from workers.trial.student_and_teacher import PairBuilder

log = logging.getLogger(__name__)

Steps = Generator[Progress, bool, Report]


def run_trial(
    task: TrialTask,
    progress: Callable[[Progress], bool] = lambda _: True,
    context: TrialContext | None = None,
) -> Report:
    """Run one trial to its end.

    Args:
        task: The trial to run.
        progress: Called after every time slice; returning False stops the trial.
        context: Data that stays loaded; pass the same one to several trials of a process.

    Returns:
        The report. Failures are reported and not raised.

    Raises:
        OSError: The report itself could not be written.
    """
    steps = trial_steps(task, context or TrialContext())
    try:
        at = next(steps)
        while True:
            at = steps.send(progress(at))
    except StopIteration as stop:
        report: Report = stop.value
        return report


def trial_steps(task: TrialTask, context: TrialContext) -> Steps:
    """Run a trial as a generator that yields a `Progress` after every time slice.

    Send True to continue and False to stop. A stopped trial has written a checkpoint. It resumes
    from there when a task names this attempt's folder among its `previous_attempts`.

    Returns:
        The report, which was also written to the attempt's folder unless the trial was stopped.

    Raises:
        OSError: The report itself could not be written.
    """
    checks = Checks()
    notes = Notes()
    try:
        report = yield from _Trial(task, context, checks, notes).steps()
    except Exception as error:  # the trial's boundary: every failure becomes a report
        log.exception("trial %s of search %s failed", task.proposal.name, task.search)
        report = replace(_failed_report(task, error), checks=checks.found)
    report = replace(report, notes=tuple(notes.texts), batch_size=notes.batch_size)
    # A store that refused the trial's files would make us wait as long again for the report.
    if report.outcome is not Outcome.STOPPED and report.cause is not FailureCause.STORE_REFUSED:
        uri = artifacts.join(task.artifacts, files.REPORT_FILE)
        artifacts.write(uri, REPORT.dump_json(report), name="report")
    if report.outcome.is_settled:  # a failed trial may be retried
        delete_checkpoints((task.artifacts, *task.previous_attempts))
    return report


class _Stopped(Exception):
    """A stop was requested. `_Trial.steps` catches it."""


class _Trial:
    """One attempt at one trial."""

    def __init__(
        self, task: TrialTask, context: TrialContext, checks: Checks, notes: Notes
    ) -> None:
        self.task = task
        self.checks = checks
        self.notes = notes
        self.pair = PairBuilder(task, context)
        self.train_split = context.split(task.dataset.train)
        self.validation_split = self.pair.validation_split()
        self.slice_ends = time.monotonic() + task.slice_s
        self.checkpoint_due = time.monotonic() + task.checkpoint_s

    def steps(self) -> Steps:
        task = self.task
        configure_torch(task, seed=task.proposal.seed)
        resume = self._resume_state()
        try:
            student = self.pair.student() if resume is None else resumed_student(resume)
        except NothingToDo as no_op:
            return Report(
                trial=task.proposal.name,
                attempt=task.attempt,
                outcome=Outcome.NO_OP,
                reason=str(no_op),
            )
        try:
            return (yield from self._train_and_evaluate(student, resume))
        except _Stopped:
            return Report(
                trial=task.proposal.name,
                attempt=task.attempt,
                outcome=Outcome.STOPPED,
                reason="stop requested",
            )

    def _train_and_evaluate(self, student: Student, resume: dict[str, Any] | None) -> Steps:
        task = self.task
        # The child's architecture is stored before training begins.
        stored = [self._write_architecture(student)]
        yield from self._yield_progress(self._progress("prepare", 1, 0, 0, {}))
        self.notes.texts += self.pair.notes
        model = load_student(student)
        yield from self._choose_teacher(model, resume)
        distiller = self.pair.distiller(model)
        earlier_batch_size = found_batch_size(resume, task.training)
        training = Training(
            model,
            self.train_split,
            task.training,
            seed=task.proposal.seed,
            distiller=distiller,
            teacher_resolution=task.teacher_resolution,
            device=task.device,
            batch_size=earlier_batch_size,
            num_readers=task.num_readers,
        )
        self.notes.add_batch_size(training, earlier_batch_size)
        self.notes.texts += distiller.notes if distiller else ()
        if distiller is not None and resume is None:
            yield from self._check(training, distiller)
        if resume is not None:
            self.checks.found = CHECKS.validate_json(resume["checks"])
            training.load_state_dict(rescaled_state(resume, training))
            log.info("trial %s resumes at epoch %d", task.proposal.name, len(training.epochs) + 1)
        if self.pair.trains or resume is not None:  # only what is trained has a checkpoint
            try:
                yield from self._train(training, student)
            except StoppedEarly as early:
                return self._abandoned_report(training, student, str(early))
        model = training.evaluated_model
        evaluations = yield from self._evaluate(model, student, stored)
        stored.append(write_weights(task.artifacts, files.STUDENT, model.state_dict()))
        if distiller is not None:
            stored.append(write_weights(task.artifacts, files.ADAPTERS, distiller.state_dict()))
        base = count(student.detector, task.score.base_resolution)
        return Report(
            trial=task.proposal.name,
            attempt=task.attempt,
            outcome=Outcome.SUCCEEDED,
            detector=student.detector,
            params=base.params,
            base_macs=base.macs,
            base_cost=counted_cost(task, student.detector, task.score.base_resolution),
            evaluations=evaluations,
            epochs=tuple(training.epochs),
            artifacts=tuple(stored),
            checks=self.checks.found,
            chosen_teacher=None if self.pair.choice is None else self.pair.choice.teacher,
        )

    def _choose_teacher(
        self, model: Any, resume: dict[str, Any] | None
    ) -> Generator[Progress, bool, None]:
        """Choose among the proposal's candidates, unless an earlier attempt did."""
        earlier = None if resume is None else resume.get("choice")
        for _ in self.pair.choose_teacher(model, earlier):
            if self._slice_is_over():
                yield from self._yield_progress(self._progress("choose", 0, 0, 0, {}))
        if self.pair.choice is not None:
            self.notes.add(self.pair.choice.note)

    def _check(self, training: Training, distiller: Distiller) -> Generator[Progress, bool, None]:
        """Do the sanity checks before a trial distils."""
        task = self.task
        largest = max(task.evaluated_at, key=lambda r: r.width * r.height)
        resolution = task.teacher_resolution or largest
        floor = task.distillation.teacher_ap_floor
        if floor is None and task.inherited is not None:
            floor = task.inherited.aps.get(largest)
        self.checks.record(
            resolution=resolution,
            teacher_ap=(yield from self._teacher_ap(distiller, resolution)),
            teacher_ap_floor=floor,
            undistilled_difference=training.undistilled_difference(),
        )

    def _teacher_ap(
        self, distiller: Distiller, resolution: Resolution
    ) -> Generator[Progress, bool, float]:
        """Return the teacher's AP on the validation split; the lowest of several teachers. Each AP
        is measured once and stored beside the teacher's weights."""
        aps = []
        for stored, teacher in zip(self.pair.stored_teachers(), distiller.teachers, strict=True):
            ap = known_ap(stored, self.task.pool, resolution)
            if ap is None:
                detections = yield from self._detect(teacher, resolution, "check", 0)
                ap = score(self.validation_split, detections).ap
                store_ap(stored, self.task.pool, resolution, ap)
            aps.append(ap)
        return min(aps)

    def _abandoned_report(self, training: Training, student: Student, reason: str) -> Report:
        return Report(
            trial=self.task.proposal.name,
            attempt=self.task.attempt,
            outcome=Outcome.ABANDONED,
            reason=reason,
            detector=student.detector,
            epochs=tuple(training.epochs),
            checks=self.checks.found,
        )

    def _stop_early(self, training: Training, student: Student) -> Generator[Progress, bool, None]:
        """Score the trial once at the end of each epoch of its rule, and check the score.

        Raises:
            StoppedEarly: The score is below the threshold or the rung of this epoch.
        """
        wanted, epoch = self.task.early_stopping, len(training.epochs)
        if wanted is None or epoch not in wanted.epochs or training.mean_losses:
            return
        if epoch in dict(self.checks.found.epoch_scores):  # an earlier attempt has passed it
            return
        largest = max(self.task.evaluated_at, key=lambda r: r.area)
        detections = yield from self._detect(training.evaluated_model, largest, "judge", epoch)
        ap = score(self.validation_split, detections).of(self.task.score.accuracy)
        found = score_at_epoch(self.task, wanted, student, largest, ap)
        self.checks.record_score(epoch, found)
        if epoch == 1:
            check_threshold(found, wanted, largest)
        check_rung(found, wanted, epoch, largest)

    def _train(self, training: Training, student: Student) -> Generator[Progress, bool, None]:
        for _ in training.start_adapters():
            if self._slice_is_over():
                yield from self._yield_progress(self._progress("fit", 0, 0, 0, {}))
        self.notes.texts += training.start_notes
        # An earlier attempt may have stopped just before this check.
        yield from self._stop_early(training, student)
        for at in training.run():
            if self.checks.found.first_losses is None:
                self.checks.record(first_losses=at.losses)
            if at.finished_epoch:
                self._checkpoint(training, student, write_epoch)
                yield from self._stop_early(training, student)
            elif time.monotonic() >= self.checkpoint_due:
                self._checkpoint(training, student)
            if self._slice_is_over():
                progress = self._progress(
                    "train", at.epoch, at.iteration, training.num_iterations, training.mean_losses
                )
                try:
                    yield from self._yield_progress(progress)
                except _Stopped:
                    self._checkpoint(training, student)
                    raise

    def _evaluate(
        self, model: Any, student: Student, stored: list[Artifact]
    ) -> Generator[Progress, bool, tuple[Evaluation, ...]]:
        """Evaluate at every resolution; at the largest, store detections on sample images."""
        evaluations = []
        num_detections = 0
        largest = max(self.task.evaluated_at, key=lambda r: r.area)
        for resolution in self.task.evaluated_at:
            found = yield from self._detect(
                model, resolution, "evaluate", self.task.training.epochs
            )
            num_detections += len(found)
            split = self.validation_split
            evaluations.append(
                evaluation_of(self.task, model, student.detector, split, resolution, found)
            )
            if resolution == largest:
                stored.append(write_predictions(self.task, split, resolution, found))
        if all(evaluation.ap == 0 for evaluation in evaluations):
            self.checks.record(suspicious=zero_ap_reason(num_detections))
        return tuple(evaluations)

    def _detect(
        self, model: Any, resolution: Resolution, stage: str, epoch: int
    ) -> Generator[Progress, bool, list[Detection]]:
        """Detect on the validation split, in time slices."""
        detections: list[Detection] = []
        for found in predict(model, self.validation_split, resolution, device=self.task.device):
            detections += found
            if self._slice_is_over():
                yield from self._yield_progress(self._progress(stage, epoch, 0, 0, {}))
        return detections

    def _slice_is_over(self) -> bool:
        return time.monotonic() >= self.slice_ends

    def _yield_progress(self, progress: Progress) -> Generator[Progress, bool, None]:
        should_continue = yield progress
        if not should_continue:
            raise _Stopped
        self.slice_ends = time.monotonic() + self.task.slice_s

    def _progress(
        self, stage: str, epoch: int, iteration: int, num_iterations: int, losses: dict[str, float]
    ) -> Progress:
        return Progress(
            trial=self.task.proposal.name,
            attempt=self.task.attempt,
            epoch=epoch,
            num_epochs=self.task.training.epochs,
            iteration=iteration,
            num_iterations=num_iterations,
            stage=stage,
            losses=losses,
        )

    def _resume_state(self) -> dict[str, Any] | None:
        """Return the newest checkpoint of earlier attempts from which this one can resume."""
        saved = checkpoints(self.task.previous_attempts, self._warn)
        return next((state for state in saved if can_resume(state, self.task.training)), None)

    def _warn(self, message: str) -> None:
        log.warning("%s", message)
        self.notes.add(message)

    def _checkpoint(
        self,
        training: Training,
        student: Student,
        write: Callable[[str, dict[str, Any]], None] = write_checkpoint,
    ) -> None:
        state = {
            "trained_by": self.task.training.model_dump_json(),
            "detector": DETECTOR.dump_json(student.detector).decode(),
            "training": training.state_dict(),
            "checks": CHECKS.dump_json(self.checks.found).decode(),
            "choice": self.pair.stored_choice,
        }
        write(self.task.artifacts, state)
        self.checkpoint_due = time.monotonic() + self.task.checkpoint_s

    def _write_architecture(self, student: Student) -> Artifact:
        uri = artifacts.join(self.task.artifacts, files.DETECTOR_FILE)
        return artifacts.write(uri, DETECTOR.dump_json(student.detector), name=files.DETECTOR)


def _failed_report(task: TrialTask, error: Exception) -> Report:
    cause, reason = cause_and_reason(error, task.gpu_memory)
    return Report(
        trial=task.proposal.name,
        attempt=task.attempt,
        outcome=Outcome.FAILED,
        reason=reason,
        cause=cause,
        damaged=damaged_file(error),
    )
