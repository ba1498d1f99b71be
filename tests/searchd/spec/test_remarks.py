"""What trainings make of their settings is said before they start."""

from typing import Any

import pytest

from searchd.spec import DistillationSpec, PoolSpec, SearchSpec, TrainingSpec
from searchd.spec.remarks import (
    check_warmups,
    rate,
    rates_of_pool,
    rates_of_search,
    warmup_warnings,
)

SEARCH = {"name": "first", "dataset": "coco", "pool": "teachers"}


@pytest.mark.parametrize(
    ("settings", "devices", "expected"),
    [
        ({}, 1, "trials: 0.0025 for 4 images a step, from 0.01 for 16"),
        ({}, 8, "trials: 0.02 for 32 images a step, from 0.01 for 16"),
        ({"learning_rate": 0.03}, 2, "trials: 0.03 for 8 images a step, as given"),
        (
            {"batch_size": "auto"},
            1,
            "trials: 0.01 for 16 images a step, scaled to the number that fits memory",
        ),
    ],
)
def test_a_rate_is_said_with_the_images_that_it_is_for(
    settings: dict[str, Any], devices: int, expected: str
) -> None:
    assert rate("trials", TrainingSpec(**settings), devices) == expected


def test_what_is_not_trained_has_no_rate() -> None:
    subnets = SearchSpec.model_validate({**SEARCH, "strategy": {"kind": "pool_search"}})
    loaded = SearchSpec.model_validate({**SEARCH, "base": {"export": "/exports/one"}})
    imported = PoolSpec.model_validate({"name": "a", "dataset": "coco", "source": "/exports/pool"})

    assert rates_of_search(subnets) == ["base: 0.005 for 4 images a step, from 0.02 for 16"]
    assert [each.split(":")[0] for each in rates_of_search(loaded)] == [
        "trials",
        "finishing trainings",
    ]
    assert rates_of_pool(imported) == []


@pytest.mark.parametrize(
    ("warmup", "images", "warns"),
    [(76, 150, True), (75, 150, False), (None, 150, False), (76, None, False)],
)
def test_a_warm_up_as_long_as_a_trial_leaves_nothing_to_teach(
    warmup: int | None, images: int | None, warns: bool
) -> None:
    methods = {"methods": [{"name": "icd", "options": {"warmup_iterations": warmup}}]}
    trial = {"epochs": 2}
    search = SearchSpec.model_validate({**SEARCH, "trial": trial, "distillation": methods})

    assert bool(warmup_warnings(search, images)) is warns


def test_the_student_of_a_trial_may_be_warm_already() -> None:
    methods = {"methods": [{"name": "icd", "options": {"warmup_iterations": 10**6}}]}
    spec = DistillationSpec.model_validate(
        {
            "name": "more",
            "dataset": "coco",
            "student": {"trial": "s-abcdef-3"},
            "teachers": {"strong": "strong"},
            "distillation": methods,
        }
    )

    check_warmups(spec, 150)
