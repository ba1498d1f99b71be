"""Distillations as users submit them: what is refused, and what defaults mean."""

from typing import Any

import pytest
from pydantic import ValidationError

from searchd.domain.errors import InvalidValueError
from searchd.spec import (
    DistillationSpec,
    HeadSpec,
    PoolSpec,
    check_subnets,
    subnets_of,
)
from tests.searchd.store import factories

SUBNET = {"depths": [2, 2, 2, 2], "widths": [1.0, 1.0, 1.0, 1.0], "neck_channels": 256}
SAMPLED = {
    "name": "mtpd",
    "dataset": "coco",
    "student": {"base": {"backbone": "resnet18"}},
    "pool": "teachers",
    "num_sampled_teachers": 2,
}
NAMED = {name: value for name, value in SAMPLED.items() if name != "num_sampled_teachers"}


def test_student_is_taught_by_feature_matching_for_12_epochs_by_default() -> None:
    spec = DistillationSpec.model_validate(SAMPLED)
    assert [(m.name, m.weight) for m in spec.distillation.methods] == [("feature_matching", None)]
    assert (spec.trial.epochs, spec.trial.schedule, spec.order) == (12, "cosine", "backward_greedy")
    assert DistillationSpec.model_validate_json(spec.model_dump_json()) == spec


def test_each_teacher_may_teach_by_methods_of_its_own() -> None:
    spec = DistillationSpec.model_validate(
        {**SAMPLED, "teacher_methods": {"smallest": {"methods": [{"name": "cwd"}]}}}
    )
    assert [m.name for m in spec.methods_of("smallest").methods] == ["cwd"]
    assert [m.name for m in spec.methods_of("largest").methods] == ["feature_matching"]


def test_a_method_that_compares_cells_needs_teachers_that_see_the_students_images() -> None:
    gfl = {"base": {"backbone": "resnet18"}, "head": {"family": "gfl"}}
    by_cell = {
        "name": "mtpd",
        "dataset": "coco",
        "student": gfl,
        "teachers": {"large": "gfl-r101"},
        "distillation": {"methods": [{"name": "ld"}]},
        "trial": {"resolutions": ["320x320"]},
    }

    assert DistillationSpec.model_validate({**by_cell, "teacher_resolution": "320x320"})
    with pytest.raises(
        ValidationError, match="ld compares predictions cell by cell, and with teac"
    ):
        DistillationSpec.model_validate({**by_cell, "teacher_resolution": "640x640"})


def test_student_of_a_trial_needs_no_base() -> None:
    spec = DistillationSpec.model_validate({**SAMPLED, "student": {"trial": "s-7f3k2m-12"}})
    assert spec.base is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"student": {}}, "exactly one of trial and base"),
        (
            {"student": {"trial": "s-7f3k2m-1", "base": {}}},
            "exactly one of trial and base",
        ),
        ({"student": {"trial": "first one"}}, "should match pattern"),
        (
            {"student": {"trial": "s-7f3k2m-1", "head": {"neck_channels": 8}}},
            "head belongs to a base",
        ),
        ({"num_sampled_teachers": None}, "exactly one of teachers and num_sampled_teachers"),
        ({"pool": None}, "need a pool"),
        ({"order": ["largest", "best"]}, r"order=\['largest', 'best'\] must name at least one"),
        ({"order": ["largest", "largest"]}, "each once"),
        ({"order": []}, "must name at least one"),
        (
            {"num_sampled_teachers": 3, "order": ["largest", "smallest", "sampled-1"]},
            "order names 3 teachers, but max_teachers=2",
        ),
        (
            {"baselines": ["direct", "direct"]},
            "baselines must all be different, got direct, direct",
        ),
        (
            {"distillation": {"methods": [{"name": "inheriting"}]}},
            "inheriting acts at the first teacher only",
        ),
        ({"distillation": {"methods": []}}, "teacher largest needs a distillation method"),
        ({"teacher_methods": {"best": {}}}, "teacher_methods name best, but the teachers are"),
        (
            {
                "baselines": ["average_features"],
                "distillation": {"methods": [{"name": "cwd"}]},
            },
            "cwd cannot teach by average_features",
        ),
        (
            {"num_sampled_teachers": 40, "study": True},
            "1600 stages, more than 1000",
        ),
    ],
)
def test_impossible_distillation_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        DistillationSpec.model_validate({**SAMPLED, **changes})


@pytest.mark.parametrize(
    ("teachers", "message"),
    [
        ({"student": SUBNET}, "may be called student: the name is reserved"),
        ({"direct": SUBNET}, "may be called direct: the name is reserved"),
        ({"a": SUBNET, "b": SUBNET}, "teachers a, b are the same"),
    ],
)
def test_impossible_teachers_are_refused(teachers: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        DistillationSpec.model_validate({**NAMED, "teachers": teachers})


@pytest.mark.parametrize(
    ("changes", "num_stages"),
    [
        ({"num_sampled_teachers": 4}, 2),
        ({"num_sampled_teachers": 4, "max_teachers": 9}, 4),
        ({"num_sampled_teachers": 4, "study": True}, 16),
        ({"num_sampled_teachers": 4, "study": True, "max_teachers": 4}, 64),
        ({"num_sampled_teachers": 4, "baselines": ["direct", "no_teacher"]}, 6),
        ({"order": ["largest"], "baselines": ["no_teacher"]}, 2),
    ],
)
def test_distillation_knows_how_many_stages_it_may_need(
    changes: dict[str, object], num_stages: int
) -> None:
    assert DistillationSpec.model_validate({**SAMPLED, **changes}).most_stages == num_stages


def test_registered_teachers_need_no_pool() -> None:
    spec = DistillationSpec.model_validate({**NAMED, "pool": None, "teachers": {"swin": "my-swin"}})
    assert not spec.needs_pool
    assert spec.teacher_names == ["swin"]


def test_subnets_must_be_in_the_pool() -> None:
    pool = PoolSpec(name="teachers", dataset="coco")
    odd = {**NAMED, "teachers": {"odd": {**SUBNET, "neck_channels": 7}, "swin": "my-swin"}}
    with pytest.raises(InvalidValueError, match="neck_channels=7 is not in this pool"):
        check_subnets(DistillationSpec.model_validate(odd), pool, HeadSpec())
    assert subnets_of(DistillationSpec.model_validate(SAMPLED), pool) == {
        "largest": pool.space.space.largest,
        "smallest": pool.space.space.smallest,
    }


def test_methods_must_fit_the_pool() -> None:
    pool = PoolSpec(name="teachers", dataset="coco")
    spec = {**SAMPLED, "teacher_methods": {"largest": {"methods": [{"name": "head_transfer"}]}}}
    with pytest.raises(InvalidValueError, match="head_transfer needs a teacher with the student"):
        check_subnets(DistillationSpec.model_validate(spec), pool, HeadSpec())


def test_methods_of_all_teachers_must_fit_those_that_teach_together() -> None:
    """The methods of a single teacher are not those of a baseline of all."""
    pool = PoolSpec(name="teachers", dataset="coco")
    alone = {"methods": [{"name": "fgd"}]}
    spec = {
        **SAMPLED,
        "distillation": {"methods": [{"name": "head_transfer"}]},
        "teacher_methods": {"largest": alone, "smallest": alone},
    }
    check_subnets(DistillationSpec.model_validate(spec), pool, HeadSpec())
    together = DistillationSpec.model_validate({**spec, "baselines": ["mean_of_losses"]})
    with pytest.raises(InvalidValueError, match="'largest' of pool 'teachers': head_transfer"):
        check_subnets(together, pool, HeadSpec())


@pytest.mark.parametrize(
    ("changes", "fewest"),
    [
        ({}, 1),
        ({"baselines": ("direct", "mean_of_losses", "no_teacher")}, 2),
        ({"order": ("largest", "smallest")}, 2),
        ({"order": ("largest", "smallest"), "baselines": ("direct", "no_teacher")}, 6),
        ({"study": True, "order": ("largest", "smallest"), "baselines": ("direct",)}, 5),
        ({"study": True}, 4),
    ],
)
def test_fewest_stages_are_those_of_the_shortest_order(
    changes: dict[str, Any], fewest: int
) -> None:
    assert factories.distillation_spec(**changes).fewest_stages == fewest
