"""The example of progressive distillation can be submitted as it is."""

from pathlib import Path

from cli.service import read_spec
from searchd.spec import DistillationSpec, PoolSpec, SearchSpec, check_subnets, subnets_of

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_example_is_valid_over_its_pool() -> None:
    pool = read_spec(EXAMPLES / "progressive" / "pool.yaml", PoolSpec)
    spec = read_spec(EXAMPLES / "progressive" / "distillation.yaml", DistillationSpec)

    check_subnets(spec, pool, spec.head)

    assert (spec.dataset, spec.pool) == (pool.dataset, pool.name)
    assert spec.most_stages == 3 + 3 * 2 + 4 * 2
    teachers = subnets_of(spec, pool)
    assert list(teachers) == ["largest", "smallest", "sampled-1"]
    assert {teacher.neck_channels for teacher in teachers.values()} == {32}


def test_sweep_differs_from_the_distillation_in_what_it_compares() -> None:
    pool = read_spec(EXAMPLES / "progressive" / "pool.yaml", PoolSpec)
    studied = read_spec(EXAMPLES / "progressive" / "distillation.yaml", DistillationSpec)
    spec = read_spec(EXAMPLES / "progressive" / "sweep.yaml", DistillationSpec)

    check_subnets(spec, pool, spec.head)

    assert [value for value, _ in spec.compared_values] == [0.5, 2, 5, 20]
    assert (len(spec.swept), spec.most_stages) == (3, 2)
    assert (spec.dataset, spec.pool) == (studied.dataset, studied.pool)
    assert (spec.student, spec.trial) == (studied.student, studied.trial)
    assert (spec.score, spec.resources) == (studied.score, studied.resources)


def test_student_and_teachers_are_the_demos() -> None:
    demo = read_spec(EXAMPLES / "demo" / "search.yaml", SearchSpec)
    spec = read_spec(EXAMPLES / "progressive" / "distillation.yaml", DistillationSpec)
    assert (spec.head, spec.score, spec.resources) == (demo.head, demo.score, demo.resources)
    assert spec.base is not None
    assert spec.base.architecture == demo.base.architecture
    pools = [read_spec(EXAMPLES / at / "pool.yaml", PoolSpec) for at in ("demo", "progressive")]
    assert pools[0].phases == pools[1].phases
