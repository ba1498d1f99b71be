"""What a search would take, asked over HTTP before anything runs."""

import pytest

from api.client import Client
from searchd.spec import (
    BudgetSpec,
    FinishBudgetSpec,
    PipelineSpec,
    RandomSpec,
    SearchSpec,
    TrainingSpec,
)
from searchd.store import Database, paging
from searchd.store.models import EpochMetricsRow, SearchRow
from searchd.store.resources import datasets, pools, searches
from tests.api.service import Service
from tests.searchd.store import factories

TRIAL = TrainingSpec(epochs=2, resolutions=(factories.SMALL,))
BUDGET = BudgetSpec(max_trials=10, patience=4, finish=None)


def spec(name: str = "next", **changes: object) -> SearchSpec:
    base = factories.search_spec().base.model_copy(update={"training": TRIAL})
    given = {"trial": TRIAL, "base": base, "budget": BUDGET}
    return factories.search_spec(name, **{**given, **changes})


@pytest.fixture
def database(service: Service) -> Database:
    """With a data set of 200 images and a pool."""
    with service.database.write() as session:
        row = datasets.create(session, factories.dataset_spec())
    with factories.leased(service.database, f"dataset_check-{row.id}") as (session, lease):
        counts = {"train": {"num_images": 150}, "validation": {"num_images": 50}}
        datasets.record_ready(session, lease, {"class_names": list("abcd"), **counts})
    factories.add_pool(service.database)
    return service.database


@pytest.mark.usefixtures("database")
def test_without_earlier_trials_it_is_an_estimate_and_says_so(client: Client) -> None:
    found = client.forecast_search(spec())

    assert found.refusals == []
    assert (found.trials.least, found.trials.most) == (5, 10)
    assert (found.controls.least, found.controls.most) == (1, 10)
    assert found.worker_hours is not None
    assert 0 < found.worker_hours.least < found.worker_hours.most
    assert found.gpu_hours is not None
    assert found.gpu_hours.most == 0
    assert found.disk_bytes is not None
    assert [line.split(":")[:2] for line in found.basis[:2]] == [
        ["trials", " estimate"],
        ["base", " estimate"],
    ]


def test_earlier_trials_on_the_data_set_tell_better(database: Database, client: Client) -> None:
    with database.write() as session:
        searches.create(session, spec(name="first"))
    with database.read() as session:
        row = searches.get(session, "first")
    with factories.leased(database, f"search-{row.id}") as (session, lease):
        pass
    factories.run_trial(database, lease, factories.base_proposal())
    factories.run_trial(database, lease, factories.search_proposal(0))

    found = client.forecast_search(spec(control=False, strategy=RandomSpec()))

    # The base and 10 trials of 2 epochs, 2.5 s each as the factories have it.
    assert found.worker_hours is not None
    assert found.worker_hours.least == found.worker_hours.most == pytest.approx(11 * 5 / 3600)
    assert "1 earlier trials on this data set took 2.5 s per epoch" in found.basis[0]


@pytest.mark.usefixtures("database")
def test_it_says_how_well_short_trials_rank_where_they_choose(client: Client) -> None:
    found = client.forecast_search(spec())
    pruned = client.forecast_search(spec(strategy=PipelineSpec(macs_fraction=0.5)))

    assert found.short_trials is not None
    assert "Kendall's tau of" in found.short_trials
    assert pruned.short_trials is None


@pytest.mark.usefixtures("database")
def test_search_and_finish_are_forecast_apart(client: Client) -> None:
    found = client.forecast_search(
        spec(budget=BUDGET.model_copy(update={"finish": FinishBudgetSpec(epochs=8, detectors=2)}))
    )

    assert (found.search.epochs.least, found.search.epochs.most) == (2 + 5 * 2, 2 + 10 * 2)
    assert (found.finish.trainings.most, found.finish.epochs.most) == (2, 16)
    assert (found.controls.least, found.controls.most) == (2, 11)
    assert found.worker_hours is not None
    assert found.search.worker_hours is not None
    assert found.finish.worker_hours is not None
    parts = found.search.worker_hours.most + found.finish.worker_hours.most
    assert 0 < parts < found.worker_hours.most


def test_limits_make_an_early_end_possible(database: Database, client: Client) -> None:
    budget = BudgetSpec(max_trials=10, max_wall_hours=1)

    assert client.forecast_search(spec(budget=budget)).trials.least == 1
    with database.read() as session:
        assert paging.page(session, SearchRow).items == []


def test_what_would_be_refused_is_shown_beside_it(client: Client) -> None:
    found = client.forecast_search(spec())

    assert len(found.refusals) == 1
    assert "dataset: data set 'shapes' does not exist" in found.refusals[0]
    assert found.worker_hours is None
    assert "hours and bytes are not known" in found.basis[0]


@pytest.mark.usefixtures("database")
def test_search_that_confirms_may_train_each_trial_twice(client: Client) -> None:
    plain, confirming = (client.forecast_search(spec(confirm=each)) for each in (False, True))

    assert plain.worker_hours is not None
    assert confirming.worker_hours is not None
    assert confirming.worker_hours.least == plain.worker_hours.least
    assert confirming.worker_hours.most > plain.worker_hours.most


def test_distillation_is_forecast_by_its_stages(database: Database, client: Client) -> None:
    with database.write() as session:
        searches.create(session, spec(name="first"))
    with database.read() as session:
        row = searches.get(session, "first")
    with factories.leased(database, f"search-{row.id}") as (session, lease):
        pass
    factories.run_trial(database, lease, factories.base_proposal())
    factories.run_trial(database, lease, factories.search_proposal(0))
    base = spec().base
    wanted = factories.distillation_spec(
        student={"base": base.model_dump()}, trial=TRIAL, baselines=("direct", "no_teacher")
    )

    found = client.forecast_distillation(wanted)

    assert found.refusals == []
    # From one teacher, which is `direct` too, and a stage without, to two of each.
    assert (found.trials.least, found.trials.most) == (2, 6)
    assert found.worker_hours is not None
    assert found.worker_hours.least == pytest.approx((1 + 2) * 5 / 3600)
    assert found.worker_hours.most == pytest.approx((1 + 6) * 5 / 3600)
    assert "1 earlier trials on this data set took 2.5 s per epoch" in found.basis[0]
    assert "the measuring of adaptation costs" in found.basis[-1]


def test_distillation_of_a_finished_student_needs_no_base(
    database: Database, client: Client
) -> None:
    search, lease = factories.start_search(database)
    factories.run_trial(database, lease, factories.base_proposal())
    wanted = factories.distillation_spec(
        student={"trial": f"{search.id}-base"}, order=("largest", "smallest")
    )

    found = client.forecast_distillation(wanted)

    assert (found.trials.least, found.trials.most) == (2, 2)
    assert [line.split(":")[:2] for line in found.basis[:1]] == [["trials", " estimate"]]
    assert "adaptation costs" not in found.basis[-1]


@pytest.mark.usefixtures("database")
def test_pool_without_earlier_ones_is_an_estimate(client: Client) -> None:
    wanted = factories.pool_spec("other")

    one, four = (
        client.forecast_pool(wanted.model_copy(update={"gpus_per_worker": gpus})) for gpus in (1, 4)
    )

    assert (one.refusals, one.epochs) == ([], 48 + 24 + 36)
    assert one.worker_hours is not None
    assert one.worker_hours > 0
    assert four.gpu_hours == pytest.approx(4 * one.worker_hours)
    assert one.disk_bytes is not None
    assert "phase supernet: estimate: no phase of this kind" in one.basis[0]


def test_earlier_pools_tell_better(database: Database, client: Client) -> None:
    with database.write() as session:
        row = pools.get(session, "teachers")
        for phase in ("supernet", "shrink-1"):
            metrics = EpochMetricsRow.of(factories.epoch(1))
            metrics.pool_id, metrics.phase = row.id, phase
            session.add(metrics)
    two = factories.pool_spec("other", num_workers=2)

    found = client.forecast_pool(two)

    # 108 epochs of 2.5 s by one worker; two workers share them.
    assert found.worker_hours == pytest.approx(108 * 2.5 / 3600)
    assert found.gpu_hours == 0
    assert (
        "phase shrink-2: 1 earlier phases on this data set took 2.5 s per epoch" in found.basis[2]
    )
    assert client.forecast_pool(factories.pool_spec()).refusals != []


def test_pool_on_an_unknown_data_set_is_refused_and_not_forecast(client: Client) -> None:
    found = client.forecast_pool(factories.pool_spec())

    assert "dataset: data set 'shapes' does not exist" in found.refusals[0]
    assert (found.worker_hours, found.gpu_hours, found.disk_bytes) == (None, None, None)
    assert "hours and bytes are not known" in found.basis[0]


@pytest.mark.usefixtures("database")
def test_it_says_which_learning_rates_follow_from_the_numbers_of_images(client: Client) -> None:
    base = factories.search_spec().base
    searched = client.forecast_search(factories.search_spec("next", budget=BudgetSpec()))
    distilled = client.forecast_distillation(
        factories.distillation_spec(student={"base": base.model_dump()})
    )
    trained = client.forecast_pool(factories.pool_spec("other", num_workers=2))

    assert searched.learning_rates == [
        "base: 0.005 for 4 images a step, from 0.02 for 16",
        "trials: 0.0025 for 4 images a step, from 0.01 for 16",
        "finishing trainings: 0.0025 for 4 images a step, from 0.01 for 16",
    ]
    assert distilled.learning_rates == [
        "base: 0.005 for 4 images a step, from 0.02 for 16",
        "stages: 0.0025 for 4 images a step, from 0.01 for 16",
    ]
    assert trained.learning_rates == [
        "phase supernet: 0.0075 for 4 images a step, from 0.12 for 64",
        "phase shrink-1: 0.0025 for 4 images a step, from 0.04 for 64",
        "phase shrink-2: 0.0025 for 4 images a step, from 0.04 for 64",
    ]


ICD = {"methods": [{"name": "icd", "options": {"warmup_iterations": 300}}]}
"""Longer than a trial: 2 epochs of 150 images, 4 a step, are 76 iterations."""


@pytest.mark.usefixtures("database")
def test_a_method_that_is_not_warm_within_a_trial_is_warned_about(client: Client) -> None:
    warned = spec(distillation=ICD)
    expected = [
        "distillation: icd warms up for 300 iterations and a trial has 76: it teaches a student "
        "from trial 4 of its lineage on; leave warmup_iterations out for a tenth of a trial"
    ]

    assert client.forecast_search(warned).method_warnings == expected
    assert client.validate(warned).warnings == expected
    assert client.forecast_search(spec()).method_warnings == []


@pytest.mark.usefixtures("database")
def test_a_method_that_is_not_warm_within_a_stage_is_refused(client: Client) -> None:
    wanted = factories.distillation_spec(trial=TRIAL, distillation=ICD)

    (refusal,) = client.forecast_distillation(wanted).refusals

    assert refusal == (
        "teacher 'largest': icd warms up for warmup_iterations=300 and a stage has 76 iterations, "
        "so it would teach nothing; give less, or leave it out for a tenth of the stage"
    )
