"""What a search would take, asked over HTTP before anything runs."""

import pytest

from api.client import Client
from searchd.spec import BudgetSpec, RandomSpec, SearchSpec, TrainingSpec
from searchd.store import Database, datasets, searches
from tests.api.service import Service
from tests.searchd.store import factories

TRIAL = TrainingSpec(epochs=2, resolutions=(factories.SMALL,))


def spec(name: str = "next", **changes: object) -> SearchSpec:
    base = factories.search_spec().base.model_copy(update={"training": TRIAL})
    given = {"trial": TRIAL, "base": base, "budget": BudgetSpec(max_trials=10, patience=4)}
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


def test_limits_make_an_early_end_possible(database: Database, client: Client) -> None:
    budget = BudgetSpec(max_trials=10, max_wall_hours=1)

    assert client.forecast_search(spec(budget=budget)).trials.least == 1
    with database.read() as session:
        assert searches.page(session).items == []


def test_what_would_be_refused_is_told_beside_it(client: Client) -> None:
    found = client.forecast_search(spec())

    assert len(found.refusals) == 1
    assert "dataset='shapes' does not exist" in found.refusals[0]
    assert found.worker_hours is None
    assert "hours and bytes are not known" in found.basis[0]
