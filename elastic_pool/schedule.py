"""The schedule of progressive shrinking: each phase's subnets, epochs and learning rate.

Joint-DetNAS section A.1.3 and Table 8 (docs/papers.md 1.7): depth and width shrink together. Pure
functions without torch; `elastic_pool.training` executes the schedule.
"""

import random
from dataclasses import dataclass, replace

from searchd.domain.subnet import Subnet, SubnetSpace
from searchd.spec import PoolSpec, ShrinkPhaseSpec, TrainingSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """One phase of progressive shrinking."""

    index: int
    """Index of the phase, from 0."""
    name: str
    space: SubnetSpace
    """The part of the pool's space that this phase samples from."""
    training: TrainingSpec
    """The pool's training settings, with this phase's epochs and initial learning rate."""
    distil: bool
    """Whether the supernet teaches; see `PoolTraining`."""
    sandwich: int
    """Number of random subnets in each step beside the largest and the smallest; 0: one random
    subnet alone."""
    in_place: bool
    """Whether the largest subnet teaches as it is in the same step."""

    @property
    def sorts_channels(self) -> bool:
        """Whether channels are sorted by importance first, as they are if widths differ."""
        space = self.space
        elastic = (*space.widths, space.neck_channels, space.stem_widths)
        return any(len(values) > 1 for values in elastic)

    @property
    def extremes(self) -> tuple[Subnet, ...]:
        """The largest and the smallest subnet of the phase; one if it trains no other."""
        return tuple(dict.fromkeys((self.space.largest, self.space.smallest)))

    def seed(self, pool_seed: int) -> int:
        """Return the seed of the phase's draws of images, flips, resolutions and proposals."""
        return random.Random(f"phase-{pool_seed}-{self.index}").getrandbits(32)


def phases(pool: PoolSpec) -> tuple[Phase, ...]:
    """Return the pool's phases in order."""
    return tuple(
        Phase(
            index=index,
            name=phase.name,
            space=sub_space(pool.space.space, phase),
            training=pool.training.model_copy(
                update={"epochs": phase.epochs, "learning_rate": phase.learning_rate}
            ),
            distil=phase.distil,
            sandwich=phase.sandwich,
            in_place=phase.in_place,
        )
        for index, phase in enumerate(pool.phases)
    )


def sub_space(space: SubnetSpace, phase: ShrinkPhaseSpec) -> SubnetSpace:
    """Return the part of `space` within a phase's bounds.

    The neck keeps the same fraction of its largest width as the stages do of theirs
    (docs/papers.md 1.7): with widths up to 1.5 and a neck of 384, `min_width` 1.25 leaves 320 and
    384.
    """
    largest_width = max(widths[-1] for widths in space.widths)
    smallest_neck = phase.min_width / largest_width * space.largest.neck_channels
    return replace(
        space,
        depths=tuple(
            tuple(depth for depth in depths if depth >= bound)
            for depths, bound in zip(space.depths, phase.min_depths, strict=True)
        ),
        widths=tuple(
            tuple(width for width in widths if width >= phase.min_width) for widths in space.widths
        ),
        stem_widths=tuple(width for width in space.stem_widths if width >= phase.min_width)
        or space.stem_widths[-1:],
        # Necks are whole numbers, so half a channel absorbs the rounding of the division.
        neck_channels=tuple(neck for neck in space.neck_channels if neck > smallest_neck - 0.5),
    )


def subnet_at(phase: Phase, *, seed: int, step: int) -> Subnet:
    """Draw the subnet that is trained in iteration `step` of a phase, uniformly.

    The result depends on the arguments alone, so all data-parallel workers agree and a resumed
    training draws the same subnets.
    """
    return phase.space.sample(random.Random(f"subnet-{seed}-{phase.index}-{step}"))


def sandwich_at(phase: Phase, *, seed: int, step: int) -> tuple[Subnet, ...]:
    """Return the subnets that are trained in iteration `step` of a phase with a sandwich: the
    largest, the smallest, then random ones, which may repeat. Depends on the arguments alone."""
    rng = random.Random(f"sandwich-{seed}-{phase.index}-{step}")
    drawn = (phase.space.sample(rng) for _ in range(phase.sandwich))
    return (phase.space.largest, phase.space.smallest, *drawn)
