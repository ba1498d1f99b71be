"""The schedule of progressive shrinking, against Joint-DetNAS Table 8."""

import random
from pathlib import Path

import pytest
from pydantic import ValidationError

import elastic_pool
from elastic_pool.schedule import phases, subnet_at
from searchd.domain.subnet import Subnet, SubnetSpace
from searchd.spec import PoolSpec, ShrinkPhaseSpec, SpaceSpec

SPACES = Path(elastic_pool.__file__).parent / "spaces"
PAPER = PoolSpec(name="paper", dataset="coco")


def test_paper_space_has_256608_subnets_with_resolutions() -> None:
    space = SpaceSpec.model_validate_json((SPACES / "paper.json").read_text())
    assert space == SpaceSpec()
    assert space.space.size == 256_608


def test_size_equals_brute_force_on_a_small_space() -> None:
    space = SpaceSpec.model_validate_json((SPACES / "tiny.json").read_text()).space
    subnets = list(space.subnets())
    assert len(set(subnets)) == len(subnets) == 512
    assert space.size == 512 * 2  # two resolutions


def test_phases_equal_table_8() -> None:
    planned = [
        (
            phase.name,
            [(depths[0], depths[-1]) for depths in phase.space.depths],
            set(phase.space.widths),
            phase.space.neck_channels,
            phase.training.learning_rate,
            phase.training.epochs,
            phase.distil,
            phase.sorts_channels,
        )
        for phase in phases(PAPER)
    ]
    full = [(3, 3), (4, 4), (23, 23), (3, 3)]
    half = [(3, 3), (4, 4), (12, 23), (3, 3)]
    every = [(2, 3), (2, 4), (2, 23), (2, 3)]
    assert planned == [
        ("supernet", full, {(1.5,)}, (384,), 0.12, 48, False, False),
        ("shrink-1", half, {(1.25, 1.5)}, (320, 384), 0.04, 24, True, True),
        ("shrink-2", every, {(1.0, 1.25, 1.5)}, (256, 320, 384), 0.04, 36, True, True),
    ]


def test_first_phase_always_trains_the_supernet() -> None:
    first = phases(PAPER)[0]
    drawn = {subnet_at(first, seed=7, step=step) for step in range(20)}
    assert drawn == {PAPER.space.space.largest}


def test_sampled_subnets_never_leave_their_phase() -> None:
    for phase in phases(PAPER)[1:]:
        bounds = PAPER.phases[phase.index]
        for step in range(300):
            subnet = subnet_at(phase, seed=3, step=step)
            PAPER.space.space.check(subnet)
            assert all(d >= low for d, low in zip(subnet.depths, bounds.min_depths, strict=True))
            assert min(subnet.widths) >= bounds.min_width
            assert subnet.neck_channels / 384 >= bounds.min_width / 1.5 - 1e-9


def test_sampling_reaches_every_subnet_of_a_small_phase() -> None:
    pool = PoolSpec(
        name="small",
        dataset="shapes",
        space=SpaceSpec(
            depths=((1, 2), (1,), (1,), (1,)), widths=((1.0,),) * 4, neck_channels=(16, 24)
        ),
        phases=(
            ShrinkPhaseSpec(
                name="all",
                min_depths=(1, 1, 1, 1),
                min_width=0.5,
                learning_rate=0.1,
                epochs=1,
                distil=False,
            ),
        ),
    )
    (phase,) = phases(pool)
    drawn = {subnet_at(phase, seed=0, step=step) for step in range(60)}
    assert drawn == set(pool.space.space.subnets())


def test_subnet_depends_on_seed_and_step_alone() -> None:
    phase = phases(PAPER)[2]
    first = subnet_at(phase, seed=1, step=5)
    random.random()  # the global generator plays no part
    assert subnet_at(phase, seed=1, step=5) == first
    assert subnet_at(phase, seed=1, step=6) != first
    assert subnet_at(phase, seed=2, step=5) != first


def test_phase_keeps_necks_of_the_same_fraction_as_widths() -> None:
    space = SubnetSpace(
        depths=((2,),) * 4, widths=((1.0, 1.3, 1.4),) * 4, neck_channels=(20, 26, 28)
    )
    assert space.largest == Subnet(depths=(2,) * 4, widths=(1.4,) * 4, neck_channels=28)
    pool = PAPER.model_copy(
        update={
            "space": SpaceSpec(
                depths=space.depths, widths=space.widths, neck_channels=space.neck_channels
            )
        }
    )
    bounds = PAPER.phases[0].model_copy(update={"min_depths": (2, 2, 2, 2), "min_width": 1.3})
    (phase,) = phases(pool.model_copy(update={"phases": (bounds,)}))
    assert phase.space.neck_channels == (26, 28)


def test_pool_is_refused_when_its_first_phase_has_no_teacher_to_learn_from() -> None:
    first = PAPER.phases[0].model_copy(update={"distil": True})
    with pytest.raises(ValidationError, match="first phase"):
        PoolSpec(name="bad", dataset="coco", phases=(first, *PAPER.phases[1:]))
