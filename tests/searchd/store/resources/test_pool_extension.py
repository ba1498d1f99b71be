"""A pool that continues the training of another one, as a resource."""

import threading
from pathlib import Path

import pytest

from searchd.domain.errors import ConflictError, InvalidValueError, SearchdError
from searchd.driver.pool_training import run_pool
from searchd.messages.reports import PoolReport
from searchd.messages.tasks import PoolTrainingTask
from searchd.settings import Settings
from searchd.store import Database
from searchd.store.resources import pools
from tests.searchd.store import factories


def test_a_continued_pool_is_handed_the_supernet_of_the_other(
    sqlite: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    factories.add_dataset(sqlite)
    factories.add_pool(sqlite)
    with sqlite.write() as session:
        row = pools.create(session, factories.pool_spec().extended(epochs=2))
    assert row.name == "teachers-2"
    seen: list[PoolTrainingTask] = []

    def train(task: PoolTrainingTask, _: object) -> PoolReport:
        seen.append(task)
        return factories.pool_report(task.pool)

    monkeypatch.setattr("searchd.driver.pool_training.connect", lambda _: None)
    monkeypatch.setattr("searchd.driver.pool_training.resolve", lambda _: train)
    with factories.leased(sqlite, f"pool-{row.id}") as (_, lease):
        pass
    run_pool(sqlite, lease, Settings(data_folder=tmp_path), threading.Event())
    with sqlite.read() as session:
        first = pools.reference(session, "teachers")
    assert seen[0].start == first.supernet


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ({"start_from": "nowhere"}, InvalidValueError, "start_from: pool 'nowhere' does not exist"),
        ({"seed": 1}, ConflictError, "pool teachers is queued, not ready"),
        (
            {"head": factories.pool_spec().head.model_copy(update={"head_channels": 8})},
            InvalidValueError,
            "start_from='teachers' has another head than 'teachers-2'",
        ),
    ],
)
def test_what_cannot_be_continued_is_refused(
    sqlite: Database, change: dict[str, object], error: type[SearchdError], match: str
) -> None:
    factories.add_dataset(sqlite)
    factories.add_pool(sqlite, ready=False)
    spec = factories.pool_spec().extended(epochs=2).model_copy(update=change)
    with factories.refused(sqlite, error, match) as session:
        pools.create(session, spec)
