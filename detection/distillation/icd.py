"""Instance-conditional distillation (ICD): distils the teacher's features that are relevant to each
object, as a trained decoder finds them. ICD sections 3 and A, docs/papers.md 4.

The auxiliary task (identification and regression losses) trains encoder, decoder and predictor; the
distillation loss trains the student and its value projection. The teacher is not trained. Instances
are in the student's pixels, so features of a teacher that sees the images at another size are read
on the student's grid.
"""

from dataclasses import dataclass
from math import cos, pi
from typing import Self

import torch
from mmdet.models.layers import MLP
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.lr_scheduler import LambdaLR

from detection.distillation.adapters import ChannelAdapter
from detection.distillation.compared import Compared
from detection.distillation.conditional_decoder import (
    ConditionalDecoder,
    Knowledge,
    grid_of,
    joined,
    split_heads,
)
from detection.distillation.fake_instances import FakeInstances, Instances, InstanceSampler
from detection.distillation.instance_encoder import WIDTH, InstanceEncoder, shifted_centres
from detection.distillation.levels import at_stride, shared_strides, upsampled
from detection.distillation.method import DistillationMethod, OwnOptimizer, Pair, balanced
from detection.distillation.taps import StudentTaps, TeacherTaps
from searchd.domain.method_options import IcdOptions

MAX_INSTANCES_TWO_STAGE, MAX_INSTANCES_ONE_STAGE = 100, 300
"""Largest number of instances per image, real and fake (docs/papers.md 4.2)."""
WARMUP, WARMUP_SHARE = 1000, 0.1
"""Iterations in which the student does not learn from the loss, and the largest share of a training
that they take, so that a short training is not over before it is taught."""
WEIGHT_DECAY, MAX_GRAD_NORM, OPTIMIZER_WARMUP = 1e-4, 0.01, 10
"""Settings of the modules' AdamW; the warm-up is in iterations (docs/papers.md 4.4)."""
MIN_SIDE = 1e-3
"""Smallest side of an object in the regression loss, as a share of the image (one pixel of 1000).
Errors are divided by the side, which clipping may reduce to zero."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DecodedInstances:
    """The decoder's outputs on a batch."""

    instances: Instances
    centres: Tensor
    """B x I x 2, x and y as shares of the image, with noise."""
    knowledge: Knowledge


class Icd(DistillationMethod):
    """The loss with its trained modules: encoder, decoder, predictor, student's value projection.

    Attributes:
        iterations: Iterations of distillation so far, those of the student's ancestors included; a
            long scalar. The warm-up is counted by it.

    Scores and attention take B x M x I x L floats each, and their gradients as much: an image of
    1333 x 800 px has about 90,000 cells, which with 100 instances and 8 heads take 290 MB each.
    """

    def __init__(self, options: IcdOptions, pair: Pair) -> None:
        """
        Args:
            options: The method's options.
            pair: The pair that it is built for.

        Raises:
            InvalidValueError: The necks have no level in common.
        """
        super().__init__()
        self._options = options
        self._warmup = WARMUP if options.warmup_iterations is None else options.warmup_iterations
        self._before, self._distils = 0, False
        self.iterations: Tensor
        self.register_buffer("iterations", torch.tensor(0))
        self.register_load_state_dict_pre_hook(_count_from_zero)
        self._strides = shared_strides(pair)
        self.preparation_iterations = options.decoder_only_iterations
        num_classes, two_stage = pair.student.num_classes, pair.student.two_stage
        limit = MAX_INSTANCES_TWO_STAGE if two_stage else MAX_INSTANCES_ONE_STAGE
        self.sampler = InstanceSampler(
            FakeInstances(pair.train_split, num_classes),
            options.fake_per_object,
            options.max_instances or limit,
        )
        self.encoder = InstanceEncoder(num_classes)
        self.decoder = ConditionalDecoder(pair.teacher.neck_channels, options.num_heads)
        self.predictor = MLP(WIDTH, WIDTH, 5, 3)
        self.student_value = ChannelAdapter(pair.student.neck_channels, WIDTH, 1)
        for parameter in self.parameters():
            if parameter.dim() > 1:  # as DETR; with torch's defaults the task is learned much later
                nn.init.xavier_uniform_(parameter)

    @classmethod
    def build(cls, options: IcdOptions, pair: Pair) -> Self:
        return cls(options, pair)

    @property
    def linear_adapters(self) -> tuple[ChannelAdapter, ...]:
        return (self.student_value,)

    def compared(self, student: StudentTaps, teacher: TeacherTaps) -> dict[str, Compared]:
        """Return the student's features and the teacher's values, as the decoder starts with."""
        return {
            at_stride(stride): Compared(
                student=upsampled(student.neck[stride], teacher.neck[stride]),
                teacher=self.decoder.value(teacher.neck[stride]),
                adapter=self.student_value,
            )
            for stride in self._strides
        }

    def forward(self, student: StudentTaps, teacher: TeacherTaps) -> Tensor:
        return self._distillation(student, teacher, self._decode(student, teacher))

    def losses(self, student: StudentTaps, teacher: TeacherTaps) -> dict[str, Tensor]:
        self._distils = True
        decoded = self._decode(student, teacher)
        distillation = self.weight * self._distillation(student, teacher, decoded)
        return {"": distillation, **self._auxiliary(decoded)}

    def preparation_losses(self, student: StudentTaps, teacher: TeacherTaps) -> dict[str, Tensor]:
        self._distils = False
        return self._auxiliary(self._decode(student, teacher))

    def own_optimizer(self, num_iterations: int) -> OwnOptimizer:
        if self._options.warmup_iterations is None:
            self._warmup = min(WARMUP, int(WARMUP_SHARE * num_iterations))
        self._before = int(self.iterations)
        self._note_long_warmup(num_iterations - self.preparation_iterations)
        optimizer = torch.optim.AdamW(
            self.parameters(), lr=self._options.learning_rate, weight_decay=WEIGHT_DECAY
        )
        optimizer.register_step_post_hook(self._count)
        return OwnOptimizer(
            optimizer=optimizer,
            schedule=LambdaLR(optimizer, lambda step: learning_rate_share(step, num_iterations)),
            max_grad_norm=MAX_GRAD_NORM,
        )

    def _count(self, *_: object) -> None:
        """Count a step that was taken, unless it was one of the preparation."""
        self.iterations += int(self._distils)

    def _note_long_warmup(self, num_iterations: int) -> None:
        left = self._warmup - self._before
        if left >= num_iterations:
            self.notes = (
                f"icd teaches the student nothing in this training of {num_iterations} iterations: "
                f"{left} iterations of its warm-up are left (option warmup_iterations)",
            )

    def _decode(self, student: StudentTaps, teacher: TeacherTaps) -> DecodedInstances:
        """Decode a batch's instances from the teacher's features, which are detached."""
        instances = self.sampler(student.batch)
        centres = shifted_centres(instances.boxes)
        knowledge = self.decoder(
            self.encoder(instances.labels, centres, instances.sizes_px),
            joined(teacher.neck, self._strides).detach(),
            grid_of(teacher.neck, self._strides, instances.image_sizes),
        )
        return DecodedInstances(instances=instances, centres=centres, knowledge=knowledge)

    def _auxiliary(self, decoded: DecodedInstances) -> dict[str, Tensor]:
        """Return L_aux. Its gradient flows to encoder, decoder and predictor only."""
        instances = decoded.instances
        outputs = self.predictor(decoded.knowledge.embeddings)  # B x I x 5
        used, real = instances.is_used, instances.is_real
        identification = identification_loss(outputs[..., 0][used], real[used])
        accuracy = identification_accuracy(outputs[..., 0].detach(), real, used)
        self.figures = {"identification_accuracy": accuracy}
        regression = regression_loss(
            outputs[..., 1:][real], decoded.centres[real], instances.boxes[real]
        )
        return {
            "identification": balanced(identification, int(used.sum())),
            "regression": balanced(regression, int(real.sum())),
        }

    def _distillation(
        self, student: StudentTaps, teacher: TeacherTaps, decoded: DecodedInstances
    ) -> Tensor:
        """Return L_distill. Its gradient flows to the value projection, and to the student after
        the warm-up."""
        levels = {s: upsampled(student.neck[s], teacher.neck[s]) for s in self._strides}
        features = joined(levels, self._strides)
        if self._before + student.step < self._warmup:
            features = features.detach()
        knowledge = decoded.knowledge
        return distillation_loss(
            knowledge.attention.detach(),
            decoded.instances.is_real,
            split_heads(self.student_value(features), self._options.num_heads),
            knowledge.values.detach(),
            normalise=self._options.normalise_values,
        )


def identification_loss(logits: Tensor, is_real: Tensor) -> Tensor:
    """L_idf: binary cross entropy of whether an instance is in the image, averaged over N
    instances.

    Args:
        logits: N.
        is_real: N, bool.
    """
    losses = functional.binary_cross_entropy_with_logits(
        logits, is_real.to(logits.dtype), reduction="none"
    )
    return losses.sum() / max(len(logits), 1)


def identification_accuracy(logits: Tensor, is_real: Tensor, is_used: Tensor) -> Tensor:
    """Return how well real and fake instances are told apart: the mean of the share of real ones
    and the share of fake ones that are. A decoder that has learned nothing has 0.5, however many
    of them are fakes, and so have instances of one kind only.

    Args:
        logits: B x I.
        is_real: B x I, bool.
        is_used: B x I, bool: whether it is an instance, and not padding.
    """
    right = (logits > 0) == is_real
    shares = [
        (right & kind & is_used).sum() / (kind & is_used).sum() for kind in (is_real, ~is_real)
    ]
    return torch.stack(shares).mean().nan_to_num(0.5)


def regression_loss(outputs: Tensor, centres: Tensor, boxes: Tensor) -> Tensor:
    """L_reg: error of the predicted distances from the noisy centre to the sides of the box.

    Distances (left, top, right, bottom) are shares of the image; errors are divided by the box's
    width or height (eq. 19, docs/papers.md 4.2), summed over the sides and averaged over the
    objects.

    Args:
        outputs: N_r x 4, before the sigmoid.
        centres: N_r x 2, x and y as shares of the image.
        boxes: N_r x 4, xyxy as shares of the image.
    """
    distances = torch.cat([centres - boxes[:, :2], boxes[:, 2:] - centres], dim=1)
    sides = (boxes[:, 2:] - boxes[:, :2]).clamp(min=MIN_SIDE).repeat(1, 2)
    return ((outputs.sigmoid() - distances).abs() / sides).sum() / max(len(boxes), 1)


def distillation_loss(
    attention: Tensor,
    is_real: Tensor,
    student_values: Tensor,
    teacher_values: Tensor,
    *,
    normalise: bool,
) -> Tensor:
    """L_distill = 1/(M N_r) * sum_j sum_i delta(y_i) <m_ij, MSE(V_j^S, V_j^T)>, mean over images.

    MSE is over the d channels of a head. An image without objects counts 0.

    Args:
        attention: m, B x M x I x L.
        is_real: delta(y), B x I, bool.
        student_values: V^S, B x M x d x L.
        teacher_values: V^T, B x M x d x L.
        normalise: Whether both V pass a LayerNorm without parameters over d first
            (docs/papers.md 4.3).
    """
    real = is_real.to(attention.dtype)
    shares = real / real.sum(dim=1, keepdim=True).clamp(min=1)  # B x I: 1 / N_r
    weights = torch.einsum("bmil,bi->bml", attention, shares)
    ours, theirs = student_values.transpose(2, 3), teacher_values.transpose(2, 3)
    if normalise:
        channels = ours.shape[3:]
        ours, theirs = (functional.layer_norm(v, channels) for v in (ours, theirs))
    errors = (ours - theirs).square().mean(dim=3)  # B x M x L
    return (weights * errors).sum(dim=2).mean()


def learning_rate_share(step: int, num_iterations: int) -> float:
    """Return the share of the learning rate at a step, from 0: a linear warm-up times a cosine."""
    warm = min((step + 1) / OPTIMIZER_WARMUP, 1.0)
    return warm * (1 + cos(pi * min(step / num_iterations, 1.0))) / 2


def _count_from_zero(module: nn.Module, state: dict[str, Tensor], prefix: str, *_: object) -> None:
    """Load the state of an earlier version, which did not count iterations."""
    assert isinstance(module, Icd)
    state.setdefault(f"{prefix}iterations", torch.zeros_like(module.iterations))
