import random

import pytest

from searchd.domain.architecture import BlockKind, Shortcut
from searchd.domain.errors import InvalidValueError
from searchd.domain.subnet import Subnet, SubnetSpace, genes, with_genes
from searchd.spec import SpaceSpec

TINY = SubnetSpace(
    depths=((1, 2), (1, 2), (1, 2, 3), (1,)),
    widths=((1.0, 1.5), (1.0,), (1.0,), (1.0, 1.5)),
    neck_channels=(16, 24),
    num_resolutions=2,
    base_channels=8,
    channel_divisor=4,
)


def test_papers_space_has_256608_subnets_with_resolutions() -> None:
    assert SpaceSpec().space.size == 256_608


def test_size_equals_a_brute_force_count() -> None:
    subnets = list(TINY.subnets())
    assert len(set(subnets)) == len(subnets) == 96
    assert TINY.size == 2 * 96
    assert TINY.num_subnets == 96


def test_largest_and_smallest_take_the_last_and_first_values() -> None:
    assert TINY.largest == Subnet(
        depths=(2, 2, 3, 1), widths=(1.5, 1.0, 1.0, 1.5), neck_channels=24
    )
    assert TINY.smallest == Subnet(
        depths=(1, 1, 1, 1), widths=(1.0, 1.0, 1.0, 1.0), neck_channels=16
    )
    assert str(TINY.smallest) == "d1-1-1-1 w1/1/1/1 n16"


def test_samples_are_in_the_space_and_take_every_value() -> None:
    rng = random.Random(0)
    samples = [TINY.sample(rng) for _ in range(200)]
    for subnet in samples:
        TINY.check(subnet)
    assert {s.depths[2] for s in samples} == {1, 2, 3}
    assert {s.neck_channels for s in samples} == {16, 24}


def test_illegal_gene_is_named_with_the_legal_values() -> None:
    subnet = with_genes({**genes(TINY.largest), "depth_3": 9})
    with pytest.raises(InvalidValueError, match=r"depth_3=9 is not in this pool.*\[1, 2, 3\]"):
        TINY.check(subnet)


def test_genes_round_trip() -> None:
    assert with_genes(genes(TINY.largest)) == TINY.largest
    assert TINY.legal_values("width_4") == (1.0, 1.5)


def test_architecture_of_a_subnet_is_a_bottleneck_resnet() -> None:
    architecture = TINY.architecture(TINY.largest)
    assert architecture.kind is BlockKind.BOTTLENECK
    assert architecture.depths == (2, 2, 3, 1)
    assert architecture.out_channels == (48, 64, 128, 384)
    assert architecture.stages[0][0].shortcut is Shortcut.PROJECTION


def test_channels_are_rounded_to_the_divisor_and_never_vanish() -> None:
    assert SpaceSpec().space.channels(1, 1.25) == 80
    assert (
        SubnetSpace(
            depths=((1,),) * 4, widths=((0.1,),) * 4, neck_channels=(8,), base_channels=8
        ).channels(1, 0.1)
        == 8
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"depths": ((1,),) * 3}, "4 stages"),
        ({"depths": ((2, 1),) * 4}, "ascending"),
        ({"neck_channels": ()}, "neck_channels=\\[\\]"),
        ({"widths": ((0.0, 1.0),) * 4}, "positive"),
        ({"base_channels": 0}, "at least 1"),
    ],
)
def test_impossible_space_is_refused(change: dict[str, object], message: str) -> None:
    values: dict[str, object] = {
        "depths": ((1,),) * 4,
        "widths": ((1.0,),) * 4,
        "neck_channels": (8,),
    }
    with pytest.raises(InvalidValueError, match=message):
        SubnetSpace(**{**values, **change})  # type: ignore[arg-type]  # wrong on purpose
