"""The subnets of an elastic pool and the space that they form. Standard library only.

Joint-DetNAS sections 3.1.3, 4 and A.1.3; docs/papers.md 1.7. The supernet is a bottleneck ResNet
with FPN. A subnet keeps the first blocks of each stage and the leading channels of each
convolution. "Stage" in this module is a stage of the backbone, numbered 1 to 4.
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
"""Ratio of a bottleneck's output channels to its middle channels."""
STEM = "stem_width"
"""Name of the gene of the stem."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subnet:
    """One subnet of a pool, given by its genes."""

    depths: tuple[int, ...]
    """Number of blocks in each of the 4 stages."""
    widths: tuple[float, ...]
    """Width coefficient of each of the 4 stages; 1.0 is the width of a standard ResNet."""
    neck_channels: int
    """Channels of every FPN level."""
    stem_width: float = 1.0
    """Width coefficient of the stem; 1.0 unless the pool has an elastic stem."""

    def __str__(self) -> str:
        widths = "/".join(f"{width:g}" for width in self.widths)
        stem = "" if self.stem_width == 1.0 else f" s{self.stem_width:g}"
        return f"d{'-'.join(map(str, self.depths))} w{widths} n{self.neck_channels}{stem}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SubnetSpace:
    """The legal values of each gene of a subnet. The largest values form the supernet.

    Raises:
        InvalidValueError: The values do not form a space; the message names the gene and the rule.
    """

    depths: tuple[tuple[int, ...], ...]
    """Legal numbers of blocks of each of the 4 stages, ascending."""
    widths: tuple[tuple[float, ...], ...]
    """Legal width coefficients of each of the 4 stages, ascending."""
    neck_channels: tuple[int, ...]
    """Legal numbers of FPN channels, ascending."""
    num_resolutions: int = 1
    """Number of input resolutions of the pool. It only multiplies the size of the space."""
    base_channels: int = 64
    """Stem channels, and middle channels of stage 1 at width 1.0."""
    channel_divisor: int = 8
    """Middle channels are rounded to a multiple of this number."""
    stem_widths: tuple[float, ...] = (1.0,)
    """Legal width coefficients of the stem, ascending."""

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
    def elastic_stem(self) -> bool:
        """Whether the stem has more than one width."""
        return len(self.stem_widths) > 1

    @property
    def size(self) -> int:
        """Number of subnets, times the number of resolutions."""
        return self.num_resolutions * prod(len(values) for values in self._genes().values())

    @property
    def num_subnets(self) -> int:
        """Number of different subnets, without counting resolutions."""
        return self.size // self.num_resolutions

    @property
    def largest(self) -> Subnet:
        """The supernet itself (P_super)."""
        return Subnet(
            depths=tuple(values[-1] for values in self.depths),
            widths=tuple(values[-1] for values in self.widths),
            neck_channels=self.neck_channels[-1],
            stem_width=self.stem_widths[-1],
        )

    @property
    def smallest(self) -> Subnet:
        """The subnet with the smallest value of every gene."""
        return Subnet(
            depths=tuple(values[0] for values in self.depths),
            widths=tuple(values[0] for values in self.widths),
            neck_channels=self.neck_channels[0],
            stem_width=self.stem_widths[0],
        )

    def check(self, subnet: Subnet) -> None:
        """Check that the subnet belongs to the space.

        Raises:
            InvalidValueError: A gene of the subnet has no legal value; the message names it.
        """
        values = {STEM: subnet.stem_width, **genes(subnet)}
        for name, legal in self._genes().items():
            if name not in values or values[name] not in legal:
                raise InvalidValueError(
                    f"{name}={values.get(name)} is not in this pool; legal: {list(legal)}"
                )

    def legal_values(self, gene: str) -> tuple[float, ...]:
        """Return the legal values of a gene, given its name as in `genes`."""
        return self._genes()[gene]

    def sample(self, rng: random.Random) -> Subnet:
        """Draw a subnet: every gene uniformly and independently."""
        values = self._genes()
        if not self.elastic_stem:  # no draw, so that the draws of other pools stay as they are
            del values[STEM]
        drawn = {name: rng.choice(legal) for name, legal in values.items()}
        return with_genes({STEM: self.stem_widths[0], **drawn})

    def sample_with_extremes(self, num: int, rng: random.Random) -> tuple[Subnet, ...]:
        """Return the largest, the smallest, then random subnets, all different; at most `num`.

        Fewer are returned if the space is smaller, or if 10 * `num` draws do not give enough
        different subnets.
        """
        drawn = (self.sample(rng) for _ in range(10 * num))
        return tuple(dict.fromkeys([self.largest, self.smallest, *drawn]))[:num]

    def subnets(self) -> Iterator[Subnet]:
        """Yield every subnet once. Meant for small spaces."""
        assignments: list[dict[str, float]] = [{}]
        for name, values in self._genes().items():
            assignments = [{**a, name: value} for a in assignments for value in values]
        return map(with_genes, assignments)

    def channels(self, stage: int, width: float) -> int:
        """Return the middle channels of stage `stage` (1 to 4) at a width coefficient."""
        return self._rounded((self.base_channels << (stage - 1)) * width)

    def stem_channels(self, width: float) -> int:
        """Return the channels of the stem at a width coefficient; at 1.0 they are not rounded."""
        return self.base_channels if width == 1.0 else self._rounded(self.base_channels * width)

    def _rounded(self, exact: float) -> int:
        rounded = round(exact / self.channel_divisor) * self.channel_divisor
        return max(self.channel_divisor, rounded)

    def architecture(self, subnet: Subnet) -> Architecture:
        """Return the static bottleneck backbone that equals the subnet.

        Raises:
            InvalidValueError: The subnet does not belong to the space.
        """
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
            kind=BlockKind.BOTTLENECK,
            stages=tuple(stages),
            stem_channels=self.stem_channels(subnet.stem_width),
        )

    def _genes(self) -> dict[str, tuple[float, ...]]:
        return {
            **{f"depth_{i}": values for i, values in enumerate(self.depths, start=1)},
            **{f"width_{i}": values for i, values in enumerate(self.widths, start=1)},
            "neck_channels": self.neck_channels,
            STEM: self.stem_widths,
        }


def genes(subnet: Subnet) -> dict[str, float]:
    """Return the subnet's genes by name: depth_1 to depth_4, width_1 to width_4, neck_channels, and
    stem_width unless it is 1.0."""
    return {
        **{f"depth_{i}": depth for i, depth in enumerate(subnet.depths, start=1)},
        **{f"width_{i}": width for i, width in enumerate(subnet.widths, start=1)},
        "neck_channels": subnet.neck_channels,
        **({} if subnet.stem_width == 1.0 else {STEM: subnet.stem_width}),
    }


def with_genes(values: dict[str, float]) -> Subnet:
    """Return the subnet with these genes; the inverse of `genes`."""
    stages = range(1, NUM_STAGES + 1)
    return Subnet(
        depths=tuple(int(values[f"depth_{i}"]) for i in stages),
        widths=tuple(float(values[f"width_{i}"]) for i in stages),
        neck_channels=int(values["neck_channels"]),
        stem_width=float(values.get(STEM, 1.0)),
    )
