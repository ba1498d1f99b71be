"""Combines one or more teachers with distillation methods and their adapters."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from mmdet.models import TwoStageDetector
from torch import Tensor, nn

from detection.data.batches import Batch
from detection.data.coco import CocoSplit
from detection.distillation.compared import VARIANCE
from detection.distillation.dense_heads import anchor_generator, tower_convs, tower_layers
from detection.distillation.method import DistillationMethod, OwnOptimizer, Pair, Sizes
from detection.distillation.neck_start import NeckStart
from detection.distillation.one_stage import SAMPLED_REGIONS
from detection.distillation.registry import method_class
from detection.distillation.simultaneous import AverageTaps, mean_of_losses, pair_with_average
from detection.distillation.taps import StudentTaps, TeacherTaps, first_stage, neck_strides
from searchd.domain.distillation_methods import CATALOGUE, default_weight
from searchd.domain.method_description import AdapterOptions, Tap
from searchd.domain.method_fit import check_average
from searchd.domain.teacher import Definition
from searchd.spec import MethodSpec


class Distiller:
    """Computes distillation losses from a student's taps.

    The adapters belong to the student's lineage: their state is stored beside the student and
    inherited by its children, whatever their teacher. The teachers do not change.

    Attributes:
        teachers: The one teacher, or all that teach at once.
        needed: The teacher's taps that the methods read.
        inherited: The methods whose adapters were inherited. Those of all others have the weights
            that they were built with.
    """

    def __init__(
        self,
        methods: Sequence[MethodSpec],
        teacher: nn.Module | Sequence[nn.Module],
        pair: Pair | Sequence[Pair],
        definition: Definition = "mean_of_losses",
    ) -> None:
        """Freeze the teachers and build the adapters with random weights.

        Args:
            methods: The methods, with weights and options.
            teacher: An mmdet detector, or several that teach at once. They are put into eval mode,
                and their parameters stop requiring gradients. An elastic teacher may change its
                active subnet between steps.
            pair: Sizes of the student and of the widest teacher of the lineage; one pair for each
                of several teachers.
            definition: How several teachers are combined.

        Raises:
            InvalidValueError: A method does not fit the pair, teachers' features cannot be
                averaged, or a method cannot read averaged features.
        """
        teachers = [teacher] if isinstance(teacher, nn.Module) else teacher
        pairs = [pair] if isinstance(pair, Pair) else pair
        self.teachers = tuple(each.eval().requires_grad_(False) for each in teachers)
        self.needed = frozenset[Tap]().union(
            *(CATALOGUE[method.name].reads_teacher for method in methods)
        )
        self._averages = definition == "average_features"
        if self._averages:
            check_average(method.name for method in methods)
            pairs = [pair_with_average(pairs[0], [sizes_of(each) for each in teachers])]
        # One set of methods for each teacher, or one set for their average.
        self._sets = [
            nn.ModuleDict({m.name.value: _build(m, each) for m in methods}) for each in pairs
        ]
        self.inherited: frozenset[str] = frozenset()
        self._adapters = self._sets[0] if len(self._sets) == 1 else nn.ModuleList(self._sets)

    def __call__(self, student: StudentTaps, batch: Batch | None = None) -> dict[str, Tensor]:
        """Compute each method's weighted loss, averaged over the teachers.

        Args:
            student: The student's taps.
            batch: The teachers' batch; None for the student's, see `TeacherTaps`.

        Returns:
            Losses by the method's name; those that the method's weight does not scale by
            "name.part".
        """
        return mean_of_losses(
            [
                {
                    f"{name}.{part}" if part else name: loss
                    for name, method in methods.items()
                    for part, loss in method.losses(student, teacher).items()
                }
                for methods, teacher in self.sets(student, batch)
            ]
        )

    @property
    def teacher(self) -> nn.Module:
        """The one teacher, or the first."""
        return self.teachers[0]

    @property
    def methods(self) -> dict[str, DistillationMethod]:
        """The methods by name; those of the first of several teachers."""
        return _methods(self._sets[0])

    def set_of(self, teacher: int) -> dict[str, DistillationMethod]:
        """Return the methods of one of several teachers by name; with the mean of their features
        there is one set."""
        return _methods(self._sets[teacher])

    @property
    def preparation_iterations(self) -> int:
        """Iterations before the first epoch, in which the student does not change."""
        return max((m.preparation_iterations for m in self.methods.values()), default=0)

    def preparation_losses(
        self, student: StudentTaps, step: int, batch: Batch | None = None
    ) -> dict[str, Tensor]:
        """Compute the losses of a preparation iteration, averaged over the teachers.

        Args:
            student: The student's taps.
            step: The preparation iteration, from 0. Methods with fewer have no loss.
            batch: The teachers' batch; None for the student's, see `TeacherTaps`.

        Returns:
            Losses by "name.part" of their methods.
        """
        return mean_of_losses(
            [
                {
                    f"{name}.{part}": loss
                    for name, method in methods.items()
                    if step < method.preparation_iterations
                    for part, loss in method.preparation_losses(student, teacher).items()
                }
                for methods, teacher in self.sets(student, batch)
            ]
        )

    @property
    def figures(self) -> dict[str, Tensor]:
        """What the last losses say beside themselves, averaged over the teachers, by
        "name.part"."""
        return mean_of_losses(
            [
                {
                    f"{name}.{part}": value
                    for name, method in _methods(methods).items()
                    for part, value in method.figures.items()
                }
                for methods in self._sets
            ]
        )

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should know of the training that was started, in sentences."""
        return tuple(note for method in self.methods.values() for note in method.notes)

    def prepare(self, student: nn.Module) -> tuple[nn.Module, ...]:
        """Let methods change the student before its training; see `DistillationMethod.prepare`.

        Since a student has one neck and one head, they come from the first of several teachers.
        """
        return tuple(
            frozen
            for method in self.methods.values()
            for frozen in method.prepare(student, self.teacher)
        )

    def neck_start(self, student: nn.Module) -> NeckStart | None:
        """Return what fits a student's inherited neck to its backbone; None if there is nothing to
        fit."""
        found = (each.neck_start(student, self.teacher) for each in self.methods.values())
        return next((start for start in found if start is not None), None)

    def to(self, device: torch.device | str) -> "Distiller":
        """Move teachers and adapters."""
        for teacher in self.teachers:
            teacher.to(device)
        self._adapters.to(device)
        return self

    def own_optimizers(self, num_iterations: int) -> dict[str, OwnOptimizer]:
        """Return the methods' own optimizers by method; by "method.number" with several teachers.

        Args:
            num_iterations: Number of iterations of the whole training, preparation included.
        """
        several = len(self._sets) > 1
        found = {
            f"{name}.{number}" if several else name: method.own_optimizer(num_iterations)
            for number, methods in enumerate(self._sets)
            for name, method in _methods(methods).items()
        }
        return {name: own for name, own in found.items() if own is not None}

    def parameters(self) -> Iterator[nn.Parameter]:
        """Return the adapters' parameters."""
        return self._adapters.parameters()

    def state_dict(self) -> dict[str, Tensor]:
        """Return the state that children inherit, for example "proposal_feature.adapter.weight".

        With several teachers names start with the teacher's number, as in
        "0.proposal_feature.adapter.weight".
        """
        return self._adapters.state_dict()

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Load inherited adapters. Where methods are searched, the parent may have had others:
        adapters of methods that it did not have stay new, and those of methods that are gone are
        left out.

        Raises:
            RuntimeError: A key or shape of a method differs, or a key belongs to no method.
        """
        others = [key for key in state if _method_of(key) not in CATALOGUE]
        if others:
            raise RuntimeError(f"adapters of no distillation method: {', '.join(others)}")
        found = {_method_of(key) for key in state}
        kept = {key: value for key, value in state.items() if _method_of(key) in self.methods}
        new = {key: own for key, own in self.state_dict().items() if _method_of(key) not in found}
        self._adapters.load_state_dict({**new, **kept}, strict=True)
        self.inherited = frozenset(found & self.methods.keys())

    def resume_state(self) -> dict[str, Tensor]:
        """Return `state_dict` and buffers for this training alone, such as CKD's memory."""
        return dict(self._adapters.named_buffers()) | self.state_dict()

    def load_resume_state(self, state: Mapping[str, Tensor]) -> None:
        """Continue from `resume_state`.

        A variance that an earlier version did not store stays 1, with which that version trained.

        Raises:
            KeyError: Another buffer is missing.
            RuntimeError: A key or shape differs.
        """
        rest = dict(state)
        inherited = self.state_dict()
        for name, buffer in self._adapters.named_buffers():
            if name not in inherited and (name in rest or not name.endswith(VARIANCE)):
                buffer.copy_(rest.pop(name))
        self._adapters.load_state_dict(rest, strict=True)

    def sets(
        self, student: StudentTaps, batch: Batch | None
    ) -> list[tuple[dict[str, DistillationMethod], TeacherTaps]]:
        """Return every set of methods with its teacher's taps.

        Args:
            student: The student's taps.
            batch: The teachers' batch; None for the student's, see `TeacherTaps`.
        """
        taps = [TeacherTaps(teacher, student, self.needed, batch) for teacher in self.teachers]
        if self._averages:
            taps = [AverageTaps(taps)]
        return [(_methods(methods), each) for methods, each in zip(self._sets, taps, strict=True)]


def pair_of(
    student: Any, teacher: Any, train_split: CocoSplit, *, max_teacher_channels: int | None = None
) -> Pair:
    """Return the pair that methods are built for.

    Args:
        student: mmdet detector; with its full widths if it is elastic.
        teacher: mmdet detector.
        train_split: The student's training images.
        max_teacher_channels: Channels of the widest neck that any teacher of the lineage may have;
            by default those of this teacher.
    """
    return Pair(
        student=sizes_of(student),
        teacher=sizes_of(teacher, neck_channels=max_teacher_channels),
        train_split=train_split,
    )


def sizes_of(model: Any, *, neck_channels: int | None = None) -> Sizes:
    """Return the sizes of an mmdet detector that adapters depend on."""
    two_stage = isinstance(model, TwoStageDetector)
    strides = neck_strides(model)
    if two_stage:
        head = first_stage(model.roi_head.bbox_head)
        embedding, anchors = head.fc_cls.in_features, 1
    else:
        head = model.bbox_head
        embedding = head.feat_channels if tower_layers(head)[0] else None
        anchors = head.num_base_priors if isinstance(head.num_base_priors, int) else 1
    has_shared_head = two_stage and model.roi_head.with_shared_head
    return Sizes(
        two_stage=two_stage,
        num_classes=head.num_classes,
        strides=strides,
        neck_channels=neck_channels or _neck_channels(model),
        embedding_channels=embedding,
        tower_convs=0 if two_stage else len(tower_convs(head)),
        num_anchors=anchors,
        anchors=anchor_generator(model.rpn_head if two_stage else head),
        regions_per_image=_regions_per_image(model),
        shared_head_channels=head.in_channels if has_shared_head else None,
    )


def _regions_per_image(model: Any) -> int | None:
    """Return the largest number of regions of an image; None without settings for training."""
    if not isinstance(model, TwoStageDetector):
        return int((model.train_cfg or {}).get("sampled_rois", SAMPLED_REGIONS))
    sampler = first_stage(getattr(model.roi_head, "bbox_sampler", None))
    return getattr(sampler, "num", None)


def _neck_channels(model: Any) -> int:
    """Return the channels of the neck's widest level."""
    if hasattr(model, "neck") and hasattr(model.neck, "out_channels"):
        channels = model.neck.out_channels
    else:  # without a neck, and in SSD: the inputs of the dense head
        channels = (model.rpn_head if hasattr(model, "rpn_head") else model.bbox_head).in_channels
    return int(channels if isinstance(channels, int) else max(channels))


def _method_of(key: str) -> str:
    """Return the method of a key of the adapters, which may start with a teacher's number."""
    first, _, rest = key.partition(".")
    return rest.partition(".")[0] if first.isdecimal() else first


def _methods(modules: nn.ModuleDict) -> dict[str, DistillationMethod]:
    return dict(modules.items())  # type: ignore[arg-type] # built from methods


def _build(spec: MethodSpec, pair: Pair) -> DistillationMethod:
    options = spec.parsed_options
    method = method_class(spec.name).build(options, pair)
    if isinstance(options, AdapterOptions):
        method.start, method.start_images = options.start, options.start_images
    method.weight = spec.weight or default_weight(spec.name, two_stage=pair.student.two_stage)
    return method
