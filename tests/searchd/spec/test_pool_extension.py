"""A pool that continues the training of another one, as a spec."""

import pytest
from pydantic import ValidationError

from searchd.domain.errors import InvalidValueError
from searchd.spec import PoolSpec, PretrainedSpec, check_start
from searchd.spec.pool import next_name

POOL = PoolSpec(name="teachers", dataset="shapes", seed=3)


def test_by_default_the_last_phase_is_trained_again() -> None:
    longer = POOL.extended(epochs=5)
    assert (longer.name, longer.start_from, longer.dataset) == ("teachers-2", "teachers", "shapes")
    assert longer.phases == (POOL.phases[-1].model_copy(update={"epochs": 5}),)
    assert (longer.space, longer.head, longer.training) == (POOL.space, POOL.head, POOL.training)


def test_phases_are_named_and_have_another_rate_and_name_if_given() -> None:
    longer = POOL.extended(
        epochs=5, name="better", phases=("supernet", "shrink-2"), learning_rate=0.01
    )
    assert longer.name == "better"
    assert [(p.name, p.epochs, p.learning_rate, p.distil) for p in longer.phases] == [
        ("supernet", 5, 0.01, False),
        ("shrink-2", 5, 0.01, True),
    ]


def test_a_pool_with_a_pretrained_backbone_continues_from_its_own_weights() -> None:
    pool = POOL.model_copy(update={"pretrained": PretrainedSpec(timm="resnet50.a1_in1k")})
    assert pool.extended(epochs=1).pretrained is None


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("teachers", "teachers-2"),
        ("teachers-2", "teachers-3"),
        ("my-pool", "my-pool-2"),
        ("pool-1", "pool-1-2"),
        ("pool-9", "pool-10"),
    ],
)
def test_names_count_the_versions(name: str, expected: str) -> None:
    assert next_name(name) == expected


def test_an_unknown_phase_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"'shrink-3' does not exist.*supernet.*shrink-2"):
        POOL.extended(epochs=1, phases=("shrink-3",))


def test_only_a_pool_that_starts_from_another_may_distil_in_its_first_phase() -> None:
    last = POOL.phases[-1].model_dump()
    with pytest.raises(ValidationError, match="first phase cannot distil"):
        PoolSpec.model_validate({"name": "a", "dataset": "shapes", "phases": [last]})
    PoolSpec.model_validate(
        {"name": "a", "dataset": "shapes", "phases": [last], "start_from": "teachers"}
    )


def test_a_pool_has_one_start_and_it_is_not_the_pool_itself() -> None:
    fields = {"name": "a", "dataset": "shapes"}
    backbone = {"timm": "resnet50.a1_in1k"}
    with pytest.raises(ValidationError, match="two starts of one supernet"):
        PoolSpec.model_validate({**fields, "start_from": "b", "pretrained": backbone})
    with pytest.raises(ValidationError, match="start_from=a is the pool itself"):
        PoolSpec.model_validate({**fields, "start_from": "a"})


@pytest.mark.parametrize(
    "change", [{"dataset": "coco"}, {"head": {"head_channels": 8}}, {"space": {"base_channels": 8}}]
)
def test_a_pool_continues_only_one_with_an_equal_supernet(change: dict[str, object]) -> None:
    fields = {"name": "a", "dataset": "shapes", "start_from": "teachers"}
    check_start(PoolSpec.model_validate(fields), POOL)
    field = next(iter(change))
    with pytest.raises(InvalidValueError, match=f"start_from='teachers' has another {field}"):
        check_start(PoolSpec.model_validate({**fields, **change}), POOL)
