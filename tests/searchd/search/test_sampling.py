"""Random draws from a ranking, from a space of subnets, and from the neighbourhood of a subnet."""

import random

import pytest

from searchd.domain.errors import InvalidValueError
from searchd.domain.subnet import SubnetSpace, genes
from searchd.search.sampling import mutate_subnet, rank_sample, sample_subnets
from tests.searchd.search.scripted import SPACE


def test_rank_j_of_k_is_drawn_with_a_probability_proportional_to_k_plus_1_minus_j() -> None:
    rng = random.Random(0)
    drawn = [rank_sample(("best", "second", "third"), rng) for _ in range(6000)]
    shares = [drawn.count(name) / 6000 for name in ("best", "second", "third")]
    for share, expected in zip(shares, (3 / 6, 2 / 6, 1 / 6), strict=True):
        assert abs(share - expected) < 0.02


def test_mutated_subnet_is_legal_and_never_identical() -> None:
    rng = random.Random(0)
    subnet = SPACE.largest
    changed = []
    for _ in range(200):
        mutated = mutate_subnet(subnet, SPACE, rng, another_gene_probability=0.3)
        SPACE.check(mutated)
        difference = sum(genes(mutated)[g] != v for g, v in genes(subnet).items())
        changed.append(difference)
        subnet = mutated
    assert min(changed) == 1
    assert max(changed) > 1


def test_only_subnet_of_a_space_stays() -> None:
    lone = SubnetSpace(depths=((1,),) * 4, widths=((1.0,),) * 4, neck_channels=(8,))
    assert mutate_subnet(lone.largest, lone, random.Random(0), 0.3) == lone.largest


def test_sampled_subnets_are_different_even_if_all_subnets_are_sampled() -> None:
    small = SubnetSpace(depths=((1, 2),) + ((1,),) * 3, widths=((1.0,),) * 4, neck_channels=(8, 16))
    drawn = sample_subnets(small, 4, random.Random(0))
    assert len(drawn) == 4
    assert set(drawn) == set(small.subnets())


def test_more_subnets_than_there_are_cannot_be_sampled() -> None:
    with pytest.raises(InvalidValueError, match="513 different subnets .* from a space of 512"):
        sample_subnets(SPACE, 513, random.Random(0))
