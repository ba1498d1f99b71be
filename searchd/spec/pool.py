"""An elastic teacher pool: its space of subnets, and its progressive shrinking."""

from collections.abc import Sequence
from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from searchd.domain.detector import Family
from searchd.domain.errors import InvalidValueError
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
    elastic_stem: bool = False
    """Whether the stem has the width coefficients of stage 1 too, as a further gene of a subnet. By
    default every subnet has the whole stem, of `base_channels`."""

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
            stem_widths=self.widths[0] if self.elastic_stem and self.widths else (1.0,),
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
    (docs/papers.md 1.7). In the first phase it is allowed only with `start_from`, whose supernet
    then teaches, or with `in_place`."""
    sandwich: int = Field(default=0, ge=0)
    """Number of random subnets that every step trains beside the largest and the smallest one of
    the phase, on the same images (the sandwich rule of BigNAS). 0: every step trains one random
    subnet."""
    in_place: bool = False
    """Whether the largest subnet, as it is in the same step, teaches the others, instead of the
    supernet as it was after the first phase (in-place distillation of BigNAS). Needs `distil` and
    `sandwich`."""

    @property
    def subnets_per_step(self) -> int:
        """The number of subnets that every step trains."""
        return self.sandwich + 2 if self.sandwich else 1

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.in_place and not (self.distil and self.sandwich):
            raise ValueError(
                f"phase {self.name}: in_place distils from the largest subnet, which every step of "
                "a sandwich trains; give distil: true and a sandwich of at least 1"
            )
        return self


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
PAPER_BATCH_SIZE = 64
"""Images per step, over all devices, that the learning rates of `PAPER_PHASES` are meant for."""


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
    start_from: Name | None = None
    """Name of a trained pool on the same data set, with the same space and head, from whose
    supernet the training continues. That pool is not changed. Null: the training starts anew."""
    source: Path | None = None
    """Folder that `searchd pool export` wrote, as an absolute path of a disk that the workers can
    read, from which the pool is imported instead of trained. Its classes must be those of the data
    set, in the same order. `space`, `head`, `phases` and `training` are those of the folder and can
    be left out; its subnets are evaluated on the data set. Null: the pool is trained."""
    phases: tuple[ShrinkPhaseSpec, ...] = PAPER_PHASES
    """Phases of progressive shrinking, in the order in which they are trained. The default is
    Joint-DetNAS Table 8."""
    training: TrainingSpec = TrainingSpec(
        batch_size=2, base_batch_size=PAPER_BATCH_SIZE, schedule="step", warmup_iterations=500
    )
    """How every phase is trained. Its `epochs` and `learning_rate` are ignored: each phase has its
    own. If `base_batch_size` is not given, the rates of the default phases are meant for 64 images,
    as in the paper, and rates of other phases are used as given. A batch size of auto, `ema`,
    `frozen_stages` and `norm_eval` are refused."""
    num_workers: int = Field(default=1, ge=1)
    """Number of data-parallel training workers, with one device each."""
    cpus_per_worker: float = Field(default=1, gt=0)
    """Number of CPUs that Ray reserves for each training worker."""
    gpus_per_worker: float = Field(default=0, ge=0)
    """Number of GPUs that Ray reserves for each training worker, at most 1; with 0, it trains on
    CPUs. A fraction is possible with one worker only."""
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
        self._set_base_batch_size()
        if self.head.family is not Family.FASTER_RCNN:
            raise ValueError(
                f"head.family={self.head.family} must be {Family.FASTER_RCNN} for the subnets of a "
                "pool; the student of a search may have another family"
            )
        if not self.phases:
            raise ValueError("phases must not be empty")
        self._check_training()
        self._check_start()
        if self.source is None or "phases" in self.model_fields_set:  # else the folder has them
            self._check_phases(space)
        return self

    def _check_phases(self, space: SubnetSpace) -> None:
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

    def _set_base_batch_size(self) -> None:
        """Set what the rates of the phases are meant for, unless it is given. Stored specs have
        it."""
        is_given = "training" in self.model_fields_set
        if not (is_given and "base_batch_size" in self.training.model_fields_set):
            meant_for = None if "phases" in self.model_fields_set else PAPER_BATCH_SIZE
            training = self.training.model_copy(update={"base_batch_size": meant_for})
            object.__setattr__(self, "training", training)

    def _check_start(self) -> None:
        first = self.phases[0]
        if self.source is not None:
            self._check_source()
        elif self.start_from is None and first.distil and not first.in_place:
            raise ValueError(
                f"phase {self.phases[0].name}: the first phase cannot distil, since it trains the "
                "supernet that is the teacher of the later phases"
            )
        if self.start_from is not None and self.pretrained is not None:
            raise ValueError(
                "start_from and pretrained are two starts of one supernet: give one of them"
            )
        if self.start_from == self.name:
            raise ValueError(
                f"start_from={self.name} is the pool itself: give the new pool another name"
            )

    def _check_source(self) -> None:
        if self.source is not None and not self.source.is_absolute():
            raise ValueError(f"source={str(self.source)!r} must be an absolute path")
        if self.start_from is not None or self.pretrained is not None:
            raise ValueError(
                "source imports a trained pool, so start_from and pretrained must be left out; to "
                "train it further, extend the imported pool"
            )

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
        if self.source is None:  # else nothing is trained
            check_precision(
                training, self.gpus_per_worker, field="training", gpus_field="gpus_per_worker"
            )

    def extended(
        self,
        *,
        epochs: int,
        name: str | None = None,
        phases: Sequence[str] = (),
        learning_rate: float | None = None,
    ) -> Self:
        """Return the spec of a pool that continues the training of this one.

        Args:
            epochs: Number of epochs of each phase.
            name: Name of the new pool; None: see `next_name`.
            phases: Names of phases of this pool that are trained again, in this order; empty: the
                last phase.
            learning_rate: Learning rate at the start of each phase; None: that of the phase.

        Raises:
            ValueError: There is no such phase, or a value is out of range.
        """
        known = {phase.name: phase for phase in self.phases}
        for phase in phases:
            if phase not in known:
                raise ValueError(f"phase {phase!r} does not exist; {self.name} has {list(known)}")
        repeated = [known[phase] for phase in phases] or [self.phases[-1]]
        changes = {"epochs": epochs} | ({"learning_rate": learning_rate} if learning_rate else {})
        return self.model_validate(
            {
                **self.model_dump(exclude={"pretrained", "source"}),
                "name": name or next_name(self.name),
                "start_from": self.name,
                "phases": [{**phase.model_dump(), **changes} for phase in repeated],
            }
        )


def next_name(name: str) -> str:
    """Return the name of a pool that continues another one: teachers-2 after teachers, teachers-3
    after teachers-2."""
    stem, _, number = name.rpartition("-")
    if stem and number.isdecimal() and int(number) > 1:
        return f"{stem}-{int(number) + 1}"
    return f"{name}-2"


def check_start(spec: PoolSpec, start: PoolSpec) -> None:
    """Check that the training of a pool can continue that of another one.

    Raises:
        InvalidValueError: Their supernets differ; the message names the field.
    """
    for field in ("dataset", "space", "head"):
        if getattr(spec, field) != getattr(start, field):
            raise InvalidValueError(
                f"start_from={start.name!r} has another {field} than {spec.name!r}; the weights of "
                f"its supernet fit only the same {field}"
            )
