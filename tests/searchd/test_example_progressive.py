"""The example of progressive distillation can be submitted as it is, over the demo's pool."""

from pathlib import Path

from searchd.cli.service import read_spec
from searchd.spec import DistillationSpec, PoolSpec, SearchSpec, check_subnets, subnets_of

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_example_is_valid_over_the_demos_pool() -> None:
    pool = read_spec(EXAMPLES / "demo" / "pool.yaml", PoolSpec)
    spec = read_spec(EXAMPLES / "progressive" / "distillation.yaml", DistillationSpec)

    check_subnets(spec, pool, spec.head)

    assert (spec.dataset, spec.pool) == (pool.dataset, pool.name)
    assert spec.most_stages == 8
    assert list(subnets_of(spec, pool)) == ["largest", "smallest", "sampled-1"]


def test_students_are_the_demos() -> None:
    demo = read_spec(EXAMPLES / "demo" / "search.yaml", SearchSpec)
    spec = read_spec(EXAMPLES / "progressive" / "distillation.yaml", DistillationSpec)
    assert (spec.base, spec.head, spec.score) == (demo.base, demo.head, demo.score)
    assert spec.trial.epochs == 12
