"""The two sides of a trial, built from its order: the student, and the teachers with what they
teach by."""

from collections.abc import Iterator
from typing import Any

import torch

from detection.build import Student, build_detector
from detection.data.coco import CocoSplit
from detection.distillation.distiller import Distiller, pair_of
from detection.distillation.method import Pair
from detection.morphism import evolve
from detection.morphism.prune_to_macs import prune_to_macs
from detection.stored_weights import read_student, read_weights
from searchd.domain.errors import DataError
from searchd.domain.subnet import Subnet
from searchd.domain.teacher import (
    SimultaneousTeachers,
    Teacher,
    TeacherCandidates,
    Teaching,
    teachers_of,
)
from searchd.domain.trial import MutateTeacher, PruneToMacs, TakeSubnet, Train
from searchd.messages.tasks import Inherited, TeacherRef, TrialTask
from workers.teachers import build_teacher, load_teacher
from workers.trial.base_detector import load_base
from workers.trial.context import TrialContext
from workers.trial.nearest_teacher import CHOICE, NearestTeacher, TeacherChoice


class PairBuilder:
    """Builds student and teachers of one trial.

    Attributes:
        choice: Which candidate teaches; None if there are none, or it is not decided.
    """

    def __init__(self, task: TrialTask, context: TrialContext) -> None:
        self._task = task
        self._context = context
        self._train_split: CocoSplit = context.split(task.dataset.train)
        self._teaching: Teaching | None = task.proposal.teacher
        self._made: dict[Teacher, Any] = {}
        self.choice: TeacherChoice | None = None

    def student(self) -> Student:
        """The student to train: built, loaded, cut out of the pool, or inherited and edited.

        Raises:
            NothingToDo: The action would change nothing.
            DataError: Its classes are not the data set's.
        """
        task, change = self._task, self._task.proposal.change
        if task.loaded_base is not None:
            loaded = task.loaded_base
            student = _stored(loaded) if isinstance(loaded, Inherited) else load_base(loaded)
            return self._with_our_classes(student)
        if isinstance(change, TakeSubnet):
            return self._cut_out(change.subnet)
        if task.inherited is None:
            assert task.detector is not None  # checked by TrialOrder
            weights = build_detector(task.detector).state_dict()
            return self._with_our_classes(Student(detector=task.detector, weights=weights))
        parent = self._with_our_classes(_stored(task.inherited))
        if isinstance(change, Train | MutateTeacher):
            return parent
        if isinstance(change, PruneToMacs):
            return prune_to_macs(parent, change, task.score.base_resolution)
        generator = torch.Generator().manual_seed(task.proposal.seed)
        return evolve(parent, change, generator=generator)

    def choose_teacher(self, model: Any, earlier: str | None) -> Iterator[None]:
        """Of a proposal with candidates, decide which one teaches: `choice` is then set. Yields now
        and then; to be gone through before `distiller`.

        Args:
            model: The student before training.
            earlier: The choice under which it was trained before, as `stored_choice` gave it.

        Raises:
            DataError: There are too few images to choose by.
        """
        if not isinstance(self._teaching, TeacherCandidates):
            return
        if earlier is not None:
            self.choice = CHOICE.validate_json(earlier)
        else:
            nearest = self._nearest(model, self._teaching)
            yield from nearest.compare()
            self.choice = nearest.choice
            self._made[self.choice.teacher] = nearest.model(self.choice.teacher)
        self._teaching = self.choice.teacher

    @property
    def stored_choice(self) -> str | None:
        """The choice as a checkpoint keeps it; None if there was none to make."""
        return None if self.choice is None else CHOICE.dump_json(self.choice).decode()

    def distiller(self, model: Any) -> Distiller | None:
        """What the student is distilled by, with inherited adapters; None without a teacher. Of
        candidates, one must have been chosen.

        Raises:
            InvalidValueError: A method does not fit the pair.
        """
        task, teaching = self._task, self._teaching
        if teaching is None:
            return None
        teachers = [self._teacher(teacher) for teacher in teachers_of(teaching)]
        pairs = [
            self._pair(model, found, teacher)
            for found, teacher in zip(teachers, teachers_of(teaching), strict=True)
        ]
        if isinstance(teaching, SimultaneousTeachers):
            distiller = Distiller(task.distillation.methods, teachers, pairs, teaching.definition)
        else:
            distiller = Distiller(task.distillation.methods, teachers[0], pairs[0])
        if task.inherited is not None and task.inherited.adapters is not None:
            distiller.load_state_dict(read_weights(task.inherited.adapters))
        return distiller

    def stored_teachers(self) -> list[Subnet | TeacherRef]:
        """The trial's teachers as their APs are known by, in the distiller's order."""
        teaching = self._teaching
        return [
            teacher if isinstance(teacher, Subnet) else self._task.registered[teacher.teacher]
            for teacher in (() if teaching is None else teachers_of(teaching))
        ]

    def _nearest(self, model: Any, teaching: TeacherCandidates) -> NearestTeacher:
        task = self._task
        return NearestTeacher(
            model,
            teaching.candidates,
            self._subnet,
            train=self._train_split,
            validation=self._context.split(task.dataset.validation),
            resolution=max(task.evaluated_at, key=lambda each: each.area),
            teacher_resolution=task.teacher_resolution,
            device=task.device,
        )

    def _pair(self, model: Any, found: Any, teacher: Teacher) -> Pair:
        pool = self._task.pool
        # Adapters fit every subnet that a lineage may come to be taught by.
        widest = max(pool.space.neck_channels) if pool and isinstance(teacher, Subnet) else None
        return pair_of(model, found, self._train_split, max_teacher_channels=widest)

    def _teacher(self, teacher: Teacher) -> Any:
        if teacher in self._made:
            return self._made[teacher]
        if isinstance(teacher, Subnet):
            return self._subnet(teacher)
        return load_teacher(self._task.registered[teacher.teacher], self._task.device)

    def _subnet(self, subnet: Subnet) -> Any:
        """A static detector that equals the subnet: BN reset, in eval mode, frozen."""
        task = self._task
        assert task.pool is not None  # checked by TrialOrder
        return build_teacher(
            self._context.supernet(task.pool, self._train_split.num_classes),
            subnet,
            self._train_split,
            pool=task.pool,
            training=task.training,
            seed=task.proposal.seed,
            device=task.device,
        )

    def _cut_out(self, subnet: Subnet) -> Student:
        """The pool's subnet as a detector of its own."""
        assert self._task.pool is not None  # checked by TrialOrder
        supernet = self._context.supernet(self._task.pool, self._train_split.num_classes)
        weights = self._subnet(subnet).state_dict()
        return Student(
            detector=supernet.static(subnet),
            weights={name: value.cpu() for name, value in weights.items()},
        )

    def _with_our_classes(self, student: Student) -> Student:
        if self._train_split.num_classes != student.detector.num_classes:
            raise DataError(
                f"{self._task.dataset.train.annotations} has {self._train_split.num_classes} "
                f"classes, but the detector has {student.detector.num_classes}"
            )
        return student


def _stored(student: Inherited) -> Student:
    return read_student(student.detector, student.student)
