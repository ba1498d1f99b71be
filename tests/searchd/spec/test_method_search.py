"""The distillation methods of a search as users write them, and what is chosen for them."""

from typing import Any

import pytest
from pydantic import ValidationError

from searchd.domain.detector import Family
from searchd.domain.distillation_methods import MethodName
from searchd.domain.errors import InvalidFieldError, InvalidValueError
from searchd.domain.method_set import MethodSet, WeightedMethod
from searchd.spec import (
    HeadSpec,
    MethodSpec,
    MethodsSpec,
    PoolSpec,
    SearchSpec,
    check_pool,
    traits_of,
)
from searchd.spec.method_search import SearchMethodsSpec, chosen

TWO_STAGE = traits_of(HeadSpec())
RETINANET = traits_of(HeadSpec(family=Family.RETINANET))
WIDE = traits_of(HeadSpec(), neck_channels=(128, 256))


def search(**given: Any) -> SearchSpec:
    return SearchSpec.model_validate(
        {"name": "first", "dataset": "shapes", "pool": "teachers", **given}
    )


def methods(given: object) -> SearchMethodsSpec:
    return search(distillation=given).distillation


def names(found: tuple[MethodSpec, ...] | None) -> list[str]:
    return [each.name.value for each in found or ()]


def test_the_short_form_leaves_every_choice_open() -> None:
    assert methods("search") == methods({"search": {}})
    found = methods("search")
    assert found.methods == ()
    assert found.search is not None
    assert found.search.methods is None
    assert SearchSpec.model_validate_json(search(distillation="search").model_dump_json()) == (
        search(distillation="search")
    )


def test_without_search_all_trials_have_the_methods_that_are_named() -> None:
    cwd = MethodsSpec(methods=(MethodSpec(name=MethodName.CWD),))
    assert search().distillation.search is None
    assert names(search().distillation.methods) == [
        "proposal_feature",
        "classification",
        "class_aware_localisation",
    ]
    assert methods(cwd).of_trial(None) == cwd
    assert methods(cwd).genes(two_stage=True) is None


def test_every_method_that_fits_is_chosen_without_those_that_lost_or_need_files() -> None:
    found = chosen(methods("search"), TWO_STAGE, [TWO_STAGE], num_lines=1)
    assert names(found.methods) == [
        "proposal_feature",
        "classification",
        "class_aware_localisation",
    ]
    assert found.search is not None
    assert names(found.search.methods) == [
        "localisation",
        "feature_matching",
        "feature_imitation",
        "sgfi",
        "ckd",
        "inheriting",
        "icd",
        "cwd",
        "fgd",
        "pkd",
        "dkd",
        "dist",
    ]
    stored = search(distillation=found)
    assert SearchSpec.model_validate_json(stored.model_dump_json()) == stored
    assert chosen(found, TWO_STAGE, [TWO_STAGE], num_lines=1) == found


def test_what_is_chosen_fits_every_teacher() -> None:
    found = chosen(methods("search"), TWO_STAGE, [TWO_STAGE, RETINANET], num_lines=2)
    assert names(found.methods) == ["feature_matching"]
    assert found.search is not None
    assert names(found.search.methods) == ["feature_imitation", "icd", "cwd", "fgd", "pkd"]


def test_inheriting_needs_the_teachers_neck_and_a_lineage_with_one_teacher() -> None:
    several_widths = chosen(methods("search"), TWO_STAGE, [WIDE], num_lines=1)
    several_teachers = chosen(methods("search"), TWO_STAGE, [TWO_STAGE] * 2, num_lines=2)
    assert MethodName.INHERITING not in several_widths.options
    assert MethodName.INHERITING not in several_teachers.options
    with pytest.raises(ValidationError, match="inheriting acts only under the first teacher of a"):
        search(
            teachers={"registered": ["strong"]},
            distillation={"search": {"methods": [{"name": "inheriting"}, {"name": "cwd"}]}},
        )


def test_a_one_stage_student_starts_with_what_fits_it() -> None:
    found = chosen(methods("search"), RETINANET, [TWO_STAGE], num_lines=1)
    assert names(found.methods) == ["proposal_feature"]
    alone = chosen(methods("search"), RETINANET, [RETINANET], num_lines=1)
    assert names(alone.methods) == ["feature_matching"]


def test_named_methods_are_all_that_trials_may_have_with_their_weights_and_options() -> None:
    given = {
        "methods": [{"name": "sgfi", "options": {"adapter_kernel": 3}}],
        "search": {"methods": [{"name": "cwd", "weight": 2}, {"name": "inheriting"}]},
    }
    found = chosen(methods(given), TWO_STAGE, [TWO_STAGE], num_lines=1)
    genes = found.genes(two_stage=True)
    assert genes is not None
    assert [str(each) for each in genes.allowed] == ["sgfi 1", "cwd 2", "inheriting"]
    cwd = WeightedMethod(name=MethodName.CWD, weight=8.0)
    sgfi = WeightedMethod(name=MethodName.SGFI, weight=0.5)
    trial = found.of_trial(MethodSet(methods=(cwd, sgfi)))
    assert type(trial) is MethodsSpec
    assert [(each.name, each.weight) for each in trial.methods] == [("sgfi", 0.5), ("cwd", 8.0)]
    assert trial.methods[0].options["adapter_kernel"] == 3


def test_trial_0_starts_with_the_first_that_is_named_if_none_of_the_usual_ones_is() -> None:
    given = {"search": {"methods": [{"name": "cwd"}, {"name": "sgfi"}]}}
    found = chosen(methods(given), TWO_STAGE, [TWO_STAGE], num_lines=1)
    assert found.search is not None
    assert (names(found.methods), names(found.search.methods)) == (["cwd"], ["sgfi"])


def test_a_method_may_be_named_at_the_start_and_among_the_others_if_both_are_equal() -> None:
    both = methods({"methods": [{"name": "cwd"}], "search": {"methods": [{"name": "cwd"}]}})
    assert names(both.every_method) == ["cwd"]
    given = {"methods": [{"name": "cwd"}], "search": {"methods": [{"name": "cwd", "weight": 2}]}}
    with pytest.raises(ValidationError, match=r"methods and search\.methods must name each .*cwd"):
        methods(given)


def test_a_weight_that_is_not_given_is_the_default_of_the_students_kind_of_head() -> None:
    given = methods({"methods": [{"name": "icd"}], "search": {"methods": [{"name": "pkd"}]}})
    for two_stage, weights in ((True, ["icd 3", "pkd 6"]), (False, ["icd 6", "pkd 10"])):
        genes = given.genes(two_stage=two_stage)
        assert genes is not None
        assert [str(each) for each in genes.allowed] == weights


@pytest.mark.parametrize(
    ("distillation", "message"),
    [
        ({"search": {"factors": [0.5, 2]}}, "factors must be different, and 1 among them"),
        ({"search": {"factors": [1, 2, 2]}}, "factors must be different"),
        ({"search": {"factors": [1, 0]}}, "greater than 0"),
        ({"search": {"max_methods": 0}}, "greater than or equal to 1"),
        ({"search": {"probability": 0}}, "greater than 0"),
        (
            {"search": {"methods": [{"name": "cwd"}, {"name": "cwd"}]}},
            r"search\.methods must name each method once, got cwd twice",
        ),
        (
            {"methods": [{"name": "inheriting"}], "search": {}},
            "none of them has a loss, so that trial 0 would learn nothing",
        ),
        (
            {"methods": [{"name": "cwd"}, {"name": "sgfi"}], "search": {"max_methods": 1}},
            r"methods: 2 have a loss, more than search\.max_methods=1",
        ),
        ("searched", "give search, or an object with methods, got 'searched'"),
    ],
)
def test_what_cannot_be_searched_is_refused(distillation: object, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        methods(distillation)


@pytest.mark.parametrize("kind", ["pipeline", "pool_search"])
def test_strategies_that_choose_by_no_score_search_no_methods(kind: str) -> None:
    with pytest.raises(ValidationError, match=rf"distillation\.search: a {kind} does not choose"):
        search(strategy={"kind": kind}, distillation="search")


def test_a_named_method_that_does_not_fit_is_refused_with_its_reason() -> None:
    given = {"methods": [{"name": "sgfi"}], "search": {"methods": [{"name": "classification"}]}}
    with pytest.raises(ValidationError, match="classification teaches .* students, not fcos"):
        search(head={"family": "fcos"}, distillation=given)
    transfer = {"methods": [{"name": "sgfi"}], "search": {"methods": [{"name": "head_transfer"}]}}
    with pytest.raises(InvalidValueError, match="pool 'teachers': head_transfer needs a teacher"):
        check_pool(search(distillation=transfer), PoolSpec(name="teachers", dataset="shapes"))


def test_a_search_with_nothing_to_search_is_refused() -> None:
    one = {"methods": [{"name": "cwd"}], "search": {"methods": [], "factors": [1]}}
    with pytest.raises(InvalidFieldError, match=r"distillation\.search: there is nothing to sea"):
        chosen(methods(one), TWO_STAGE, [TWO_STAGE], num_lines=1)
    none = {"search": {"methods": [{"name": "inheriting"}]}}
    with pytest.raises(InvalidFieldError, match=r"distillation\.methods: no method with a loss"):
        chosen(methods(none), TWO_STAGE, [TWO_STAGE], num_lines=1)
