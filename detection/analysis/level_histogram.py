"""Counts which student levels SGFI matches with which teacher levels (G-DetKD, Figure 5)."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from detection.analysis.frozen import without_side_effects
from detection.data.batches import Batch
from detection.distillation.sgfi import Sgfi
from detection.distillation.student import student_step
from detection.distillation.taps import TeacherTaps, first_stage, neck_strides
from searchd.domain.method_description import Tap


@dataclass(frozen=True, slots=True, kw_only=True)
class LevelMatches:
    """Number of regions by the teacher's level and the student's level of the largest alpha."""

    teacher_strides: tuple[int, ...]
    """Strides of the levels from which the teacher pools its regions."""
    student_strides: tuple[int, ...]
    """Strides of the levels among which SGFI chooses."""
    counts: tuple[tuple[int, ...], ...]
    """counts[i][j]: number of regions of the teacher's level i most similar to the student's
    level j."""

    @property
    def offsets(self) -> dict[int, int]:
        """Number of regions by j - i, ascending, as in Figure 5. The offset of levels of equal
        stride is 0, or -1 for a one-stage student, whose pyramid starts one level later."""
        found: Counter[int] = Counter()
        for i, row in enumerate(self.counts):
            for j, number in enumerate(row):
                found[j - i] += number
        return dict(sorted(found.items()))


def level_matches(
    student: Any, teacher: Any, sgfi: Sgfi, batches: Iterable[Batch], seed: int = 0
) -> LevelMatches:
    """Match levels on the regions that SGFI would compare. The detectors do not change.

    Args:
        student: mmdet detector.
        teacher: mmdet two-stage detector in eval mode.
        sgfi: The method, with the adapters that were trained with this student.
        batches: Batches with boxes and labels, on the detectors' device.
        seed: Seed of the sampling of regions.
    """
    extractor = first_stage(teacher.roi_head.bbox_roi_extractor)
    student_strides = neck_strides(student)
    used = len(student_strides)  # regions of a two-stage student use all but P6
    counts = torch.zeros(extractor.num_inputs, len(student_strides), dtype=torch.long)
    with without_side_effects(student, seed):
        for batch in batches:
            taps = student_step(student, batch).taps
            theirs = TeacherTaps(teacher, taps, frozenset({Tap.REGION_FEATURES}))
            target = theirs.region_features
            adapted = sgfi.adapted(taps.region_levels, target.shape[1])
            best = sgfi.level_weights(adapted, target).argmax(dim=0).cpu()
            own = extractor.map_roi_levels(taps.regions.compared, extractor.num_inputs).cpu()
            counts.index_put_((own, best), torch.ones_like(own), accumulate=True)
            used = len(adapted)
    return LevelMatches(
        teacher_strides=tuple(extractor.featmap_strides),
        student_strides=student_strides[:used],
        counts=_rows(counts[:, :used].tolist()),
    )


def _rows(values: Sequence[Sequence[int]]) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(row) for row in values)
