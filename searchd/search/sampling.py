"""Random draws that several strategies make (docs/papers.md 1.2)."""

import random
from collections.abc import Sequence
from typing import TypeVar

from searchd.domain.errors import InvalidValueError
from searchd.domain.subnet import STEM, Subnet, SubnetSpace, genes, with_genes

T = TypeVar("T")


def rank_sample(best_first: Sequence[T], rng: random.Random) -> T:
    """Draw one of k entries; rank j (1 is best) has a probability proportional to k + 1 - j."""
    return rng.choices(best_first, weights=range(len(best_first), 0, -1))[0]


def sample_subnets(space: SubnetSpace, num: int, rng: random.Random) -> tuple[Subnet, ...]:
    """Draw `num` different subnets uniformly.

    Raises:
        InvalidValueError: The space has fewer than `num` subnets.
    """
    if num > space.num_subnets:
        raise InvalidValueError(
            f"{num} different subnets cannot be drawn from a space of {space.num_subnets}"
        )
    found: dict[Subnet, None] = {}  # in the order they were drawn
    while len(found) < num:
        found[space.sample(rng)] = None
    return tuple(found)


def mutate_subnet(
    subnet: Subnet, space: SubnetSpace, rng: random.Random, another_gene_probability: float
) -> Subnet:
    """Draw a subnet that differs from `subnet` in at least one gene (docs/papers.md 1.2).

    One gene is resampled uniformly from its other legal values, with probability
    `another_gene_probability` a second gene, and so on.

    Returns:
        The mutated subnet, or `subnet` itself if the space has no other subnet.
    """
    values = genes(subnet) | {STEM: subnet.stem_width}
    mutable = [name for name in values if len(space.legal_values(name)) > 1]
    rng.shuffle(mutable)
    for index, name in enumerate(mutable):
        if index > 0 and rng.random() >= another_gene_probability:
            break
        values[name] = rng.choice([v for v in space.legal_values(name) if v != values[name]])
    return with_genes(values)
