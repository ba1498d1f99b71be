"""Recommended specs are valid, fit the data and the time, and say why."""

import math
from dataclasses import replace

import pytest
import yaml

from searchd.domain.detector import Detector, Family
from searchd.domain.errors import InvalidValueError
from searchd.domain.resolution import Resolution
from searchd.recommend import DataFacts, Machine, Recommendation, Start, recommend
from searchd.recommend.numbers import anchor_scale, batch_size, resolutions
from searchd.search.cost_model import backbone_macs
from searchd.spec import FinishBudgetSpec, PoolSpec, SearchSpec, check_pool

CELLS = DataFacts(
    train_images=205,
    validation_images=87,
    classes=3,
    image_width=320,
    image_height=240,
    small_box_share=0.12,
    most_objects=28,
)
LAPTOP = Machine(cpus=2)
HOUR = 3600.0


def seconds(detector: Detector, resolution: Resolution) -> float:
    """A slow core: 12 ms and 10 G MACs of the backbone per second."""
    return 0.012 + 3 * backbone_macs(detector.architecture, resolution.area) / 10e9


def recommended(
    data: DataFacts = CELLS,
    machine: Machine = LAPTOP,
    hours: float = 2,
    start: Start | None = None,
) -> Recommendation:
    return recommend(
        "cells-1",
        "cells",
        data,
        machine,
        budget_s=hours * HOUR,
        seconds=seconds,
        start=start or Start(),
    )


def test_resolution_shows_nine_of_ten_boxes_with_16_pixels() -> None:
    # 16 px / 0.12 = 133 px of the short side, rounded up; 4:3 as the images.
    assert resolutions(CELLS)[0] == Resolution(224, 160)


def test_resolution_is_not_larger_than_the_images() -> None:
    assert resolutions(replace(CELLS, small_box_share=0.01))[0] == Resolution(288, 224)


def test_resolution_of_tall_images_has_the_long_side_first() -> None:
    assert resolutions(replace(CELLS, image_width=240, image_height=320))[0] == Resolution(224, 160)


def test_resolutions_decrease_down_to_96() -> None:
    sides = [each.height for each in resolutions(replace(CELLS, small_box_share=0.07))]
    assert sides == [224, 192, 160, 128, 96]


def test_smallest_anchor_fits_the_small_boxes() -> None:
    # 19 px at 160: an anchor of 16, which is 4 strides of 4.
    assert anchor_scale(CELLS, Resolution(224, 160)) == 4


def test_batch_leaves_40_steps_per_epoch() -> None:
    assert batch_size(CELLS, most=16) == 4
    assert batch_size(replace(CELLS, train_images=30), most=16) == 2
    assert batch_size(replace(CELLS, train_images=118_000), most=16) == 16


@pytest.mark.parametrize("hours", [0.2, 1, 2, 12])
@pytest.mark.parametrize("machine", [LAPTOP, Machine(cpus=16, gpus=2)], ids=["laptop", "gpus"])
def test_specs_are_valid_and_fit_each_other(machine: Machine, hours: float) -> None:
    found = recommended(machine=machine, hours=hours)
    check_pool(found.search, found.pool)
    assert found.search.pool == found.pool.name == "cells-1-teachers"


def test_yaml_means_what_was_recommended() -> None:
    found = recommended()
    assert PoolSpec.model_validate(yaml.safe_load(found.pool_yaml)) == found.pool
    assert SearchSpec.model_validate(yaml.safe_load(found.search_yaml)) == found.search


def test_numbers_have_a_reason_above_them() -> None:
    lines = recommended().search_yaml.splitlines()
    where = lines.index("    batch_size: 4")
    assert lines[where - 1] == ("    # At least 40 steps per epoch, if there are enough images.")


def test_lines_are_readable() -> None:
    comments = [line for line in recommended().search_yaml.splitlines() if "# " in line]
    assert max(map(len, comments)) <= 100


@pytest.mark.parametrize("hours", [1, 2, 4, 12])
def test_expected_time_fits_the_budget(hours: float) -> None:
    plan = recommended(hours=hours).plan
    preparation = max(plan.base_s, plan.pool_s)
    trials = plan.trials * plan.trial_s / LAPTOP.trials_in_flight
    finish = math.ceil(plan.finished / LAPTOP.trials_in_flight) * plan.finish_s
    assert finish <= 0.12 * hours * HOUR
    assert 0.4 * hours * HOUR < preparation + trials + finish <= 0.85 * hours * HOUR


def test_a_finishing_training_is_up_to_four_times_as_long_as_a_trial() -> None:
    found = recommended(hours=4)
    budget = found.search.budget
    assert budget.finish is not None
    assert budget.finish.detectors == 3
    assert budget.finish.epochs == found.plan.finish_epochs
    assert 2 <= budget.finish.epochs / found.search.trial.epochs <= 4


@pytest.mark.parametrize(
    ("train_images", "trial_epochs", "detectors", "epochs"),
    [(205, 2, 2, 8), (3000, 1, 1, 1)],
    ids=["few", "many images"],
)
def test_short_budget_finishes_fewer_detectors_and_each_at_least_as_long_as_a_trial(
    train_images: int, trial_epochs: int, detectors: int, epochs: int
) -> None:
    found = recommended(replace(CELLS, train_images=train_images), hours=0.1)
    assert found.search.trial.epochs == trial_epochs
    assert found.search.budget.finish == FinishBudgetSpec(detectors=detectors, epochs=epochs)


def test_trials_are_shorter_than_the_papers_where_few_would_fit_the_time() -> None:
    assert recommended(hours=4).search.trial.epochs == 3
    short = recommended(replace(CELLS, train_images=2000), hours=0.1)
    assert short.search.trial.epochs == 1  # 250 steps
    assert "# 250 steps; the paper's 3 epochs would leave time for few trials." in short.search_yaml
    assert "Only 6 trials of" in short.plan.notes[-1]
    assert short.search.strategy.student_frozen_trials == 0  # type: ignore[union-attr]


def test_split_of_the_time_into_search_and_finish_has_a_reason() -> None:
    lines = recommended().search_yaml.splitlines()
    where = next(i for i, line in enumerate(lines) if line.startswith("    epochs:") and i > 60)
    reason = " ".join(line.strip(" #") for line in lines[where - 3 : where])
    assert "12% of the budget together; the trials have 30%" in reason


def test_more_time_gives_a_larger_student() -> None:
    small, large = recommended(hours=0.5).search.base, recommended(hours=12).search.base
    assert small.base_channels is not None
    assert large.base_channels is not None
    assert small.base_channels < large.base_channels


def test_short_budget_is_said() -> None:
    notes = " ".join(recommended(hours=0.1).plan.notes)
    assert "The budget is short for this machine" in notes
    assert "Expect a low AP" in notes


def test_large_data_set_is_seen_at_most_24_times() -> None:
    plan = recommended(replace(CELLS, train_images=20_000), Machine(cpus=8, gpus=8), 300).plan
    assert plan.base_epochs == 24


def test_gpus_train_one_trial_each() -> None:
    resources = recommended(machine=Machine(cpus=16, gpus=2)).search.resources
    assert (resources.gpus_per_trial, resources.trials_in_flight) == (1, 2)
    assert resources.cpus_per_trial == 8


def test_one_stage_checkpoint_is_distilled_by_methods_that_fit_it() -> None:
    checkpoint = {"config": "retinanet_r50_fpn_1x_coco", "checkpoint": "/models/retinanet.pth"}
    loaded = replace(recommended(hours=12).plan.student, family=Family.RETINANET, anchor_scale=4)
    found = recommended(hours=12, start=Start(section={"mmdet": checkpoint}, loaded=loaded))
    methods = [method.name for method in found.search.distillation.methods]
    assert methods == ["proposal_feature", "prediction_conversion"]
    assert [method.weight for method in found.search.distillation.methods] == [None, 0.3]
    assert found.search.base.mmdet is not None
    check_pool(found.search, found.pool)


def test_losses_of_a_short_trial_have_their_default_weights() -> None:
    methods = recommended().search.distillation.methods
    assert [method.weight for method in methods] == [None, None, None, None]


def test_a_student_of_the_teachers_family_inherits_their_neck_and_head() -> None:
    found = recommended()
    assert found.search.distillation.methods[-1].name == "inheriting"
    assert found.pool.space.neck_channels == (found.search.head.neck_channels,)
    check_pool(found.search, found.pool)


def test_pretrained_weights_make_the_published_width() -> None:
    weights = {"torchvision": "ResNet18_Weights.IMAGENET1K_V1"}
    found = recommended(hours=12, start=Start(pretrained={"resnet18": weights}))
    base = found.search.base
    assert base.pretrained is not None
    assert (base.backbone, base.base_channels) == ("resnet18", 64)
    assert base.training.learning_rate == 0.005
    assert found.pool.pretrained is None, "its blocks are those of a ResNet-50"


def test_pool_starts_from_the_weights_of_a_resnet50() -> None:
    weights = {"timm": "resnet50.a1_in1k"}
    gpus = Machine(cpus=16, gpus=8)
    found = recommended(machine=gpus, hours=300, start=Start(pretrained={"resnet50": weights}))
    assert found.search.base.backbone == "resnet50"
    assert found.pool.pretrained is not None
    assert found.pool.pretrained.timm == "resnet50.a1_in1k"


def test_facts_are_read_from_the_statistics_of_a_check() -> None:
    train = {
        "images": 205,
        "most_objects_in_an_image": 28,
        "image_width_px": {"median": 320},
        "image_height_px": {"median": 240},
        "box_short_side_share": {"p10": 0.12},
    }
    statistics = {
        "classes": {"RBC": {}, "WBC": {}, "Platelets": {}},
        "splits": {"train": train, "validation": {"images": 87}},
    }
    assert DataFacts.of(statistics) == CELLS


def test_data_without_boxes_is_refused() -> None:
    splits = {"train": {"box_short_side_share": None}, "validation": {}}
    statistics = {"classes": {}, "splits": splits}
    with pytest.raises(InvalidValueError, match="no boxes"):
        DataFacts.of(statistics)


@pytest.mark.parametrize("boxes", [None, {"median": 0.2}], ids=["none", "without p10"])
def test_statistics_of_an_earlier_version_are_refused(boxes: dict[str, float] | None) -> None:
    splits = {"train": {"box_short_side_share": boxes}, "validation": {}}
    statistics = None if boxes is None else {"classes": {}, "splits": splits}
    with pytest.raises(InvalidValueError, match="check it again"):
        DataFacts.of(statistics)
