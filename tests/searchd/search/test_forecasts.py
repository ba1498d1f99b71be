"""Forecasts of whole runs, from the costs of single trials."""

from dataclasses import replace

import pytest

from searchd.domain.architecture import preset
from searchd.search.cost_model import Images, Measured, Training
from searchd.search.forecasts import (
    DistillationWork,
    Known,
    PoolWork,
    Range,
    Resources,
    SearchWork,
    forecast_distillation,
    forecast_pool,
    forecast_search,
)

TRAINING = Training(
    backbone=preset("resnet18"), has_teacher=True, on_gpu=True, mean_area=400 * 400, epochs=3
)
CONTROL = replace(TRAINING, has_teacher=False)
RESOURCES = Resources(trials_in_flight=2, cpus_per_trial=1, gpus_per_trial=0.5)
SEARCH = SearchWork(
    base=CONTROL,
    trial=TRAINING,
    evaluated_areas=(),
    finish=None,
    finished=0,
    trials=Range(least=5, most=10),
    control_chains=1,
    repetitions=0,
    searches_methods=False,
    confirms=False,
    resources=RESOURCES,
)
# A trial takes an hour with a teacher, and half an hour without; it stores 1000 bytes.
KNOWN = Known(
    images=Images(train=1000, validation=100),
    earlier=(
        Measured(training=TRAINING, epoch_s=1200, rest_s=0, stored_bytes=1000),
        Measured(training=CONTROL, epoch_s=600, rest_s=0, stored_bytes=1000),
    ),
)
UNKNOWN = Known(images=None, earlier=())


def test_hours_of_a_search_add_up_base_trials_and_controls() -> None:
    found = forecast_search(SEARCH, KNOWN)

    assert found.trials == Range(least=5, most=10)
    assert found.controls == Range(least=1, most=10)
    assert found.worker_hours == Range(least=0.5 + 5 + 0.5, most=0.5 + 10 + 5)
    assert found.gpu_hours == Range(least=3, most=7.75)


def test_finishing_is_told_apart_from_the_search_and_lengthens_the_controls() -> None:
    # A finishing training takes four hours with a teacher, and two without.
    work = replace(SEARCH, finish=replace(TRAINING, epochs=12), finished=3)

    found = forecast_search(work, KNOWN)

    assert found.search.trainings == Range(least=1 + 5, most=1 + 10)
    assert found.search.epochs == Range(least=3 + 15, most=3 + 30)
    assert found.search.worker_hours == Range(least=0.5 + 5, most=0.5 + 10)
    assert found.finish.trainings == Range(least=1, most=3)
    assert found.finish.epochs == Range(least=12, most=36)
    assert found.finish.worker_hours == Range(least=4, most=12)
    assert found.controls == Range(least=2, most=11)
    assert found.worker_hours == Range(least=5.5 + 4 + 0.5 + 2, most=10.5 + 12 + 5 + 2)


def test_no_more_detectors_are_finished_than_there_are_trials() -> None:
    one = replace(SEARCH, finish=TRAINING, finished=3, trials=Range(least=1, most=1))

    assert forecast_search(one, KNOWN).finish.trainings == Range(least=1, most=1)
    assert forecast_search(SEARCH, KNOWN).finish.trainings == Range(least=0, most=0)


def test_repetitions_are_always_trained_and_confirmations_at_most() -> None:
    work = replace(SEARCH, control_chains=0, repetitions=2, confirms=True)

    hours = forecast_search(work, KNOWN).worker_hours

    assert hours == Range(least=0.5 + 5 + 2, most=0.5 + 10 + 2 + 9)


def test_disk_holds_all_students_and_two_checkpoints_of_each_running_trial() -> None:
    found = forecast_search(SEARCH, KNOWN)

    # A base, 10 trials, 10 controls; 2 trials in flight, a checkpoint is twice the weights.
    assert found.disk_bytes == 1000 * (1 + 10 + 10 + 2 * 2 * 2)


@pytest.mark.parametrize(
    ("trial", "reason"),
    [
        (TRAINING, "its images are not counted yet"),
        (replace(TRAINING, backbone=None), "the base is loaded"),
    ],
)
def test_search_on_an_unknown_data_set_says_what_is_missing(trial: Training, reason: str) -> None:
    found = forecast_search(replace(SEARCH, trial=trial), UNKNOWN)

    assert (found.worker_hours, found.gpu_hours, found.disk_bytes) == (None, None, None)
    assert f"{reason}: hours and bytes are not known" in found.basis[0]


def test_distillation_counts_its_base_only_if_it_trains_one() -> None:
    work = DistillationWork(
        base=CONTROL,
        stage=TRAINING,
        evaluated_areas=(),
        stages=Range(least=2, most=6),
        swept=(),
        order=Range(least=1, most=3),
        measures_costs=True,
        resources=RESOURCES,
    )

    assert forecast_distillation(work, KNOWN).worker_hours == Range(least=2.5, most=6.5)
    other = forecast_distillation(replace(work, base=None, measures_costs=False), KNOWN)
    assert other.worker_hours == Range(least=2, most=6)
    assert "adaptation costs" not in other.basis[-1]


def test_distillation_counts_the_order_once_more_for_each_value_of_its_sweep() -> None:
    work = DistillationWork(
        base=None,
        stage=TRAINING,
        evaluated_areas=(),
        stages=Range(least=2, most=6),
        swept=(TRAINING, replace(TRAINING, epochs=2 * TRAINING.epochs)),
        order=Range(least=1, most=3),
        measures_costs=True,
        resources=RESOURCES,
    )

    found = forecast_distillation(work, KNOWN)

    assert found.trials == Range(least=2 + 2, most=6 + 2 * 3)
    epochs = TRAINING.epochs
    assert found.search.epochs == Range(least=(2 + 1 + 2) * epochs, most=(6 + 3 + 2 * 3) * epochs)


def test_pool_adds_up_its_phases_and_stores_two_supernets_and_two_checkpoints() -> None:
    work = PoolWork(
        phases=[("supernet", CONTROL), ("shrink-1", TRAINING)],
        evaluated_areas=(),
        cpus_per_worker=1,
        gpus_per_worker=4,
    )

    found = forecast_pool(work, KNOWN)

    assert found.epochs == 6
    assert found.worker_hours == 1.5
    assert found.gpu_hours == 6
    assert found.disk_bytes == 6000
    assert found.basis[1].startswith("phase shrink-1: 1 earlier phases")
