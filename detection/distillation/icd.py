"""Instance-conditional distillation: what the teacher's features know of each object, found by a
decoder that learns to. ICD sections 3 and A, docs/papers.md 4.

Three losses with three addressees: the auxiliary task (identification and regression) trains
encoder, decoder and predictor; the distillation loss trains the student and its value projection.
The teacher learns nothing. Instances are in the student's pixels, so the decoder reads a teacher
that sees the images at another size on the student's grid.
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
from detection.distillation.conditional_decoder import (
    ConditionalDecoder,
    Knowledge,
    grid_of,
    joined,
    split_heads,
)
from detection.distillation.fake_instances import FakeInstances, Instances, InstanceSampler
from detection.distillation.instance_encoder import WIDTH, InstanceEncoder, disturbed_centres
from detection.distillation.levels import shared_strides, upsampled
from detection.distillation.method import DistillationMethod, OwnOptimizer, Pair, balanced
from detection.distillation.taps import StudentTaps, TeacherTaps
from searchd.domain.method_options import IcdOptions

MAX_INSTANCES_TWO_STAGE, MAX_INSTANCES_ONE_STAGE = 100, 300
"""Per image, real and fake (docs/papers.md 4.2)."""
WEIGHT_DECAY, MAX_GRAD_NORM, OPTIMIZER_WARMUP = 1e-4, 0.01, 10
"""Of the modules' AdamW; its warm-up is in iterations (docs/papers.md 4.4)."""
MIN_SIDE = 1e-3
"""Share of the image (a pixel of 1000) that a side counts for at least in the regression loss:
clipping may leave an object less, or nothing, by which an error could not be divided."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Findings:
    """The decoder's answers on a batch."""

    instances: Instances
    centres: Tensor
    """B x I x 2, x and y as shares of the image, disturbed."""
    knowledge: Knowledge


class Icd(DistillationMethod):
    """The loss with all that it trains: encoder, decoder, predictor, student's value projection.

    Scores and attention take B x M x I x L floats each, and their gradients as much: an image of
    1333 x 800 px has about 90,000 cells, of which 100 instances and 8 heads make 290 MB each.
    """

    def __init__(self, options: IcdOptions, pair: Pair) -> None:
        """
        Args:
            options: The spec's.
            pair: What it is built for.

        Raises:
            InvalidValueError: The necks have no level in common.
        """
        super().__init__()
        self._options = options
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
            if parameter.dim() > 1:  # as DETR; from torch's defaults the task is learned far later
                nn.init.xavier_uniform_(parameter)

    @classmethod
    def build(cls, options: IcdOptions, pair: Pair) -> Self:
        return cls(options, pair)

    def forward(self, student: StudentTaps, teacher: TeacherTaps) -> Tensor:
        return self._distillation(student, teacher, self._find(student, teacher))

    def losses(self, student: StudentTaps, teacher: TeacherTaps) -> dict[str, Tensor]:
        findings = self._find(student, teacher)
        distillation = self.weight * self._distillation(student, teacher, findings)
        return {"": distillation, **self._auxiliary(findings)}

    def preparation_losses(self, student: StudentTaps, teacher: TeacherTaps) -> dict[str, Tensor]:
        return self._auxiliary(self._find(student, teacher))

    def own_optimizer(self, num_iterations: int) -> OwnOptimizer:
        optimizer = torch.optim.AdamW(
            self.parameters(), lr=self._options.learning_rate, weight_decay=WEIGHT_DECAY
        )
        return OwnOptimizer(
            optimizer=optimizer,
            schedule=LambdaLR(optimizer, lambda step: rate_share(step, num_iterations)),
            max_grad_norm=MAX_GRAD_NORM,
        )

    def _find(self, student: StudentTaps, teacher: TeacherTaps) -> Findings:
        """Ask the teacher's features, detached, about a batch's instances."""
        instances = self.sampler(student.batch)
        centres = disturbed_centres(instances.boxes)
        knowledge = self.decoder(
            self.encoder(instances.labels, centres, instances.sizes_px),
            joined(teacher.neck, self._strides).detach(),
            grid_of(teacher.neck, self._strides, instances.image_sizes),
        )
        return Findings(instances=instances, centres=centres, knowledge=knowledge)

    def _auxiliary(self, findings: Findings) -> dict[str, Tensor]:
        """L_aux, whose gradient stays in encoder, decoder and predictor."""
        instances = findings.instances
        outputs = self.predictor(findings.knowledge.embeddings)  # B x I x 5
        used, real = instances.is_used, instances.is_real
        identification = identification_loss(outputs[..., 0][used], real[used])
        regression = regression_loss(
            outputs[..., 1:][real], findings.centres[real], instances.boxes[real]
        )
        return {
            "identification": balanced(identification, int(used.sum())),
            "regression": balanced(regression, int(real.sum())),
        }

    def _distillation(
        self, student: StudentTaps, teacher: TeacherTaps, findings: Findings
    ) -> Tensor:
        """L_distill, whose gradient reaches the value projection, and the student once it is
        warm."""
        levels = {s: upsampled(student.neck[s], teacher.neck[s]) for s in self._strides}
        features = joined(levels, self._strides)
        if student.step < self._options.warmup_iterations:
            features = features.detach()
        knowledge = findings.knowledge
        return distillation_loss(
            knowledge.attention.detach(),
            findings.instances.is_real,
            split_heads(self.student_value(features), self._options.num_heads),
            knowledge.values.detach(),
            normalise=self._options.normalise_values,
        )


def identification_loss(logits: Tensor, is_real: Tensor) -> Tensor:
    """L_idf: is the instance in the image? Mean binary cross entropy over N instances.

    Args:
        logits: N.
        is_real: N, bool.
    """
    losses = functional.binary_cross_entropy_with_logits(
        logits, is_real.to(logits.dtype), reduction="none"
    )
    return losses.sum() / max(len(logits), 1)


def regression_loss(outputs: Tensor, centres: Tensor, boxes: Tensor) -> Tensor:
    """L_reg: how far are the box's sides from the disturbed centre?

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


def rate_share(step: int, num_iterations: int) -> float:
    """Share of the learning rate at a step, from 0: a linear warm-up times a cosine."""
    warm = min((step + 1) / OPTIMIZER_WARMUP, 1.0)
    return warm * (1 + cos(pi * min(step / num_iterations, 1.0))) / 2
