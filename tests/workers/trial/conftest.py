"""A database with a pool that is ready, and searches over it that are run to their end."""

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from searchd.domain.lifecycle import PoolStatus
from searchd.domain.trial import Outcome
from searchd.messages.reports import PoolReport
from searchd.messages.tasks import PoolRef
from searchd.spec import BaseSpec, DatasetSpec, ScoreSpec, SearchSpec
from searchd.store import Database, upgrade
from searchd.store.resources import datasets, pools
from searchd.store.work import queue
from tests.searchd.store import factories
from tests.workers.trial.runs import PHASE, TRAINING, Search
from tests.workers.trial.tasks import HEAD, SIZE, SPACE


@pytest.fixture(scope="module")
def database(
    dataset: DatasetSpec, pool: PoolRef, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Database]:
    """With the data set and a pool that are READY."""
    folder = tmp_path_factory.mktemp("database")
    url = f"sqlite:///{folder}/searchd.sqlite"
    upgrade(url)
    database = Database(url)
    with database.write() as session:
        data = datasets.create(session, dataset)
    with factories.leased(database, f"dataset_check-{data.id}") as (session, lease):
        datasets.record_ready(session, lease, {"class_names": ["a", "b", "c", "d"]})
    spec = factories.pool_spec(
        dataset=dataset.name, space=SPACE, head=HEAD, bn_reset_images=8, phases=(PHASE,)
    )
    with database.write() as session:
        row = pools.create(session, spec)
    report = PoolReport(pool=row.id, attempt=1, outcome=Outcome.SUCCEEDED, supernet=pool.supernet)
    with factories.leased(database, f"pool-{row.id}") as (session, lease):
        queue.advance(session, lease, PoolStatus.TRAINING, "started")
        pools.record_report(session, lease, report)
    yield database
    database.close()


@pytest.fixture(scope="module")
def search(
    database: Database, dataset: DatasetSpec, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Search]:
    """Runs a search, of which the strategy and more is given, to its end."""
    numbers = itertools.count()

    def run(**spec: Any) -> Search:
        values = {
            "name": f"s{next(numbers)}",
            "dataset": dataset.name,
            "pool": "teachers",
            "base": BaseSpec(backbone="resnet18", base_channels=8, training=TRAINING),
            "head": HEAD,
            "trial": TRAINING,
            "score": ScoreSpec(base_resolution=SIZE),
            "control": False,
        }
        folder = tmp_path_factory.mktemp("search")
        return Search(database, folder, SearchSpec.model_validate({**values, **spec}))

    return run
