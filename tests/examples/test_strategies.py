"""The example of each strategy can be submitted as it is, over the demo's pool."""

from pathlib import Path

import pytest

from cli.service import read_spec
from searchd.domain.trial import PruneToMacs, TeacherPolicy
from searchd.driver.strategies import strategy_of
from searchd.search.strategies.base import Strategy
from searchd.search.strategies.joint_detnas import JointDetNas
from searchd.search.strategies.pipeline import Pipeline
from searchd.search.strategies.pool_search import PoolSearch
from searchd.search.strategies.random_search import RandomSearch
from searchd.spec import PoolSpec, SearchSpec, check_pool

EXAMPLES = Path(__file__).parents[2] / "examples"
POOL = read_spec(EXAMPLES / "demo" / "pool.yaml", PoolSpec)


def spec(name: str) -> SearchSpec:
    return read_spec(EXAMPLES / "strategies" / f"{name}.yaml", SearchSpec)


@pytest.mark.parametrize(
    ("name", "strategy"),
    [
        ("fixed_teacher", JointDetNas),
        ("nearest_teacher", JointDetNas),
        ("searched_methods", JointDetNas),
        ("random", RandomSearch),
        ("pool_search", PoolSearch),
        ("pipeline", Pipeline),
    ],
)
def test_example_is_valid_over_the_demos_pool(name: str, strategy: type[Strategy]) -> None:
    search = spec(name)
    check_pool(search, POOL)
    assert (search.dataset, search.pool) == (POOL.dataset, POOL.name)
    assert isinstance(strategy_of(search, POOL), strategy)


def test_no_example_is_untested() -> None:
    files = {file.stem for file in (EXAMPLES / "strategies").iterdir()}
    assert files == {
        "fixed_teacher",
        "nearest_teacher",
        "searched_methods",
        "random",
        "pool_search",
        "pipeline",
    }


def test_examples_differ_from_the_demo_in_what_their_strategy_needs() -> None:
    demo = read_spec(EXAMPLES / "demo" / "search.yaml", SearchSpec)
    assert isinstance(fixed := strategy_of(spec("fixed_teacher"), POOL), JointDetNas)
    assert fixed.settings.teacher_policy is TeacherPolicy.FIXED
    assert isinstance(nearest := strategy_of(spec("nearest_teacher"), POOL), JointDetNas)
    assert nearest.settings.teacher_policy is TeacherPolicy.NEAREST
    assert isinstance(searched := strategy_of(spec("searched_methods"), POOL), JointDetNas)
    assert searched.genes is not None
    assert len(searched.genes.allowed) == 7
    assert isinstance(pipeline := strategy_of(spec("pipeline"), POOL), Pipeline)
    assert pipeline.prune == PruneToMacs(fraction=0.9, min_channels=3)
    assert pipeline.max_trials == 6
    for name in ("fixed_teacher", "nearest_teacher", "random", "pool_search", "pipeline"):
        assert (spec(name).head, spec(name).trial) == (demo.head, demo.trial)
