"""An elastic teacher pool: its space, and how it is shrunk."""

from typing import Self

from pydantic import Field, model_validator

from searchd.domain.detector import Family
from searchd.domain.subnet import SubnetSpace
from searchd.spec.base import Name, ResolutionText, Spec
from searchd.spec.training import HeadSpec, TrainingSpec


class SpaceSpec(Spec):
    """The space of subnets of a pool; see `searchd.domain.subnet.SubnetSpace`. The default is the
    paper's."""

    depths: tuple[tuple[int, ...], ...] = (
        (2, 3),
        (2, 3, 4),
        tuple(range(2, 24)),
        (2, 3),
    )
    widths: tuple[tuple[float, ...], ...] = ((1.0, 1.25, 1.5),) * 4
    neck_channels: tuple[int, ...] = (256, 320, 384)
    resolutions: tuple[ResolutionText, ...] = TrainingSpec().resolutions
    base_channels: int = Field(default=64, ge=1)
    channel_divisor: int = Field(default=8, ge=1)

    @model_validator(mode="after")
    def _check(self) -> Self:
        _ = self.space
        return self

    @property
    def space(self) -> SubnetSpace:
        return SubnetSpace(
            depths=self.depths,
            widths=self.widths,
            neck_channels=self.neck_channels,
            num_resolutions=len(self.resolutions),
            base_channels=self.base_channels,
            channel_divisor=self.channel_divisor,
        )


class ShrinkPhaseSpec(Spec):
    """One phase of progressive shrinking: bounds inside the pool's space."""

    name: Name
    min_depths: tuple[int, int, int, int]
    min_width: float
    """Smallest width coefficient; the neck keeps the same fraction of its largest width."""
    learning_rate: float = Field(gt=0)
    epochs: int = Field(ge=1)
    distil: bool
    """Whether the supernet as it was after the first phase teaches (docs/papers.md 1.7)."""


PAPER_PHASES = (
    ShrinkPhaseSpec(
        name="supernet",
        min_depths=(3, 4, 23, 3),
        min_width=1.5,
        learning_rate=0.12,
        epochs=48,
        distil=False,
    ),
    ShrinkPhaseSpec(
        name="shrink-1",
        min_depths=(3, 4, 12, 3),
        min_width=1.25,
        learning_rate=0.04,
        epochs=24,
        distil=True,
    ),
    ShrinkPhaseSpec(
        name="shrink-2",
        min_depths=(2, 2, 2, 2),
        min_width=1.0,
        learning_rate=0.04,
        epochs=36,
        distil=True,
    ),
)
"""Joint-DetNAS Table 8."""


class PoolSpec(Spec):
    """An elastic teacher pool and how it is trained."""

    name: Name
    dataset: Name
    space: SpaceSpec = SpaceSpec()
    head: HeadSpec = HeadSpec()
    """`neck_channels` is ignored here: the space has the neck's."""
    phases: tuple[ShrinkPhaseSpec, ...] = PAPER_PHASES
    training: TrainingSpec = TrainingSpec(batch_size=2, schedule="step", warmup_iterations=500)
    """`epochs` and `learning_rate` are the phases'."""
    num_workers: int = Field(default=1, ge=1)
    """Data-parallel workers, one device each."""
    cpus_per_worker: float = Field(default=1, gt=0)
    gpus_per_worker: float = Field(default=0, ge=0)
    bn_reset_images: int = Field(default=2000, ge=1)
    """Training images whose statistics replace the BN statistics of an activated subnet."""
    evaluated_subnets: int = Field(default=4, ge=1)
    """Subnets that are evaluated once trained: the largest, the smallest, and random ones."""
    seed: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _check(self) -> Self:
        space = self.space.space
        if self.head.family is not Family.FASTER_RCNN:
            raise ValueError(
                f"head.family={self.head.family} must be {Family.FASTER_RCNN} for the subnets of a "
                "pool; the student of a search may have another family"
            )
        if not self.phases:
            raise ValueError("phases must not be empty")
        if self.phases[0].distil:
            raise ValueError(
                f"phase {self.phases[0].name}: the first phase cannot distil, since it trains the "
                "supernet that is the teacher of the later phases"
            )
        for phase in self.phases:
            for stage, (depth, legal) in enumerate(
                zip(phase.min_depths, space.depths, strict=True), start=1
            ):
                if depth > legal[-1]:
                    raise ValueError(
                        f"phase {phase.name}: min_depths[{stage}]={depth} exceeds the space's "
                        f"largest depth {legal[-1]}"
                    )
            if phase.min_width > min(widths[-1] for widths in space.widths):
                raise ValueError(
                    f"phase {phase.name}: min_width={phase.min_width} exceeds the space's widths"
                )
        return self
