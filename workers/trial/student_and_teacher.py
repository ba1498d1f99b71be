"""Builds the student of a trial, and its teachers with their distillation methods."""

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from detection.backbones.pretrained import load_pretrained, start_from
from detection.build import Student, build_detector, load_student
from detection.data.augmentations import Augmenter
from detection.data.batches import TrainingBatches
from detection.data.coco import CocoSplit
from detection.distillation.distiller import Distiller, pair_of
from detection.distillation.method import Pair
from detection.morphism import evolve
from detection.morphism.channel_importance import taylor_importances
from detection.morphism.prune_to_macs import prune_to_macs
from detection.stored_weights import read_student, read_weights
from searchd.domain.detector import Detector
from searchd.domain.errors import DataError
from searchd.domain.method_set import MutateMethods
from searchd.domain.subnet import Subnet
from searchd.domain.teacher import (
    SimultaneousTeachers,
    Teacher,
    TeacherCandidates,
    Teaching,
    teachers_of,
)
from searchd.domain.trial import Finish, MutateTeacher, PruneToMacs, TakeSubnet, Train, TrainSwept
from searchd.messages.tasks import Inherited, LoadedBase, TeacherRef, TrialTask
from workers.teachers import build_teacher, load_teacher
from workers.trial.base_detector import load_base
from workers.trial.context import TrialContext
from workers.trial.nearest_teacher import CHOICE, NearestTeacher, TeacherChoice

TAYLOR_IMAGES = 256
"""Training images by which channels are ranked: at least this many, in whole batches, if there
are as many."""


class PairBuilder:
    """Builds student and teachers of one trial.

    Attributes:
        choice: The candidate that teaches; None without candidates, or before one is chosen.
        trains: Whether the student is trained; False for one that is only evaluated.
        notes: How the student was loaded, in sentences.
    """

    def __init__(self, task: TrialTask, context: TrialContext) -> None:
        self._task = task
        self._context = context
        self._train_split: CocoSplit = context.split(task.dataset.train)
        self._teaching: Teaching | None = task.proposal.teacher
        self._built: dict[Teacher, Any] = {}
        self.choice: TeacherChoice | None = None
        change = task.proposal.change
        self.trains = task.loaded_base is None and not isinstance(change, TakeSubnet)
        self.notes: tuple[str, ...] = ()

    def validation_split(self) -> CocoSplit:
        """Return the images by which the trial is evaluated.

        Raises:
            DataError: The split cannot be read.
        """
        spec, change = self._task.dataset.validation, self._task.proposal.change
        if isinstance(change, TakeSubnet) and change.num_images is not None:
            return self._context.sample(spec, change.num_images)
        return self._context.split(spec)

    def student(self) -> Student:
        """Return the student to train: built, loaded, from the pool, or inherited and edited.

        Raises:
            NothingToDo: The action would change nothing.
            DataError: Its number of classes differs from the data set's.
        """
        task, change = self._task, self._task.proposal.change
        if task.loaded_base is not None:
            return self._with_checked_classes(self._loaded_student(task.loaded_base))
        if isinstance(change, TakeSubnet):
            return self._extracted_student(change.subnet)
        if task.inherited is None:
            assert task.detector is not None  # checked by TrialTask
            return self._with_checked_classes(self._new_student(task.detector))
        parent = self._with_checked_classes(_read(task.inherited))
        if isinstance(change, Train | TrainSwept | Finish | MutateTeacher | MutateMethods):
            return parent
        if isinstance(change, PruneToMacs):
            resolution, taylor = task.score.base_resolution, self._taylor
            return prune_to_macs(parent, change, resolution, task.table, taylor)
        generator = torch.Generator().manual_seed(task.proposal.seed)
        return evolve(parent, change, generator=generator, taylor=self._taylor)

    def choose_teacher(self, model: Any, earlier: str | None) -> Iterator[None]:
        """Choose the teacher among the proposal's candidates, if it has any, and set `choice`.

        Yields now and then. Iterate to the end before calling `distiller`.

        Args:
            model: The student before training.
            earlier: `stored_choice` of an earlier attempt from which the trial resumes.

        Raises:
            DataError: There are too few images to choose by.
        """
        if not isinstance(self._teaching, TeacherCandidates):
            return
        if earlier is not None:
            self.choice = CHOICE.validate_json(earlier)
        else:
            nearest = self._nearest_teacher(model, self._teaching)
            yield from nearest.compare()
            self.choice = nearest.choice
            self._built[self.choice.teacher] = nearest.model(self.choice.teacher)
        self._teaching = self.choice.teacher

    @property
    def stored_choice(self) -> str | None:
        """The choice in the form that a checkpoint stores; None without a choice."""
        return None if self.choice is None else CHOICE.dump_json(self.choice).decode()

    def distiller(self, model: Any) -> Distiller | None:
        """Return the student's distiller, with inherited adapters; None without a teacher.

        If the proposal has candidates, one must have been chosen.

        Raises:
            InvalidValueError: A method does not fit the pair.
        """
        task, teaching = self._task, self._teaching
        if teaching is None:
            return None
        teachers = [self._build_teacher(teacher) for teacher in teachers_of(teaching)]
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
        """Return the keys of the teachers' stored APs, in the distiller's order of teachers."""
        teaching = self._teaching
        return [
            teacher if isinstance(teacher, Subnet) else self._task.registered[teacher.teacher]
            for teacher in (() if teaching is None else teachers_of(teaching))
        ]

    def _nearest_teacher(self, model: Any, teaching: TeacherCandidates) -> NearestTeacher:
        task = self._task
        return NearestTeacher(
            model,
            teaching.candidates,
            self._build_subnet,
            train=self._train_split,
            validation=self._context.split(task.dataset.validation),
            resolution=max(task.evaluated_at, key=lambda each: each.area),
            teacher_resolution=task.teacher_resolution,
            device=task.device,
        )

    def _pair(self, model: Any, found: Any, teacher: Teacher) -> Pair:
        pool = self._task.pool
        # Adapters fit every subnet that may teach a descendant.
        widest = max(pool.space.neck_channels) if pool and isinstance(teacher, Subnet) else None
        return pair_of(model, found, self._train_split, max_teacher_channels=widest)

    def _build_teacher(self, teacher: Teacher) -> Any:
        if teacher in self._built:
            return self._built[teacher]
        if isinstance(teacher, Subnet):
            return self._build_subnet(teacher)
        return load_teacher(self._task.registered[teacher.teacher], self._task.device)

    def _build_subnet(self, subnet: Subnet) -> Any:
        """Build the static detector that equals a subnet: BN reset, in eval mode, frozen."""
        task = self._task
        assert task.pool is not None  # checked by TrialTask
        return build_teacher(
            self._context.supernet(task.pool, self._train_split.num_classes),
            subnet,
            self._train_split,
            pool=task.pool,
            training=task.training,
            seed=task.proposal.seed,
            device=task.device,
        )

    def _taylor(self, student: Student) -> list[Tensor]:
        """Rank a student's channels by training images, as its first steps will see them."""
        training, seed = self._task.training, self._task.proposal.seed
        batches = TrainingBatches(
            self._train_split,
            batch_size=training.bn_reset_batch_size,
            resolutions=training.resolutions,
            augmenter=Augmenter.of(training),
            use_empty_images=training.use_empty_images,
            masks=student.detector.family.has_masks,
            seed=seed,
        )
        wanted = math.ceil(TAYLOR_IMAGES / training.bn_reset_batch_size)
        steps = range(min(wanted, batches.num_iterations))
        torch.manual_seed(seed)
        model = load_student(student).to(self._task.device)
        return taylor_importances(model, student.detector, map(batches.batch, steps))

    def _loaded_student(self, loaded: LoadedBase | Inherited) -> Student:
        if isinstance(loaded, Inherited):
            return _read(loaded)
        found = load_base(loaded, self._train_split.class_names)
        self.trains, self.notes = found.trains, found.notes
        return found.student

    def _new_student(self, detector: Detector) -> Student:
        """Return the base with random weights, and with the pretrained backbone if there is one."""
        weights = build_detector(detector).state_dict()
        if self._task.pretrained is not None:
            loaded = load_pretrained(self._task.pretrained)
            self.notes = start_from(weights, loaded, detector.architecture)
        return Student(detector=detector, weights=weights)

    def _extracted_student(self, subnet: Subnet) -> Student:
        """Return a subnet of the pool as a student."""
        assert self._task.pool is not None  # checked by TrialTask
        supernet = self._context.supernet(self._task.pool, self._train_split.num_classes)
        weights = self._build_subnet(subnet).state_dict()
        return Student(
            detector=supernet.static(subnet),
            weights={name: value.cpu() for name, value in weights.items()},
        )

    def _with_checked_classes(self, student: Student) -> Student:
        if self._train_split.num_classes != student.detector.num_classes:
            raise DataError(
                f"{self._task.dataset.train.annotations} has {self._train_split.num_classes} "
                f"classes, but the detector has {student.detector.num_classes}"
            )
        return student


def _read(stored: Inherited) -> Student:
    return read_student(stored.detector, stored.student)
