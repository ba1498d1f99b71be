"""A whole search on PostgreSQL: real coordinator, driver and Ray; workers that train nothing."""

from contextlib import closing
from pathlib import Path

import pytest

from api.client import Client
from benchmarks.postgresql import PostgresqlServer
from cli.local_service import Service
from searchd.domain.lifecycle import PoolStatus, SearchStatus, TrialStatus, WorkStatus
from searchd.spec import (
    BudgetSpec,
    DatasetSpec,
    PoolSpec,
    ResourcesSpec,
    SearchSpec,
    SplitSpec,
)
from searchd.store import Database, events
from searchd.store.work import queue
from tests import fake_workers

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]


def test_a_search_runs_to_its_end(
    postgresql_server: PostgresqlServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    split = SplitSpec(annotations=Path("/data/train.json"), images=Path("/data"))
    spec = SearchSpec(
        name="first",
        dataset="shapes",
        pool="teachers",
        budget=BudgetSpec(max_trials=3, finish=None),
        resources=ResourcesSpec(trials_in_flight=2),
    )
    environment = {
        **fake_workers.ENVIRONMENT,
        "SEARCHD_POLL_S": "0.5",
        "SEARCHD_SLICE_S": "0.1",
    }
    with postgresql_server.database("e2e") as url:
        monkeypatch.setenv("SEARCHD_DATABASE_URL", url)
        service = Service(tmp_path, num_cpus=2, api_port=0, environment=environment)
        with service, Client(service.url) as client:
            client.create_dataset(DatasetSpec(name="shapes", train=split, validation=split))
            client.create_pool(PoolSpec(name="teachers", dataset="shapes"))
            ended = client.wait_for_search(client.submit_search(spec).id, poll_s=0.5)
            statuses = {trial.status for trial in client.trials(ended.id)}
            pool = client.get_pool("teachers")
            front = client.pareto(ended.id).front

        with closing(Database(url)) as database, database.read() as session:
            assert queue.of_resource(session, ended.id).status is WorkStatus.DONE
            numbers = [event.number for event in events.after(session, ended.id)]
        assert numbers == list(range(1, len(numbers) + 1))
        assert (ended.status, ended.status_reason) == (SearchStatus.SUCCEEDED, "budget: 3 trials")
        assert statuses == {TrialStatus.SUCCEEDED}
        assert pool.status is PoolStatus.READY
        assert front
        assert not (tmp_path / "searchd.sqlite").exists()
