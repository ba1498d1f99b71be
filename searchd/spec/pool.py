"""An elastic teacher pool: its space of subnets, and its progressive shrinking."""

from typing import Self

from pydantic import Field, model_validator

from searchd.domain.detector import Family
from searchd.domain.subnet import SubnetSpace
from searchd.spec.base import Name, ResolutionText, Spec
from searchd.spec.pretrained import PretrainedSpec
from searchd.spec.training import HeadSpec, TrainingSpec, check_precision


class SpaceSpec(Spec):
    """The space of subnets of a pool (`searchd.domain.subnet.SubnetSpace`). The default is the
    space of Joint-DetNAS."""

    depths: tuple[tuple[int, ...], ...] = (
        (2, 3),
        (2, 3, 4),
        tuple(range(2, 24)),
        (2, 3),
    )
    """Numbers of blocks that each of the 4 stages may have, in ascending order."""
    widths: tuple[tuple[float, ...], ...] = ((1.0, 1.25, 1.5),) * 4
    """Width coefficients that each of the 4 stages may have, in ascending order; 1.0 is the width
    of a standard ResNet."""
    neck_channels: tuple[int, ...] = (256, 320, 384)
    """Numbers of FPN channels that a subnet may have, in ascending order."""
    resolutions: tuple[ResolutionText, ...] = TrainingSpec().resolutions
    """Input resolutions, each "WxH" in pixels, at which the pool is trained and evaluated."""
    base_channels: int = Field(default=64, ge=1)
    """Number of channels of the stem, and of the middle of stage 1 at width 1.0."""
    channel_divisor: int = Field(default=8, ge=1)
    """Numbers of channels are rounded to a multiple of this number."""

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
    """One phase of progressive shrinking: the smallest subnets that it trains, and how."""

    name: Name
    """Name of the phase, which progress and events show."""
    min_depths: tuple[int, int, int, int]
    """Smallest number of blocks of each of the 4 stages in this phase."""
    min_width: float
    """Smallest width coefficient in this phase; the neck has the same fraction of its largest
    width."""
    learning_rate: float = Field(gt=0)
    """Learning rate of SGD at the start of this phase."""
    epochs: int = Field(ge=1)
    """Number of passes over the train split in this phase."""
    distil: bool
    """Whether subnets are distilled from the supernet as it was after the first phase
    (docs/papers.md 1.7). Not allowed in the first phase."""


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


_BN_OF_SUBNETS = "every subnet has BN statistics of its own, so each step needs those of its batch"
_UNFIT = {
    "batch_size": "auto is not available for pools, whose workers must agree on a number",
    "ema": "every step trains another subnet, so an average over steps is of no subnet",
    "frozen_stages": _BN_OF_SUBNETS,
    "norm_eval": _BN_OF_SUBNETS,
}
"""Why an option of `TrainingSpec` does not fit a pool."""


class PoolSpec(Spec):
    """An elastic teacher pool and how it is trained."""

    name: Name
    """Name of the pool, by which searches and distillations refer to it."""
    dataset: Name
    """Name of the data set that the pool is trained and evaluated on."""
    space: SpaceSpec = SpaceSpec()
    """Subnets that the pool contains. The default is the space of Joint-DetNAS."""
    head: HeadSpec = HeadSpec()
    """Head of every subnet; its family must be faster_rcnn. Its `neck_channels` is ignored, since
    `space` has the widths of the neck."""
    pretrained: PretrainedSpec | None = None
    """Backbone trained on ImageNet, from which the largest subnet starts. Tensors of other shapes
    are copied as far as they fit. Null: random weights."""
    phases: tuple[ShrinkPhaseSpec, ...] = PAPER_PHASES
    """Phases of progressive shrinking, in the order in which they are trained. The default is
    Joint-DetNAS Table 8."""
    training: TrainingSpec = TrainingSpec(batch_size=2, schedule="step", warmup_iterations=500)
    """How every phase is trained. Its `epochs` and `learning_rate` are ignored: each phase has its
    own. A batch size of auto, `ema`, `frozen_stages` and `norm_eval` are refused."""
    num_workers: int = Field(default=1, ge=1)
    """Number of data-parallel training workers, with one device each."""
    cpus_per_worker: float = Field(default=1, gt=0)
    """Number of CPUs that Ray reserves for each training worker."""
    gpus_per_worker: float = Field(default=0, ge=0)
    """Number of GPUs that Ray reserves for each training worker; with 0, it trains on CPUs."""
    bn_reset_images: int = Field(default=2000, ge=1)
    """Number of training images from which the BN statistics of an activated subnet are computed
    anew."""
    evaluated_subnets: int = Field(default=4, ge=1)
    """Number of subnets that are evaluated after training: the largest, the smallest, and random
    ones."""
    seed: int = Field(default=0, ge=0)
    """Seed of every random draw: initial weights, data order, augmentation, sampled subnets."""

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
        self._check_training()
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

    def _check_training(self) -> None:
        training = self.training
        unfit = {
            "batch_size": training.batch_size == "auto",
            "ema": training.ema is not None,
            "frozen_stages": training.frozen_stages > 0,
            "norm_eval": training.norm_eval,
        }
        for field, is_given in unfit.items():
            if is_given:
                raise ValueError(f"training.{field}: {_UNFIT[field]}; leave it out")
        check_precision(
            training, self.gpus_per_worker, field="training", gpus_field="gpus_per_worker"
        )
