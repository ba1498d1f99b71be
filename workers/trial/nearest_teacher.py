"""Chooses a trial's teacher among candidates, if the proposal leaves the choice to the worker.

The nearest candidate is chosen: the one with the smallest adaptation cost C(student, candidate),
the error of a linear map from the student's neck features to the candidate's. For the direction see
`searchd.domain.trial.TeacherPolicy`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

from pydantic import TypeAdapter

from detection.adaptation.cost import Normalisation, costs, gather, measure, merged, solve
from detection.adaptation.neck_levels import PerLevel
from detection.data.coco import CocoSplit
from detection.data.views import FixedViews
from detection.distillation.distiller import sizes_of
from detection.least_squares import NormalEquations, SquaredError
from searchd.domain.distillation_plan import STUDENT_NAME
from searchd.domain.errors import DataError, InvalidValueError
from searchd.domain.resolution import Resolution
from searchd.domain.subnet import Subnet
from workers.comparison.steps import BATCH_SIZE

NUM_IMAGES = 64
"""Number of training images to fit the maps, and of validation images to measure their errors."""
CELLS_PER_CHANNEL = 4
"""Cells of the coarsest level, per channel of the student's neck, that fitting the maps needs. If
`NUM_IMAGES` images have fewer because they are small, more images are used."""
NORMALIZE: Normalisation = "target_var"
"""Costs are divided by the variance of the candidate's features. Subnets of one pool differ in
width and therefore in the magnitude of their features; without the division the smallest subnet
would always be nearest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TeacherChoice:
    """The candidate that teaches, and the costs that decided it."""

    teacher: Subnet
    costs: dict[str, float]
    """C(student, candidate) by the candidate's short form."""

    @property
    def note(self) -> str:
        """The choice as a sentence, which becomes an event."""
        compared = ", ".join(f"{cost:.3g} to {name}" for name, cost in self.costs.items())
        return f"chose teacher {self.teacher}; adaptation costs from the student: {compared}"


CHOICE = TypeAdapter(TeacherChoice)


class NearestTeacher:
    """One choice among candidates: iterate `compare`, then read `choice`.

    Each image passes through every detector once, either to fit the maps or to measure their
    errors.
    """

    def __init__(
        self,
        student: Any,
        candidates: Sequence[Subnet],
        build: Callable[[Subnet], Any],
        *,
        train: CocoSplit,
        validation: CocoSplit,
        resolution: Resolution,
        teacher_resolution: Resolution | None = None,
        device: str = "cpu",
    ) -> None:
        """
        Args:
            student: mmdet detector before its training; moved to `device`.
            candidates: Different subnets.
            build: Builds a candidate's detector on `device`.
            train: Split whose images fit the maps.
            validation: Split whose images measure the maps' errors.
            resolution: Resolution of the student's images.
            teacher_resolution: Resolution of the candidates' images; None for `resolution`.
            device: Where to compute.
        """
        self._candidates = {str(candidate): candidate for candidate in candidates}
        self._build = build
        self._models: dict[str, Any] = {STUDENT_NAME: student.to(device)}
        self._pairs = [(STUDENT_NAME, name) for name in self._candidates]
        self._train, self._validation = train, validation
        self._resolutions = {
            **dict.fromkeys(self._candidates, teacher_resolution or resolution),
            STUDENT_NAME: resolution,
        }
        self._device = device
        self._costs: Mapping[str, float] = {}

    def compare(self) -> Iterator[None]:
        """Measure the costs, yielding after every detector that was built and every batch.

        Raises:
            DataError: There are too few images, or an image cannot be read.
        """
        for name, candidate in self._candidates.items():
            self._models[name] = self._build(candidate)
            yield
        try:
            yield from self._measure()
        except InvalidValueError as error:
            raise DataError(f"no teacher can be chosen among candidates: {error}") from error

    @property
    def choice(self) -> TeacherChoice:
        """The candidate with the smallest cost; among equals, the one that was drawn first."""
        nearest = min(self._costs, key=lambda name: self._costs[name])
        return TeacherChoice(teacher=self._candidates[nearest], costs=dict(self._costs))

    def model(self, teacher: Subnet) -> Any:
        """Return the detector of a candidate that was compared."""
        return self._models[str(teacher)]

    def _measure(self) -> Iterator[None]:
        sums: PerLevel[NormalEquations] | None = None
        for views in self._views(self._train, self._num_fitting_images()):
            found = gather(self._models, [views], self._pairs, device=self._device)
            sums = found if sums is None else merged([sums, found])
            yield
        assert sums is not None  # no split is empty
        maps = solve(sums)
        errors: PerLevel[SquaredError] | None = None
        for views in self._views(self._validation, NUM_IMAGES):
            error = measure(self._models, maps, [views], device=self._device)
            errors = error if errors is None else merged([errors, error])
            yield
        assert errors is not None
        self._costs = costs(errors, NORMALIZE)[STUDENT_NAME]

    def _num_fitting_images(self) -> int:
        sizes, seen = sizes_of(self._models[STUDENT_NAME]), self._resolutions[STUDENT_NAME]
        coarsest = max(sizes.strides)
        cells = max(1, seen.width // coarsest * (seen.height // coarsest))  # of one image, about
        return max(NUM_IMAGES, ceil(CELLS_PER_CHANNEL * sizes.neck_channels / cells))

    def _views(self, split: CocoSplit, num_images: int) -> FixedViews:
        """Yield `num_images` images, or all, spread evenly over the split, as it may be sorted."""
        num = min(num_images, len(split))
        return FixedViews(
            split=split,
            resolutions=self._resolutions,
            batch_size=BATCH_SIZE,
            indices=[i * len(split) // num for i in range(num)],
        )
