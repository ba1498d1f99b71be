"""The recipe of a training: defaults, defaults that depend on others, and what is refused."""

import json
from typing import Any

import pytest
from pydantic import ValidationError

from searchd.spec import (
    DistillationSpec,
    EmaSpec,
    MinIouCropSpec,
    PhotometricDistortionSpec,
    PoolSpec,
    RandomCropSpec,
    SearchSpec,
    TrainingSpec,
)

SEARCH = {"name": "first", "dataset": "shapes", "pool": "teachers"}
DISTILLATION = {
    "name": "line",
    "dataset": "shapes",
    "pool": "teachers",
    "student": {"base": {}},
    "num_sampled_teachers": 2,
}
ON_A_GPU = {"resources": {"gpus_per_trial": 1}}


def training(**values: Any) -> TrainingSpec:
    return TrainingSpec.model_validate(values)


def test_every_option_of_the_recipe_is_off_by_default() -> None:
    spec = TrainingSpec()

    assert (spec.optimizer, spec.amp, spec.batch_size, spec.base_batch_size) == (
        "sgd",
        "off",
        4,
        16,
    )
    assert (spec.ema, spec.crop, spec.scale_jitter, spec.photometric_distortion) == (None,) * 4
    assert (spec.layer_decay, spec.backbone_learning_rate_factor) == (1, 1)
    assert (spec.frozen_stages, spec.norm_eval, spec.norm_weight_decay) == (0, False, None)


def test_an_option_that_is_switched_on_has_the_values_of_mmdets_configs() -> None:
    spec = training(ema={}, crop={"kind": "min_iou"}, photometric_distortion={})

    assert spec.ema == EmaSpec(decay=0.9998, warmup=2000)  # YOLOX, RTMDet
    assert spec.crop == MinIouCropSpec(min_ious=(0.1, 0.3, 0.5, 0.7, 0.9), min_crop_size=0.3)  # SSD
    assert spec.photometric_distortion == PhotometricDistortionSpec(
        brightness_delta=32, contrast=(0.5, 1.5), saturation=(0.5, 1.5), hue_delta=18
    )
    assert training(crop={"kind": "random"}).crop == RandomCropSpec(min_crop_size=0.5)


def test_adamw_has_its_own_rate_and_decay_unless_they_are_given() -> None:
    usual, given = training(optimizer="adamw"), training(optimizer="adamw", learning_rate=0.002)

    assert (usual.learning_rate, usual.weight_decay, usual.norm_weight_decay) == (1e-4, 0.05, 0.0)
    assert usual.betas == (0.9, 0.999)
    assert (given.learning_rate, given.weight_decay) == (0.002, 0.05)


def test_a_stored_spec_means_the_same_when_it_is_read_again() -> None:
    spec = training(optimizer="adamw", weight_decay=1e-4, batch_size="auto")

    again = TrainingSpec.model_validate_json(spec.model_dump_json())

    assert again == spec
    assert (again.weight_decay, again.base_batch_size) == (1e-4, 16)


def test_the_rate_of_a_batch_found_by_memory_is_meant_for_16_images() -> None:
    assert training(batch_size="auto").base_batch_size == 16
    assert training(batch_size="auto", base_batch_size=64).base_batch_size == 64
    assert training(batch_size=8, learning_rate=0.01).base_batch_size is None
    assert training(batch_size="auto").bn_reset_batch_size == 4
    assert training(batch_size=8).bn_reset_batch_size == 8


def test_published_rates_are_meant_for_the_published_batch_and_given_ones_for_the_given() -> None:
    assert training().base_batch_size == 16
    assert training(optimizer="adamw", batch_size=2).base_batch_size == 16
    assert training(learning_rate=0.01).base_batch_size is None
    assert training(base_batch_size=None).base_batch_size is None
    stored = training(learning_rate=0.01).model_dump(mode="json")
    assert TrainingSpec.model_validate(stored).base_batch_size is None  # as before


def test_the_base_and_the_distillation_have_published_rates_for_16_images() -> None:
    search = SearchSpec.model_validate(SEARCH)
    assert (search.base.training.learning_rate, search.base.training.base_batch_size) == (0.02, 16)
    given = {"epochs": 2, "learning_rate": 0.05, "batch_size": 8}
    own = SearchSpec.model_validate({**SEARCH, "base": {"training": given}, "trial": given})
    assert (own.base.training.base_batch_size, own.trial.base_batch_size) == (None, None)
    assert DistillationSpec.model_validate(DISTILLATION).trial.base_batch_size == 16


def test_the_papers_phases_are_meant_for_64_images_and_other_phases_for_the_given_batch() -> None:
    pool = {"name": "teachers", "dataset": "shapes"}
    phases = [phase.model_dump() for phase in PoolSpec.model_validate(pool).phases]

    def base_batch_size(**fields: Any) -> int | None:
        return PoolSpec.model_validate({**pool, **fields}).training.base_batch_size

    assert base_batch_size() == 64
    assert base_batch_size(training={"batch_size": 8}) == 64
    assert base_batch_size(training={"base_batch_size": None}) is None
    assert base_batch_size(phases=phases) is None
    assert base_batch_size(phases=phases, training={"batch_size": 8}) is None
    assert base_batch_size(phases=phases, training={"base_batch_size": 32}) == 32
    again = PoolSpec.model_validate(PoolSpec.model_validate(pool).model_dump(mode="json"))
    assert again.training.base_batch_size == 64


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"batch_size": 0}, "0 is neither a number of images, at least 1, nor auto"),
        ({"batch_size": "many"}, "'many' is neither a number of images, at least 1, nor auto"),
        ({"batch_size": True}, "True is neither a number of images, at least 1, nor auto"),
        ({"scale_jitter": [2, 0.5]}, r"scale_jitter: \[2, 0.5\] must be \[smallest, largest\]"),
        ({"scale_jitter": [0, 2]}, "greater than 0"),
        ({"photometric_distortion": {"contrast": [2, 1]}}, r"contrast: \[2, 1\] must be"),
        ({"photometric_distortion": {"saturation": [2, 1]}}, r"saturation: \[2, 1\] must be"),
        ({"crop": {"kind": "centre"}}, "'min_iou', 'random'"),
        ({"crop": {"kind": "random", "min_crop_size": 2}}, "less than or equal to 1"),
        ({"ema": {"decay": 1}}, "less than 1"),
        ({"amp": "on"}, "'off', 'bf16' or 'fp16'"),
        ({"frozen_stages": 5}, "less than or equal to 4"),
        ({"layer_decay": 1.5}, "less than or equal to 1"),
        ({"betas": [0.9, 1]}, "less than 1"),
    ],
)
def test_a_wrong_value_is_refused_with_what_is_right(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message) as caught:
        training(**values)

    assert caught.value.error_count() == 1


def test_fp16_is_refused_on_cpus_when_it_is_submitted() -> None:
    fp16 = {"trial": {"amp": "fp16"}}
    sentence = (
        "trial.amp: fp16 needs a GPU, but resources.gpus_per_trial is 0; use bf16, which CPUs have "
        "too, or off"
    )
    for spec, values in ((SearchSpec, SEARCH), (DistillationSpec, DISTILLATION)):
        with pytest.raises(ValidationError, match=sentence):
            spec.model_validate({**values, **fp16})
        spec.model_validate({**values, **fp16, **ON_A_GPU})
        spec.model_validate({**values, "trial": {"amp": "bf16"}})
    base = {"base": {"training": {"amp": "fp16"}}}
    with pytest.raises(ValidationError, match="base.training.amp: fp16 needs a GPU"):
        SearchSpec.model_validate({**SEARCH, **base})
    with pytest.raises(ValidationError, match="student.base.training.amp: fp16 needs a GPU"):
        DistillationSpec.model_validate({**DISTILLATION, "student": base})
    with pytest.raises(ValidationError, match="training.amp: fp16 .* gpus_per_worker is 0"):
        PoolSpec.model_validate({"name": "p", "dataset": "d", "training": {"amp": "fp16"}})


@pytest.mark.parametrize(
    "values", [{"ema": {}}, {"batch_size": "auto"}, {"frozen_stages": 1}, {"norm_eval": True}]
)
def test_a_pool_refuses_options_that_do_not_fit_changing_subnets(values: dict[str, Any]) -> None:
    (field,) = values

    with pytest.raises(ValidationError, match=rf"training.{field}: .*; leave it out"):
        PoolSpec.model_validate({"name": "p", "dataset": "d", "training": values})


def test_a_pool_takes_the_rest_of_the_recipe() -> None:
    recipe = {
        "optimizer": "adamw",
        "layer_decay": 0.7,
        "crop": {"kind": "random"},
        "scale_jitter": [0.8, 1.25],
        "amp": "bf16",
    }

    spec = PoolSpec.model_validate({"name": "p", "dataset": "d", "training": recipe})

    assert json.loads(spec.model_dump_json())["training"]["crop"]["kind"] == "random"
