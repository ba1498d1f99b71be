"""Which of the student's levels SGFI matches with which of the teacher's (G-DetKD, Figure 5)."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from detection.analysis.frozen import undisturbed
from detection.data.batches import Batch
from detection.distillation.sgfi import Sgfi
from detection.distillation.student import student_step
from detection.distillation.taps import TeacherTaps, first_stage, neck_strides
from searchd.domain.method_description import Tap


@dataclass(frozen=True, slots=True, kw_only=True)
class LevelMatches:
    """Over many regions, the student's level with the largest alpha for the teacher's level."""

    teacher_strides: tuple[int, ...]
    """Of the levels from which the teacher pools its regions."""
    student_strides: tuple[int, ...]
    """Of the levels among which SGFI chooses."""
    counts: tuple[tuple[int, ...], ...]
    """counts[i][j]: regions of the teacher's level i that are likest to the student's level j."""

    @property
    def offsets(self) -> dict[int, int]:
        """Regions by j - i, ascending, as in Figure 5. Levels of equal stride are 0 apart, unless
        the student's pyramid starts at another level: -1 apart for a one-stage student."""
        found: Counter[int] = Counter()
        for i, row in enumerate(self.counts):
            for j, number in enumerate(row):
                found[j - i] += number
        return dict(sorted(found.items()))


def level_matches(
    student: Any, teacher: Any, sgfi: Sgfi, batches: Iterable[Batch], seed: int = 0
) -> LevelMatches:
    """Match levels on the regions that SGFI would compare; changes nothing of the detectors.

    Args:
        student: mmdet detector.
        teacher: mmdet two-stage detector in eval mode.
        sgfi: With the adapters that were trained with this student.
        batches: With boxes and labels, on the detectors' device.
        seed: Of the sampling of regions.
    """
    extractor = first_stage(teacher.roi_head.bbox_roi_extractor)
    student_strides = neck_strides(student)
    used = len(student_strides)  # of which a two-stage student's regions use all but P6
    counts = torch.zeros(extractor.num_inputs, len(student_strides), dtype=torch.long)
    with undisturbed(student, seed):
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
