"""One trial as a plain function: an order in, a report out.

The student is evolved (or built), trained under its teacher in time slices, evaluated at every
resolution and stored. A worker reaches no database and no coordinator: what it learns it reports,
what it makes it puts into the artifact store, with report.json written last.
"""

import logging
import time
from collections.abc import Callable, Generator
from dataclasses import asdict, replace
from typing import Any

import torch
from safetensors.torch import load as load_safetensors
from safetensors.torch import save as save_safetensors

from detection.build import Student, build_detector, load_student
from detection.complexity import count
from detection.distillation.distiller import Distiller, pair_of
from detection.evaluation import Detection, predict, score
from detection.latency import measure
from detection.morphism import NothingToDo, evolve
from detection.morphism.prune_to_macs import prune_to_macs
from detection.training import Training
from searchd import artifacts
from searchd.domain.errors import DataError
from searchd.domain.resolution import Resolution
from searchd.domain.subnet import Subnet
from searchd.domain.trial import (
    Artifact,
    Evaluation,
    MutateTeacher,
    Outcome,
    Progress,
    PruneToMacs,
    Report,
    TakeSubnet,
    Train,
)
from searchd.spec import CHECKS, DETECTOR, REPORT, TrialOrder
from workers.base import load_base
from workers.checkpoints import delete_checkpoints, newest_checkpoint, write_checkpoint
from workers.checks import Checks, why_zero
from workers.context import TrialContext
from workers.failures import cause_and_reason
from workers.teachers import build_teacher, keep_ap, known_ap

log = logging.getLogger(__name__)

STUDENT, ADAPTERS, DETECTOR_JSON = "student", "adapters", "detector"
"""Names of a trial's artifacts; a child inherits the first two."""
REPORT_FILE = "report.json"

Steps = Generator[Progress, bool, Report]


def run_trial(
    order: TrialOrder,
    progress: Callable[[Progress], bool] = lambda _: True,
    context: TrialContext | None = None,
) -> Report:
    """Run one trial to its end.

    Args:
        order: What to do.
        progress: Called after every time slice; returning False stops the trial.
        context: What to keep loaded; give the same one to several trials of a process.

    Returns:
        The report. Failures are reported and not raised.

    Raises:
        OSError: The report itself could not be written.
    """
    steps = trial_steps(order, context or TrialContext())
    try:
        at = next(steps)
        while True:
            at = steps.send(progress(at))
    except StopIteration as stop:
        report: Report = stop.value
        return report


def trial_steps(order: TrialOrder, context: TrialContext) -> Steps:
    """The trial as a generator that hands over a `Progress` after every time slice.

    Send True to go on and False to stop. A stopped trial has checkpointed; it goes on from there
    when it is ordered again with this attempt's folder among `previous_attempts`.

    Returns:
        The report, which was also written to the attempt's folder unless the trial was stopped.

    Raises:
        OSError: The report itself could not be written.
    """
    checks = Checks()
    try:
        report = yield from _Trial(order, context, checks).steps()
    except Exception as error:  # the trial's boundary: every failure becomes a report
        log.exception("trial %s of search %s failed", order.proposal.name, order.search)
        report = replace(_failure(order, error), checks=checks.found)
    if report.outcome is not Outcome.STOPPED:
        uri = artifacts.join(order.artifacts, REPORT_FILE)
        artifacts.write(uri, REPORT.dump_json(report), name="report")
        delete_checkpoints((order.artifacts, *order.previous_attempts))
    return report


class _Stopped(Exception):
    """Told to stop; unwinds to `_Trial.steps`."""


class _Trial:
    """One attempt at one order."""

    def __init__(self, order: TrialOrder, context: TrialContext, checks: Checks) -> None:
        self.order = order
        self.checks = checks
        self.context = context
        self.train_split = context.split(order.dataset.train)
        self.validation_split = context.split(order.dataset.validation)
        self.slice_ends = time.monotonic() + order.slice_s
        self.checkpoint_due = time.monotonic() + order.checkpoint_s

    def steps(self) -> Steps:
        order = self.order
        torch.set_num_threads(order.num_threads)
        torch.manual_seed(order.proposal.seed)
        resume = newest_checkpoint(order.previous_attempts)
        try:
            student = self._student() if resume is None else _resumed_student(resume)
        except NothingToDo as nothing:
            return Report(
                trial=order.proposal.name,
                attempt=order.attempt,
                outcome=Outcome.NO_OP,
                reason=str(nothing),
            )
        try:
            return (yield from self._train_and_evaluate(student, resume))
        except _Stopped:
            return Report(
                trial=order.proposal.name,
                attempt=order.attempt,
                outcome=Outcome.STOPPED,
                reason="told to stop",
            )

    def _train_and_evaluate(self, student: Student, resume: dict[str, Any] | None) -> Steps:
        order = self.order
        # The child's architecture is on record before anything is trained.
        stored = [self._write(DETECTOR_JSON, ".json", DETECTOR.dump_json(student.detector))]
        yield from self._hand_over(self._progress("prepare", 1, 0, 0, {}))
        model = load_student(student)
        distiller = self._distiller(model, student)
        training = Training(
            model,
            self.train_split,
            order.training,
            seed=order.proposal.seed,
            distiller=distiller,
            device=order.device,
        )
        if distiller is not None and resume is None:
            yield from self._check(training, distiller)
        if resume is not None:
            self.checks.found = CHECKS.validate_json(resume["checks"])
            training.load_state_dict(resume["training"])
            log.info("trial %s goes on at epoch %d", order.proposal.name, len(training.epochs) + 1)
        if order.loaded_base is None and not isinstance(order.proposal.change, TakeSubnet):
            yield from self._train(training, student)
        evaluations = yield from self._evaluate(model, student)
        stored.append(self._write(STUDENT, ".safetensors", _weights(model.state_dict())))
        if distiller is not None:
            stored.append(self._write(ADAPTERS, ".safetensors", _weights(distiller.state_dict())))
        base = count(student.detector, order.score.base_resolution)
        return Report(
            trial=order.proposal.name,
            attempt=order.attempt,
            outcome=Outcome.SUCCEEDED,
            detector=student.detector,
            params=base.params,
            base_macs=base.macs,
            evaluations=evaluations,
            epochs=tuple(training.epochs),
            artifacts=tuple(stored),
            checks=self.checks.found,
        )

    def _check(self, training: Training, distiller: Distiller) -> Generator[Progress, bool, None]:
        """The sanity checks before a trial distils."""
        order = self.order
        resolution = max(order.evaluated_at, key=lambda r: r.width * r.height)
        floor = order.distillation.teacher_ap_floor
        if floor is None and order.inherited is not None:
            floor = order.inherited.aps.get(resolution)
        self.checks.note(
            resolution=resolution,
            teacher_ap=(yield from self._teacher_ap(distiller.teacher, resolution)),
            teacher_ap_floor=floor,
            undistilled_difference=training.undistilled_difference(),
        )

    def _teacher_ap(self, teacher: Any, resolution: Resolution) -> Generator[Progress, bool, float]:
        """The teacher's AP on the validation split: measured once per subnet of a pool, and kept
        beside the pool's supernet."""
        order = self.order
        assert order.pool is not None  # there is a teacher
        assert order.proposal.teacher is not None
        pool, subnet = order.pool, order.proposal.teacher
        ap = known_ap(pool, subnet, resolution)
        if ap is None:
            detections = yield from self._detect(teacher, resolution, "check")
            ap = score(self.validation_split, detections).ap
            keep_ap(pool, subnet, resolution, ap)
        return ap

    def _student(self) -> Student:
        """The student to train: built, loaded, cut out of the pool, or inherited and edited.

        Raises:
            NothingToDo: The action would change nothing.
        """
        order, change = self.order, self.order.proposal.change
        if order.loaded_base is not None:
            loaded = load_base(order.loaded_base)
            self._check_classes(loaded.detector.num_classes)
            return loaded
        if isinstance(change, TakeSubnet):
            return self._cut_out(change.subnet)
        if order.inherited is None:
            assert order.detector is not None  # checked by TrialOrder
            self._check_classes(order.detector.num_classes)
            return Student(
                detector=order.detector, weights=build_detector(order.detector).state_dict()
            )
        self._check_classes(order.inherited.detector.num_classes)
        parent = Student(
            detector=order.inherited.detector,
            weights=load_safetensors(artifacts.read(order.inherited.student)),
        )
        if isinstance(change, Train | MutateTeacher):
            return parent
        if isinstance(change, PruneToMacs):
            return prune_to_macs(parent, change, order.score.base_resolution)
        generator = torch.Generator().manual_seed(order.proposal.seed)
        return evolve(parent, change, generator=generator)

    def _check_classes(self, num_classes: int) -> None:
        if self.train_split.num_classes != num_classes:
            raise DataError(
                f"{self.order.dataset.train.annotations} has {self.train_split.num_classes} "
                f"classes, but the detector has {num_classes}"
            )

    def _cut_out(self, subnet: Subnet) -> Student:
        """The pool's subnet as a detector of its own."""
        order, num_classes = self.order, self.train_split.num_classes
        assert order.pool is not None  # checked by TrialOrder
        supernet = self.context.supernet(order.pool, num_classes)
        weights = self._subnet(subnet, num_classes).state_dict()
        return Student(
            detector=supernet.static(subnet),
            weights={name: value.cpu() for name, value in weights.items()},
        )

    def _subnet(self, subnet: Subnet, num_classes: int) -> Any:
        """A static detector that equals the subnet: BN reset, in eval mode, frozen."""
        order = self.order
        assert order.pool is not None  # checked by TrialOrder
        return build_teacher(
            self.context.supernet(order.pool, num_classes),
            subnet,
            self.train_split,
            pool=order.pool,
            training=order.training,
            seed=order.proposal.seed,
            device=order.device,
        )

    def _distiller(self, model: Any, student: Student) -> Distiller | None:
        order = self.order
        if order.proposal.teacher is None:
            return None
        assert order.pool is not None  # checked by TrialOrder
        teacher = self._subnet(order.proposal.teacher, student.detector.num_classes)
        widest = max(order.pool.space.neck_channels)
        pair = pair_of(model, teacher, self.train_split, max_teacher_channels=widest)
        distiller = Distiller(order.distillation.methods, teacher, pair)
        if order.inherited is not None and order.inherited.adapters is not None:
            distiller.load_state_dict(load_safetensors(artifacts.read(order.inherited.adapters)))
        return distiller

    def _train(self, training: Training, student: Student) -> Generator[Progress, bool, None]:
        for at in training.run():
            if self.checks.found.first_losses is None:
                self.checks.note(first_losses=at.losses)
            if at.finished_epoch or time.monotonic() >= self.checkpoint_due:
                self._checkpoint(training, student)
            if self._slice_is_over():
                progress = self._progress(
                    "train", at.epoch, at.iteration, training.num_iterations, training.mean_losses
                )
                try:
                    yield from self._hand_over(progress)
                except _Stopped:
                    self._checkpoint(training, student)
                    raise

    def _evaluate(
        self, model: Any, student: Student
    ) -> Generator[Progress, bool, tuple[Evaluation, ...]]:
        evaluations = []
        num_detections = 0
        for resolution in self.order.evaluated_at:
            detections = yield from self._detect(model, resolution, "evaluate")
            num_detections += len(detections)
            evaluations.append(self._evaluation(model, student, resolution, detections))
        if all(evaluation.ap == 0 for evaluation in evaluations):
            self.checks.note(suspicious=why_zero(num_detections))
        return tuple(evaluations)

    def _detect(
        self, model: Any, resolution: Resolution, stage: str
    ) -> Generator[Progress, bool, list[Detection]]:
        """Detections on the validation split, in time slices."""
        detections: list[Detection] = []
        for found in predict(model, self.validation_split, resolution, device=self.order.device):
            detections += found
            if self._slice_is_over():
                epoch = 0 if stage == "check" else self.order.training.epochs
                yield from self._hand_over(self._progress(stage, epoch, 0, 0, {}))
        return detections

    def _evaluation(
        self, model: Any, student: Student, resolution: Resolution, detections: list[Detection]
    ) -> Evaluation:
        precision = score(self.validation_split, detections)
        latency = measure(model, resolution, device=self.order.device)
        return Evaluation(
            resolution=resolution,
            **asdict(precision),
            macs=count(student.detector, resolution).macs,
            **asdict(latency),
        )

    def _slice_is_over(self) -> bool:
        return time.monotonic() >= self.slice_ends

    def _hand_over(self, progress: Progress) -> Generator[Progress, bool, None]:
        goes_on = yield progress
        if not goes_on:
            raise _Stopped
        self.slice_ends = time.monotonic() + self.order.slice_s

    def _progress(
        self, stage: str, epoch: int, iteration: int, num_iterations: int, losses: dict[str, float]
    ) -> Progress:
        return Progress(
            trial=self.order.proposal.name,
            attempt=self.order.attempt,
            epoch=epoch,
            num_epochs=self.order.training.epochs,
            iteration=iteration,
            num_iterations=num_iterations,
            stage=stage,
            losses=losses,
        )

    def _checkpoint(self, training: Training, student: Student) -> None:
        state = {
            "detector": DETECTOR.dump_json(student.detector).decode(),
            "training": training.state_dict(),
            "checks": CHECKS.dump_json(self.checks.found).decode(),
        }
        write_checkpoint(self.order.artifacts, state)
        self.checkpoint_due = time.monotonic() + self.order.checkpoint_s

    def _write(self, name: str, suffix: str, data: bytes) -> Artifact:
        return artifacts.write(artifacts.join(self.order.artifacts, name + suffix), data, name=name)


def _resumed_student(resume: dict[str, Any]) -> Student:
    return Student(
        detector=DETECTOR.validate_json(resume["detector"]), weights=resume["training"]["model"]
    )


def _weights(state: dict[str, torch.Tensor]) -> bytes:
    return save_safetensors({name: value.cpu().contiguous() for name, value in state.items()})


def _failure(order: TrialOrder, error: Exception) -> Report:
    cause, reason = cause_and_reason(error)
    return Report(
        trial=order.proposal.name,
        attempt=order.attempt,
        outcome=Outcome.FAILED,
        reason=reason,
        cause=cause,
    )
