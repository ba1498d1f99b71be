"""A pool whose subnets differ in the width of their stem too."""

import random
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from detection.build import load_student
from detection.data.coco import CocoSplit
from detection.data.shapes import make_shapes
from elastic_pool.schedule import phases
from elastic_pool.sorting import sort_channels
from elastic_pool.supernet import extract
from elastic_pool.training import PoolTraining
from searchd.domain.subnet import Subnet
from searchd.search.sampling import mutate_subnet
from searchd.spec import SpaceSpec
from tests.elastic_pool.tiny import (
    TINY_SPACE,
    largest_difference,
    make_images,
    make_pool_spec,
    make_supernet,
    raw_outputs,
)

pytestmark = pytest.mark.timeout(60)  # real detectors are built

SPACE = replace(TINY_SPACE, stem_widths=(1.0, 1.5))
SUBNETS = (
    SPACE.largest,
    SPACE.smallest,
    replace(SPACE.largest, stem_width=1.0),
    replace(SPACE.smallest, stem_width=1.5),
)


def test_the_papers_space_has_769824_subnets_with_an_elastic_stem() -> None:
    assert SpaceSpec(elastic_stem=True).space.size == 3 * 256_608
    assert SpaceSpec(elastic_stem=True).space.stem_widths == (1.0, 1.25, 1.5)


def test_the_stem_is_a_gene_like_the_others() -> None:
    rng = random.Random(0)
    drawn = {SPACE.sample(rng).stem_width for _ in range(50)}
    mutated = {mutate_subnet(SPACE.smallest, SPACE, rng, 0.0).stem_width for _ in range(100)}

    assert drawn == mutated == {1.0, 1.5}
    assert str(SPACE.largest) == "d2-3-2-2 w1.5/1.5/1.5/1.5 n24 s1.5"
    assert SPACE.architecture(SPACE.largest).stem_channels == 12
    assert SPACE.architecture(SPACE.smallest).stem_channels == 8


def test_the_draws_of_other_pools_are_those_of_pools_without_the_gene() -> None:
    rng, same = random.Random(3), random.Random(3)

    subnet = TINY_SPACE.sample(rng)

    expected = [same.choice(values) for values in TINY_SPACE.depths + TINY_SPACE.widths]
    assert [*subnet.depths, *subnet.widths] == expected
    assert subnet.neck_channels == same.choice(TINY_SPACE.neck_channels)
    assert rng.random() == same.random()


@pytest.mark.parametrize("subnet", SUBNETS, ids=str)
def test_subnet_equals_its_extracted_detector(subnet: Subnet) -> None:
    supernet = make_supernet(space=SPACE)
    static = load_student(extract(supernet, subnet)).eval()
    with torch.no_grad(), supernet.active(subnet) as elastic:
        inside = raw_outputs(elastic, make_images())
        outside = raw_outputs(static, make_images())
    assert largest_difference(inside, outside) < 1e-5
    assert static.backbone.conv1.out_channels == {1.0: 8, 1.5: 12}[subnet.stem_width]


def test_the_stem_is_sorted_and_the_supernet_computes_the_same() -> None:
    supernet = make_supernet(space=SPACE)
    supernet.detector.double()
    before = {name: value.clone() for name, value in supernet.weights().items()}
    with torch.no_grad():
        images = make_images().double()
        was = supernet.detector.backbone(images)
        sort_channels(supernet)
        now = supernet.detector.backbone(images)

    stem = supernet.detector.backbone.conv1.weight
    assert not torch.equal(stem, before["backbone.conv1.weight"])
    # the residual groups are sorted too, so only what does not depend on the order is compared
    for level, other in zip(was, now, strict=True):
        torch.testing.assert_close(other.sum(dim=1), level.sum(dim=1), rtol=1e-9, atol=1e-9)


def test_the_stem_shrinks_with_the_stages() -> None:
    spec = make_pool_spec()
    elastic = spec.space.model_copy(update={"elastic_stem": True})

    found = phases(spec.model_copy(update={"space": elastic}))

    assert [phase.space.stem_widths for phase in found] == [(1.5,), (1.5,), (1.0, 1.5)]
    assert [phase.space.stem_widths for phase in phases(spec)] == [(1.0,)] * 3


def test_a_pool_is_trained_and_its_subnets_are_evaluated(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    data = make_shapes(tmp_path, num_train=8, num_validation=4, image_size=64, num_classes=3)
    spec = make_pool_spec()
    short = tuple(each.model_copy(update={"epochs": 1}) for each in spec.phases[1:])
    space = spec.space.model_copy(update={"elastic_stem": True})
    phases_ = (spec.phases[0].model_copy(update={"epochs": 1}), *short)
    training = PoolTraining(
        spec.model_copy(update={"space": space, "phases": phases_}), CocoSplit(data.train)
    )
    stem = training.supernet.detector.backbone.conv1.weight

    before = stem.detach().clone()
    for _ in training.run():
        pass

    assert not torch.equal(stem, before)
    small, large = (
        extract(training.supernet, each).detector.architecture.stem_channels
        for each in (space.space.smallest, space.space.largest)
    )
    assert (small, large) == (8, 12)
