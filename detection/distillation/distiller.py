"""A teacher with the methods that a student is distilled by, and their adapters."""

from collections.abc import Iterator, Mapping, Sequence

import torch
from mmdet.models import FasterRCNN
from torch import Tensor, nn

from detection.data.batches import Batch
from detection.distillation.class_aware_localisation import ClassAwareLocalisationLoss
from detection.distillation.classification import ClassificationLoss
from detection.distillation.method import DistillationLoss
from detection.distillation.proposal_feature import ProposalFeatureLoss
from detection.distillation.taps import StudentStep, Tap, teacher_taps
from searchd.domain.distillation import MethodName
from searchd.spec import MethodSpec


class Distiller:
    """Turns a student's step into distillation losses.

    The adapters belong to the student's lineage: their state is saved beside the student and handed
    on to its children, whatever their teacher. The teacher is only read.
    """

    def __init__(
        self,
        methods: Sequence[MethodSpec],
        teacher: FasterRCNN,
        *,
        student_channels: int,
        max_teacher_channels: int,
    ) -> None:
        """Freeze the teacher and build the adapters with random weights.

        Args:
            methods: What to distil by, with weights.
            teacher: Is put in eval mode and its parameters stop requiring gradients. An elastic
                one may change its active subnet between steps.
            student_channels: The student's neck channels; the widest, if it is elastic.
            max_teacher_channels: The widest neck that any teacher of the lineage may have.
        """
        self.teacher = teacher.eval().requires_grad_(False)
        self._weights = {method.name: method.weight for method in methods}
        losses = {
            method.name.value: _loss(method, student_channels, max_teacher_channels)
            for method in methods
        }
        self._needed = frozenset[Tap]().union(*(loss.needs for loss in losses.values()))
        self._losses = nn.ModuleDict(losses)

    def __call__(self, batch: Batch, step: StudentStep) -> dict[str, Tensor]:
        """Each method's loss times its weight, by the method's name.

        Args:
            batch: What the student saw.
            step: What the student made of it.
        """
        teacher = teacher_taps(self.teacher, batch.inputs, step, self._needed)
        return {
            name: self._weights[MethodName(name)] * loss(step.taps, teacher)
            for name, loss in self._losses.items()
        }

    def to(self, device: torch.device | str) -> "Distiller":
        """Move teacher and adapters."""
        self.teacher.to(device)
        self._losses.to(device)
        return self

    def parameters(self) -> Iterator[nn.Parameter]:
        """The adapters' parameters."""
        return self._losses.parameters()

    def state_dict(self) -> dict[str, Tensor]:
        """The adapters' weights, for example "proposal_feature.adapter.weight"."""
        return self._losses.state_dict()

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take over adapters.

        Raises:
            RuntimeError: A key or shape differs.
        """
        self._losses.load_state_dict(state, strict=True)


def _loss(spec: MethodSpec, student_channels: int, max_teacher_channels: int) -> DistillationLoss:
    match spec.name:
        case MethodName.PROPOSAL_FEATURE:
            return ProposalFeatureLoss(
                student_channels=student_channels,
                max_teacher_channels=max_teacher_channels,
                reduction=spec.reduction,
            )
        case MethodName.CLASSIFICATION:
            return ClassificationLoss()
        case MethodName.CLASS_AWARE_LOCALISATION:
            return ClassAwareLocalisationLoss()
