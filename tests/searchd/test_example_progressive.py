"""The example of progressive distillation can be submitted as it is, over the demo's pool."""

from pathlib import Path

from searchd.cli.service import read_spec
from searchd.spec import PoolSpec, ProgressiveSpec, SearchSpec, check_pool, teachers_of

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_example_is_valid_over_the_demos_pool() -> None:
    pool = read_spec(EXAMPLES / "demo" / "pool.yaml", PoolSpec)
    search = read_spec(EXAMPLES / "progressive" / "search.yaml", SearchSpec)

    check_pool(search, pool)

    assert (search.dataset, search.pool) == (pool.dataset, pool.name)
    assert isinstance(search.strategy, ProgressiveSpec)
    assert search.strategy.most_stages == 6
    assert list(teachers_of(search, pool)) == ["largest", "smallest", "sampled-1"]


def test_example_differs_from_the_demo_in_its_stages_alone() -> None:
    demo = read_spec(EXAMPLES / "demo" / "search.yaml", SearchSpec)
    search = read_spec(EXAMPLES / "progressive" / "search.yaml", SearchSpec)
    assert (search.base, search.head, search.score) == (demo.base, demo.head, demo.score)
    assert search.trial.epochs == 12
