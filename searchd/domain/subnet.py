"""Teachers inside an elastic pool: one subnet, and the space of all. Standard library only.

Joint-DetNAS sections 3.1.3, 4 and A.1.3. The supernet is a bottleneck ResNet with FPN; a subnet
keeps the first blocks of each stage and the leading channels of each convolution.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

from searchd.domain.architecture import (
    NUM_STAGES,
    Architecture,
    Block,
    BlockKind,
    Shortcut,
)
from searchd.domain.errors import InvalidValueError

EXPANSION = 4
"""Output channels of a bottleneck over its middle channels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subnet:
    """One teacher of a pool, by its genes."""

    depths: tuple[int, ...]
    """Number of blocks in each of the 4 stages."""
    widths: tuple[float, ...]
    """Width coefficient of each of the 4 stages; 1.0 is the standard ResNet."""
    neck_channels: int
    """Channels of every FPN level."""

    def __str__(self) -> str:
        widths = "/".join(f"{width:g}" for width in self.widths)
        return f"d{'-'.join(map(str, self.depths))} w{widths} n{self.neck_channels}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SubnetSpace:
    """Which values each gene of a subnet may take. The largest ones make the supernet."""

    depths: tuple[tuple[int, ...], ...]
    """For each of the 4 stages, its legal numbers of blocks, ascending."""
    widths: tuple[tuple[float, ...], ...]
    """For each of the 4 stages, its legal width coefficients, ascending."""
    neck_channels: tuple[int, ...]
    """Legal FPN channels, ascending."""
    num_resolutions: int = 1
    """Input resolutions that the pool is used at; they multiply the size of the space only."""
    base_channels: int = 64
    """Stem channels, and middle channels of stage 1 at width 1.0."""
    channel_divisor: int = 8
    """Channels are rounded to a multiple of this."""

    def __post_init__(self) -> None:
        if len(self.depths) != NUM_STAGES or len(self.widths) != NUM_STAGES:
            raise InvalidValueError(f"depths and widths must each list {NUM_STAGES} stages")
        for name, values in self._genes().items():
            if not values or list(values) != sorted(set(values)) or min(values) <= 0:
                raise InvalidValueError(
                    f"{name}={list(values)} must be distinct positive values in ascending order"
                )
        if min(self.num_resolutions, self.base_channels, self.channel_divisor) < 1:
            raise InvalidValueError(
                "num_resolutions, base_channels and channel_divisor must be at least 1"
            )

    @property
    def size(self) -> int:
        """Number of subnets, times the number of resolutions."""
        return self.num_resolutions * prod(len(values) for values in self._genes().values())

    @property
    def num_subnets(self) -> int:
        """Number of different subnets, whatever the resolution."""
        return self.size // self.num_resolutions

    @property
    def largest(self) -> Subnet:
        """The supernet itself (P_super)."""
        return Subnet(
            depths=tuple(values[-1] for values in self.depths),
            widths=tuple(values[-1] for values in self.widths),
            neck_channels=self.neck_channels[-1],
        )

    @property
    def smallest(self) -> Subnet:
        return Subnet(
            depths=tuple(values[0] for values in self.depths),
            widths=tuple(values[0] for values in self.widths),
            neck_channels=self.neck_channels[0],
        )

    def check(self, subnet: Subnet) -> None:
        """
        Raises:
            InvalidValueError: A gene of the subnet is not legal here; the message names it.
        """
        values = genes(subnet)
        for name, legal in self._genes().items():
            if name not in values or values[name] not in legal:
                raise InvalidValueError(
                    f"{name}={values.get(name)} is not in this pool; legal: {list(legal)}"
                )

    def legal_values(self, gene: str) -> tuple[float, ...]:
        """Legal values of a gene, by its name as in `genes`."""
        return self._genes()[gene]

    def sample(self, rng: random.Random) -> Subnet:
        """Every gene uniformly and independently."""
        return with_genes({name: rng.choice(values) for name, values in self._genes().items()})

    def sample_with_extremes(self, num: int, rng: random.Random) -> tuple[Subnet, ...]:
        """The largest, the smallest, then random ones, all different; at most `num`.

        Fewer if the space has no more, or the draws keep repeating themselves.
        """
        drawn = (self.sample(rng) for _ in range(10 * num))
        return tuple(dict.fromkeys([self.largest, self.smallest, *drawn]))[:num]

    def subnets(self) -> Iterator[Subnet]:
        """Every subnet once. Meant for small spaces."""
        assignments: list[dict[str, float]] = [{}]
        for name, values in self._genes().items():
            assignments = [{**a, name: value} for a in assignments for value in values]
        return map(with_genes, assignments)

    def channels(self, stage: int, width: float) -> int:
        """Middle channels of stage `stage` (1 to 4) at a width coefficient."""
        exact = (self.base_channels << (stage - 1)) * width
        rounded = round(exact / self.channel_divisor) * self.channel_divisor
        return max(self.channel_divisor, rounded)

    def architecture(self, subnet: Subnet) -> Architecture:
        """The static bottleneck backbone that equals the subnet."""
        self.check(subnet)
        stages = []
        for stage in range(1, NUM_STAGES + 1):
            mid = self.channels(stage, subnet.widths[stage - 1])
            channels = (mid, mid, EXPANSION * mid)
            entry = Block(
                channels=channels, stride=1 if stage == 1 else 2, shortcut=Shortcut.PROJECTION
            )
            rest = (Block(channels=channels),) * (subnet.depths[stage - 1] - 1)
            stages.append((entry, *rest))
        return Architecture(
            kind=BlockKind.BOTTLENECK, stages=tuple(stages), stem_channels=self.base_channels
        )

    def _genes(self) -> dict[str, tuple[float, ...]]:
        return {
            **{f"depth_{i}": values for i, values in enumerate(self.depths, start=1)},
            **{f"width_{i}": values for i, values in enumerate(self.widths, start=1)},
            "neck_channels": self.neck_channels,
        }


def genes(subnet: Subnet) -> dict[str, float]:
    """The subnet as gene name -> value: depth_1..4, width_1..4, neck_channels."""
    return {
        **{f"depth_{i}": depth for i, depth in enumerate(subnet.depths, start=1)},
        **{f"width_{i}": width for i, width in enumerate(subnet.widths, start=1)},
        "neck_channels": subnet.neck_channels,
    }


def with_genes(values: dict[str, float]) -> Subnet:
    """The inverse of `genes`."""
    stages = range(1, NUM_STAGES + 1)
    return Subnet(
        depths=tuple(int(values[f"depth_{i}"]) for i in stages),
        widths=tuple(float(values[f"width_{i}"]) for i in stages),
        neck_channels=int(values["neck_channels"]),
    )
