"""Teachers with the methods that a student is distilled by, and their adapters."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from mmdet.models import TwoStageDetector
from mmdet.models.task_modules import AnchorGenerator
from torch import Tensor, nn

from detection.data.batches import Batch
from detection.data.coco import CocoSplit
from detection.distillation.method import DistillationMethod, OwnOptimizer, Pair, Sizes
from detection.distillation.one_stage import last_tower_conv
from detection.distillation.registry import method_class
from detection.distillation.simultaneous import AverageTaps, mean_of_losses, pair_with_average
from detection.distillation.taps import StudentTaps, TeacherTaps, first_stage, neck_strides
from searchd.domain.distillation_methods import CATALOGUE, default_weight
from searchd.domain.method_description import Tap
from searchd.domain.method_fit import check_average
from searchd.domain.teacher import Definition
from searchd.spec import MethodSpec


class Distiller:
    """Turns a student's taps into distillation losses.

    The adapters belong to the student's lineage: their state is saved beside the student and handed
    on to its children, whatever their teacher. The teachers are only read.

    Attributes:
        teachers: The one teacher, or all that teach at once.
        needed: What the methods read of a teacher.
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
            methods: What to distil by, with weights and options.
            teacher: An mmdet detector, or several that teach at once; they are put in eval mode and
                their parameters stop requiring gradients. An elastic one may change its active
                subnet between steps.
            pair: Sizes of the student and of the widest teacher of the lineage; with several
                teachers one pair for each.
            definition: What several teachers add to the loss.

        Raises:
            InvalidValueError: A method does not fit the pair; or teachers' features are to be
                averaged for a method that does not match them, or cannot be averaged.
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
        # A set of methods for each teacher, or one for their average.
        self._sets = [
            nn.ModuleDict({m.name.value: _build(m, each) for m in methods}) for each in pairs
        ]
        self._adapters = self._sets[0] if len(self._sets) == 1 else nn.ModuleList(self._sets)

    def __call__(self, student: StudentTaps, batch: Batch | None = None) -> dict[str, Tensor]:
        """Each method's weighted loss by the method's name; parts that a method's weight does not
        touch by "name.part". Of several teachers the means.

        Args:
            student: Its taps.
            batch: What the teachers see, if not the student's batch; see `TeacherTaps`.
        """
        return mean_of_losses(
            [
                {
                    f"{name}.{part}" if part else name: loss
                    for name, method in methods.items()
                    for part, loss in method.losses(student, teacher).items()
                }
                for methods, teacher in self._taught(student, batch)
            ]
        )

    @property
    def teacher(self) -> nn.Module:
        """The one teacher, or the first."""
        return self.teachers[0]

    @property
    def methods(self) -> dict[str, DistillationMethod]:
        """The methods by name; with several teachers, those of the first."""
        return _methods(self._sets[0])

    @property
    def preparation_iterations(self) -> int:
        """Iterations before the training proper, in which the student stays as it is."""
        return max((m.preparation_iterations for m in self.methods.values()), default=0)

    def preparation_losses(
        self, student: StudentTaps, step: int, batch: Batch | None = None
    ) -> dict[str, Tensor]:
        """Losses of preparation iteration `step`, from 0, of the methods that are not ready.
        Arguments and means as when called."""
        return mean_of_losses(
            [
                {
                    f"{name}.{part}": loss
                    for name, method in methods.items()
                    if step < method.preparation_iterations
                    for part, loss in method.preparation_losses(student, teacher).items()
                }
                for methods, teacher in self._taught(student, batch)
            ]
        )

    def prepare(self, student: nn.Module) -> tuple[nn.Module, ...]:
        """Let methods change the student before it is trained; see `DistillationMethod.prepare`.

        A student has one neck and one head: of several teachers it is the first that gives its own.
        """
        return tuple(
            frozen
            for method in self.methods.values()
            for frozen in method.prepare(student, self.teacher)
        )

    def to(self, device: torch.device | str) -> "Distiller":
        """Move teachers and adapters."""
        for teacher in self.teachers:
            teacher.to(device)
        self._adapters.to(device)
        return self

    def own_optimizers(self, num_iterations: int) -> dict[str, OwnOptimizer]:
        """By method, of those that have one; with several teachers by "method.number"."""
        several = len(self._sets) > 1
        found = {
            f"{name}.{number}" if several else name: method.own_optimizer(num_iterations)
            for number, methods in enumerate(self._sets)
            for name, method in _methods(methods).items()
        }
        return {name: own for name, own in found.items() if own is not None}

    def parameters(self) -> Iterator[nn.Parameter]:
        """The adapters' parameters."""
        return self._adapters.parameters()

    def state_dict(self) -> dict[str, Tensor]:
        """The adapters as they are handed on, for example "proposal_feature.adapter.weight"; those
        of several teachers after the teacher's number, "0.proposal_feature.adapter.weight"."""
        return self._adapters.state_dict()

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take over adapters.

        Raises:
            RuntimeError: A key or shape differs.
        """
        self._adapters.load_state_dict(state, strict=True)

    def resume_state(self) -> dict[str, Tensor]:
        """`state_dict`, and what this training alone has use for: buffers that are not persistent,
        as CKD's memory."""
        return dict(self._adapters.named_buffers()) | self.state_dict()

    def load_resume_state(self, state: Mapping[str, Tensor]) -> None:
        """Continue from `resume_state`.

        Raises:
            KeyError: A buffer is missing.
            RuntimeError: A key or shape differs.
        """
        rest = dict(state)
        handed_on = self.state_dict()
        for name, buffer in self._adapters.named_buffers():
            if name not in handed_on:
                buffer.copy_(rest.pop(name))
        self.load_state_dict(rest)

    def _taught(
        self, student: StudentTaps, batch: Batch | None
    ) -> list[tuple[dict[str, DistillationMethod], TeacherTaps]]:
        """Every set of methods with the taps that it compares the student's with."""
        taps = [TeacherTaps(teacher, student, self.needed, batch) for teacher in self.teachers]
        if self._averages:
            taps = [AverageTaps(taps)]
        return [(_methods(methods), each) for methods, each in zip(self._sets, taps, strict=True)]


def pair_of(
    student: Any, teacher: Any, train_split: CocoSplit, *, max_teacher_channels: int | None = None
) -> Pair:
    """The pair that methods are built for.

    Args:
        student: mmdet detector, with its full widths if it is elastic.
        teacher: mmdet detector.
        train_split: The images that the student is to train on.
        max_teacher_channels: The widest neck that any teacher of the lineage may have; by default
            this teacher's.
    """
    return Pair(
        student=sizes_of(student),
        teacher=sizes_of(teacher, neck_channels=max_teacher_channels),
        train_split=train_split,
    )


def sizes_of(model: Any, *, neck_channels: int | None = None) -> Sizes:
    """The numbers of an mmdet detector that adapters depend on."""
    two_stage = isinstance(model, TwoStageDetector)
    strides = neck_strides(model)
    if two_stage:
        head = first_stage(model.roi_head.bbox_head)
        embedding, anchors = head.fc_cls.in_features, 1
    else:
        head = model.bbox_head
        embedding = head.feat_channels if last_tower_conv(head) is not None else None
        anchors = head.num_base_priors if isinstance(head.num_base_priors, int) else 1
    priors = (model.rpn_head if two_stage else head).prior_generator
    has_shared_head = two_stage and model.roi_head.with_shared_head
    return Sizes(
        two_stage=two_stage,
        num_classes=head.num_classes,
        strides=strides,
        neck_channels=neck_channels or _neck_channels(model),
        embedding_channels=embedding,
        num_anchors=anchors,
        anchors=priors if isinstance(priors, AnchorGenerator) else None,
        shared_head_channels=head.in_channels if has_shared_head else None,
    )


def _neck_channels(model: Any) -> int:
    """The widest level's."""
    if hasattr(model, "neck") and hasattr(model.neck, "out_channels"):
        channels = model.neck.out_channels
    else:  # without a neck, and SSD's, what the dense head reads says it
        channels = (model.rpn_head if hasattr(model, "rpn_head") else model.bbox_head).in_channels
    return int(channels if isinstance(channels, int) else max(channels))


def _methods(modules: nn.ModuleDict) -> dict[str, DistillationMethod]:
    return dict(modules.items())  # type: ignore[arg-type] # built from methods


def _build(spec: MethodSpec, pair: Pair) -> DistillationMethod:
    method = method_class(spec.name).build(spec.parsed_options, pair)
    method.weight = spec.weight or default_weight(spec.name, two_stage=pair.student.two_stage)
    return method
