"""Sweeps as users submit them: what may be swept, with which values, and what is refused."""

from typing import Any

import pytest
from pydantic import ValidationError

from searchd.domain.errors import InvalidValueError
from searchd.domain.trial import Train, TrainSwept
from searchd.spec import (
    DistillationSpec,
    HeadSpec,
    PoolSpec,
    check_registered,
    check_subnets,
)
from searchd.spec.forecasts import distillation_work
from searchd.spec.remarks import check_warmups, rates_of_distillation
from searchd.spec.sentences import field_errors
from tests.searchd.store import factories

RATE = "trial.learning_rate"
FGD = {"methods": [{"name": "fgd", "weight": 10}]}


def spec(field: str, *values: object, **changes: Any) -> DistillationSpec:
    return factories.distillation_spec(sweep={"field": field, "values": values}, **changes)


def refusal(field: str, *values: object, **changes: Any) -> str:
    with pytest.raises(ValidationError) as raised:
        spec(field, *values, **changes)
    return "\n".join(map(str, field_errors(raised.value.errors(), DistillationSpec)))


def test_each_further_value_trains_the_order_once_more_with_nothing_else_changed() -> None:
    found = spec(RATE, 0.02, 0.04, trial={"learning_rate": 0.01})

    assert found.compared_values == (
        (0.01, Train()),
        (0.02, TrainSwept(field=RATE, value=0.02)),
        (0.04, TrainSwept(field=RATE, value=0.04)),
    )
    as_submitted, doubled, _ = found.variants
    assert as_submitted is found
    unswept = found.model_copy(update={"sweep": None})
    trial = unswept.trial.model_copy(update={"learning_rate": 0.02})
    assert doubled == unswept.model_copy(update={"trial": trial})


def test_the_value_of_the_spec_itself_is_not_trained_twice() -> None:
    found = spec("distillation.methods.fgd.weight", 1, 10, distillation=FGD)

    assert [value for value, _ in found.compared_values] == [1, 10]
    assert found.swept == (TrainSwept(field="distillation.methods.fgd.weight", value=1.0),)


def test_a_default_weight_is_compared_as_null() -> None:
    found = spec("distillation.methods.feature_matching.weight", 2)

    assert [value for value, _ in found.compared_values] == [None, 2]


@pytest.mark.parametrize(
    ("field", "value", "changes"),
    [
        ("trial.epochs", 3, {}),
        ("trial.schedule", "linear", {}),
        ("trial.norm_eval", True, {}),
        ("trial.ema.decay", 0.99, {"trial": {"ema": {}}}),
        ("distillation.methods.fgd.options.temperature", 2.0, {"distillation": FGD}),
        (
            "teacher_methods.smallest.methods.fgd.weight",
            2.0,
            {"teacher_methods": {"smallest": FGD}, "order": ["smallest"]},
        ),
    ],
)
def test_any_single_value_of_a_stage_can_be_swept(
    field: str, value: object, changes: dict[str, Any]
) -> None:
    found = spec(field, value, **changes)

    assert found.swept == (TrainSwept(field=field, value=value),)  # type: ignore[arg-type]
    assert DistillationSpec.model_validate_json(found.model_dump_json()) == found


def test_values_are_read_as_the_setting_reads_them() -> None:
    assert spec("trial.epochs", 3.0).swept == (TrainSwept(field="trial.epochs", value=3),)


@pytest.mark.parametrize(
    ("field", "values", "message"),
    [
        ("seed", [1], "sweep.field: 'seed' cannot be swept; name a setting of trial (trial.lea"),
        ("distillation.teacher_ap_floor", [0.1], "'distillation.teacher_ap_floor' cannot be swep"),
        ("distillation.methods.feature_matching.name", ["cwd"], "cannot be swept"),
        (
            "trial.learning_rat",
            [1],
            'sweep.field: trial: there is no field "learning_rat"; did you mean learning_rate?',
        ),
        (
            "distillation.methods.cwd.weight",
            [1],
            'distillation.methods: there is no method "cwd"; the methods are feature_matching',
        ),
        (
            "distillation.methods.feature_matching.options.temperature",
            [1],
            'options: there is no field "temperature"; the fields are start, start_images, nor',
        ),
        ("trial.resolutions", ["64x64"], "trial.resolutions is a list; only a setting of a sin"),
        ("trial.ema.decay", [0.9], "trial.ema is not set, so it has no decay; set it, or sweep"),
        ("trial.resolutions.0", ["64x64"], "trial.resolutions has no settings of its own, so it"),
        ("trial.optimizer.name", ["sgd"], "trial.optimizer has no settings of its own, so it has"),
        ("trial..epochs", [1], 'sweep.field: trial: there is no field ""'),
        (
            "teacher_methods.largest.methods.cwd.weight",
            [1],
            "trains no stage unless largest is in the order; name the teachers in `order`",
        ),
    ],
)
def test_a_setting_that_cannot_be_swept_is_refused(
    field: str, values: list[object], message: str
) -> None:
    assert message in refusal(field, *values)


def test_a_group_of_settings_is_refused_with_their_names() -> None:
    said = refusal("trial.ema", 1, trial={"ema": {}})
    assert "sweep.field: trial.ema has settings of its own; name one of trial.ema.decay" in said


def test_a_setting_that_no_teacher_uses_is_refused() -> None:
    methods = {"largest": FGD, "smallest": FGD}
    said = refusal("distillation.methods.feature_matching.weight", 1, teacher_methods=methods)
    assert "trains no stage, since teacher_methods replace distillation for all of" in said


@pytest.mark.parametrize(
    ("field", "values", "message"),
    [
        (RATE, [0.02, -1], "sweep.values.1: trial.learning_rate: must be greater than 0, not -1"),
        (RATE, ["fast"], 'sweep.values.0: trial.learning_rate: must be a number, not "fast"'),
        (RATE, [True], "sweep.values.0: trial.learning_rate: must be a number, not true"),
        ("trial.epochs", [2.5], "sweep.values.0: trial.epochs: must be a whole number, not 2.5"),
        ("trial.epochs", [3, 3.0], "sweep.values.1: 3 is given twice"),
        ("trial.schedule", ["cosin"], "must be cosine, step or linear, not"),
        ("trial.epochs", [[3, 4]], "sweep.values.0: [3, 4] is not a single value; write a number"),
        ("trial.epochs", [], "sweep.values: must have at least 1 item, not 0"),
        ("trial.epochs", range(1, 22), "sweep.values: must have at most 20 items, not 21"),
        ("trial.amp", ["fp16"], "sweep.values.0: trial.amp: fp16 needs a GPU"),
    ],
)
def test_values_that_the_setting_cannot_have_are_refused(
    field: str, values: list[object], message: str
) -> None:
    assert message in refusal(field, *values)


def test_a_study_is_not_swept() -> None:
    assert "give one of study and sweep" in refusal(RATE, 1, study=True)


def test_stages_of_a_sweep_count_as_stages() -> None:
    # 48 stages as submitted, and 48 with each of 20 values.
    names = {f"t{number}": f"teacher-{number}" for number in range(48)}
    values = [0.1 * number for number in range(1, 21)]
    said = refusal(
        RATE,
        *values,
        pool=None,
        num_sampled_teachers=None,
        teachers=names,
        order=list(names),
        max_teachers=48,
    )
    assert "may need 1008 stages, more than 1000; use fewer teachers, fewer values of the" in said


def test_methods_must_fit_the_teachers_with_every_value() -> None:
    imitation = {"methods": [{"name": "feature_imitation"}]}
    found = spec(
        "distillation.methods.feature_imitation.options.mask",
        "anchor",
        distillation=imitation,
        student={"base": {"backbone": "resnet18"}, "head": {"family": "fcos"}},
    )
    pool = PoolSpec(name="teachers", dataset="shapes")

    with pytest.raises(InvalidValueError, match="mask"):
        check_subnets(found, pool, HeadSpec(family="fcos"))
    with pytest.raises(InvalidValueError, match="mask"):
        check_registered(found, "largest", HeadSpec(family="fcos"), None)


def test_methods_must_teach_within_a_stage_with_every_value() -> None:
    icd = {"methods": [{"name": "icd", "options": {"warmup_iterations": 100}}]}
    found = spec("trial.epochs", 1, distillation=icd, trial={"epochs": 12, "batch_size": 4})

    with pytest.raises(InvalidValueError, match="a stage has 50 iterations"):
        check_warmups(found, images=200)


def test_learning_rates_of_a_sweep_are_all_named() -> None:
    trial = {"learning_rate": 0.01, "batch_size": 8}
    rates = rates_of_distillation(spec(RATE, 0.02, trial=trial))

    assert rates[1:] == [
        "stages: 0.01 for 8 images a step, as given",
        "stages: 0.02 for 8 images a step, as given",
    ]


def test_forecasts_count_the_stages_of_each_value_with_its_epochs() -> None:
    found = spec("trial.epochs", 4, 8, trial={"epochs": 12}, order=["largest", "smallest"])

    work = distillation_work(found, None)

    assert (work.stages.least, work.stages.most) == (2, 2)
    assert [each.epochs for each in work.swept] == [4, 8]
    assert (work.order.least, work.order.most) == (2, 2)
