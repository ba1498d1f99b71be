"""Correlates class logits, in a student and in its teacher (G-DetKD, Figure 6)."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from detection.analysis.frozen import without_side_effects
from detection.data.batches import Batch
from detection.distillation.student import student_step
from detection.distillation.taps import TeacherTaps
from searchd.domain.errors import InvalidValueError
from searchd.domain.method_description import Tap


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LogitCorrelations:
    """Correlation coefficients of the logits of every two classes, over the same regions."""

    num_regions: int
    """Number of regions."""
    student: NDArray[np.float64]
    """K x K."""
    teacher: NDArray[np.float64]
    """K x K."""

    @property
    def difference(self) -> NDArray[np.float64]:
        """The student's coefficients minus the teacher's, K x K. Small differences mean that the
        student has learned the teacher's similarity of classes."""
        return self.student - self.teacher

    @property
    def mean_absolute_difference(self) -> float:
        """Mean over the pairs of different classes, since the diagonal is 0 by definition."""
        off_diagonal = ~np.eye(len(self.student), dtype=bool)
        return float(np.abs(self.difference[off_diagonal]).mean())


def logit_correlations(
    student: Any, teacher: Any, batches: Iterable[Batch], seed: int = 0
) -> LogitCorrelations:
    """Correlate logits on the regions of objects that the student samples.

    The background's logit is left out. The detectors do not change.

    Args:
        student: mmdet detector.
        teacher: mmdet two-stage detector in eval mode, with the student's classes.
        batches: Batches with boxes and labels, on the detectors' device.
        seed: Seed of the sampling of regions.

    Raises:
        InvalidValueError: There are fewer than two regions of objects, fewer than two classes, or
            a class has the same logit everywhere, so that it has no correlation.
    """
    ours: list[Tensor] = []
    theirs: list[Tensor] = []
    with without_side_effects(student, seed):
        for batch in batches:
            taps = student_step(student, batch).taps
            chosen = taps.regions.is_positive
            logits = TeacherTaps(teacher, taps, frozenset({Tap.CLASS_LOGITS})).class_logits
            num_classes = logits.shape[1] - 1
            ours.append(taps.class_logits[chosen, :num_classes])
            theirs.append(logits[chosen, :num_classes])
    return LogitCorrelations(
        num_regions=sum(map(len, ours)),
        student=correlation(torch.cat(ours), "student"),
        teacher=correlation(torch.cat(theirs), "teacher"),
    )


def correlation(logits: Tensor, side: str) -> NDArray[np.float64]:
    """Return Pearson's coefficients of the columns, K x K.

    Args:
        logits: N x K.
        side: Name of the detector in messages.

    Raises:
        InvalidValueError: See `logit_correlations`.
    """
    if min(logits.shape) < 2:
        raise InvalidValueError(
            f"the {side}'s logits of {logits.shape[1]} classes on {logits.shape[0]} regions of "
            "objects cannot be correlated; at least two of each are needed: use more images"
        )
    values = logits.double().cpu().numpy()
    if (values == values[0]).all(axis=0).any():
        raise InvalidValueError(f"the {side} has a class with the same logit on every region")
    return np.asarray(np.corrcoef(values, rowvar=False))
