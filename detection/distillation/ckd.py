"""Contrastive knowledge distillation (CKD) of region embeddings. G-DetKD sections 4.2, 4.3.2 and B,
docs/papers.md 3.2 and 3.5.

The student's embedding of a region is trained to be closest to the teacher's embedding of the same
region, among those of the batch, of all ranks, and of earlier batches.
"""

from dataclasses import replace
from typing import Self

import torch
from mmdet.structures.bbox import bbox_overlaps
from torch import Tensor, distributed, nn
from torch.nn import functional

from detection.data_parallel import is_distributed
from detection.distillation.memory_queue import MemoryQueue
from detection.distillation.method import DistillationMethod, Pair, balanced
from detection.distillation.taps import Regions, StudentTaps, TeacherTaps
from searchd.domain.method_options import CkdOptions


class Ckd(DistillationMethod):
    """L_ckd with its projection and memory.

    Attributes:
        student_embedding: Maps the student's embeddings to the teacher's width.
        projection: f_theta, a linear layer for both sides.
        queue: Projected and normalised embeddings of the teacher, from earlier batches.
    """

    def __init__(
        self, student_embedding: nn.Module, teacher_channels: int, options: CkdOptions
    ) -> None:
        """
        Args:
            student_embedding: N x D embeddings and the student's regions -> N x teacher_channels.
            teacher_channels: Width of the teacher's embeddings.
            options: The method's options.
        """
        super().__init__()
        self.student_embedding = student_embedding
        self.projection = nn.Linear(teacher_channels, options.projection_channels)
        self.queue = MemoryQueue(options.queue_size, options.projection_channels)
        self._options = options

    @classmethod
    def build(cls, options: CkdOptions, pair: Pair) -> Self:
        student, teacher = pair.student, pair.teacher
        assert student.embedding_channels is not None  # the catalogue's families have embeddings
        assert teacher.embedding_channels is not None
        widths = student.embedding_channels, teacher.embedding_channels
        embedding = (
            SharedEmbedding(*widths)
            if student.two_stage
            else DecoupledEmbedding(*widths, student.num_anchors)
        )
        size = min(options.queue_size, _embeddings_per_epoch(pair) or options.queue_size)
        return cls(embedding, widths[1], replace(options, queue_size=size))

    def forward(self, student: StudentTaps, teacher: TeacherTaps) -> Tensor:
        regions, options = student.regions, self._options
        own = self._project(self.student_embedding(student.embeddings, regions))
        every, first = gathered(teacher.embeddings)
        candidates = self._project(every)  # theta learns from the teacher's side too
        loss = ckd_loss(
            own,
            candidates,
            self.queue.filled,
            first=first,
            excluded=same_object(regions.rois, options.iou_threshold),
            temperature=options.temperature,
        )
        self.queue.push(candidates)
        return balanced(loss, len(own))

    def _project(self, embeddings: Tensor) -> Tensor:
        return functional.normalize(self.projection(embeddings))


def _embeddings_per_epoch(pair: Pair) -> int | None:
    """Return the number of the teacher's embeddings of one epoch, after which the same regions come
    again; None if the number of regions is not known."""
    regions = pair.student.regions_per_image
    return None if regions is None else regions * len(pair.train_split)


class SharedEmbedding(nn.Module):
    """Maps a two-stage student's embeddings to the teacher's width, by a linear layer if widths
    differ."""

    def __init__(self, channels: int, teacher_channels: int) -> None:
        """
        Args:
            channels: Width of the student's embeddings.
            teacher_channels: Width of the teacher's embeddings.
        """
        super().__init__()
        equal = channels == teacher_channels
        self.linear = nn.Identity() if equal else nn.Linear(channels, teacher_channels)

    def forward(self, embeddings: Tensor, regions: Regions) -> Tensor:
        """N x D -> N x D_t."""
        del regions
        return self.linear(embeddings)


class DecoupledEmbedding(nn.Module):
    """Splits a one-stage student's embeddings by anchor ("decoupled representation",
    docs/papers.md 3.5).

    A cell has one vector for all its anchors. A 1x1 convolution maps it to one vector of the
    teacher's width for each anchor. Since embeddings are already read at the regions' cells, the
    convolution is a linear layer.
    """

    def __init__(self, channels: int, teacher_channels: int, num_anchors: int) -> None:
        """
        Args:
            channels: Width of the student's embeddings.
            teacher_channels: Width of the teacher's embeddings.
            num_anchors: Number of anchors per cell; 1 for FCOS.
        """
        super().__init__()
        self.linear = nn.Linear(channels, num_anchors * teacher_channels)
        self._num_anchors = num_anchors

    def forward(self, embeddings: Tensor, regions: Regions) -> Tensor:
        """N x D -> N x D_t, the vector of the anchor that predicted each region."""
        assert regions.cells is not None  # regions of a one-stage student have cells
        every = self.linear(embeddings).unflatten(1, (self._num_anchors, -1))
        index = regions.cells.anchor[:, None, None].expand(-1, 1, every.shape[2])
        return every.gather(1, index).squeeze(1)


def ckd_loss(
    student: Tensor,
    teacher: Tensor,
    queue: Tensor,
    *,
    first: int,
    excluded: Tensor,
    temperature: float,
) -> Tensor:
    """InfoNCE, L_ckd = mean_i -log[ g(s_i, t_i) / (g(s_i, t_i) + sum_j g(s_i, t_j)) ], with
    g = exp(cos / gamma).

    Args:
        student: N x D, rows of norm 1.
        teacher: M x D, rows of norm 1; N of them are of the student's regions, in their order.
        queue: Q x D, rows of norm 1; negatives of all regions.
        first: Index in `teacher` of the student's first region.
        excluded: N x N, bool: pairs of regions that are not negatives of each other.
        temperature: gamma.
    """
    count = len(student)
    similarity = student @ teacher.T  # N x M
    positive = similarity[:, first : first + count].diagonal()
    diagonal_mask = torch.eye(count, dtype=torch.bool, device=similarity.device)
    hidden = functional.pad(excluded & ~diagonal_mask, (first, len(teacher) - first - count))
    every = torch.cat([similarity.masked_fill(hidden, -torch.inf), student @ queue.T], dim=1)
    losses = (every / temperature).logsumexp(dim=1) - positive / temperature
    return losses.sum() / max(count, 1)


def same_object(rois: Tensor, iou_threshold: float) -> Tensor:
    """Return pairs of regions of the same image whose IoU exceeds a threshold; N x N, bool.

    They may show the same object, so their embeddings are not used as negatives of each other.

    Args:
        rois: N x 5, image number in the batch and xyxy in pixels of the input.
        iou_threshold: The threshold, in [0, 1]; 1 for no pairs.
    """
    same_image = rois[:, None, 0] == rois[:, 0]
    overlap: Tensor = bbox_overlaps(rois[:, 1:], rois[:, 1:])
    return same_image & (overlap > iou_threshold)


def gathered(rows: Tensor) -> tuple[Tensor, int]:
    """Gather the rows of all data-parallel ranks, without gradient.

    Every rank must call it, also one without rows.

    Args:
        rows: N x D; N may differ between ranks.

    Returns:
        The rows in the order of the ranks, and the index of this rank's first row.
    """
    if not is_distributed():
        return rows.detach(), 0
    world_size, rank = distributed.get_world_size(), distributed.get_rank()
    counts = [rows.new_zeros(1, dtype=torch.long) for _ in range(world_size)]
    distributed.all_gather(counts, torch.tensor([len(rows)], device=rows.device))
    numbers = [int(count) for count in counts]
    # The ranks' shapes must be equal.
    padded = functional.pad(rows.detach(), (0, 0, 0, max(numbers) - len(rows)))
    parts = [torch.empty_like(padded) for _ in numbers]
    distributed.all_gather(parts, padded.contiguous())
    every = torch.cat([part[:number] for part, number in zip(parts, numbers, strict=True)])
    return every, sum(numbers[:rank])
