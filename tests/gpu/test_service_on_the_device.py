"""A pool on Ray Train, and a search with two trials beside each other on one GPU."""

from collections.abc import Iterator

import pytest

from api.client import Client
from cli.local_service import Service
from detection.data.shapes import make_shapes
from searchd.domain.lifecycle import DatasetStatus, PoolStatus, SearchStatus, TrialStatus
from searchd.spec import PoolSpec, SearchSpec
from tests.e2e.specs import POOL, SEARCH

pytestmark = [pytest.mark.gpu, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    folder = tmp_path_factory.mktemp("service")
    environment = {"SEARCHD_SLICE_S": "1", "SEARCHD_POLL_S": "0.3"}
    with (
        Service(folder, num_cpus=4, api_port=0, environment=environment) as service,
        Client(service.url) as client,
    ):
        client.create_dataset(
            make_shapes(folder / "data", num_train=28, num_validation=8, image_size=64)
        )
        assert client.wait_for_dataset("shapes", poll_s=0.2).status is DatasetStatus.READY
        yield client


def test_a_pool_and_two_trials_at_a_time_share_the_device(client: Client, share: float) -> None:
    pool = {**POOL, "gpus_per_worker": 1 if share else 0}
    client.create_pool(PoolSpec.model_validate(pool))
    trained = client.wait_for_pool("teachers", poll_s=0.2)
    assert trained.status is PoolStatus.READY, trained.status_reason
    spec = {
        **SEARCH,
        "budget": {"max_trials": 4, "finish": None},
        "resources": {"trials_in_flight": 2, "gpus_per_trial": share, "cpus_per_trial": 2},
    }

    submitted = client.submit_search(SearchSpec.model_validate(spec))
    ended = client.wait_for_search(submitted.id, poll_s=0.2)

    assert ended.status is SearchStatus.SUCCEEDED, ended.status_reason
    trials = list(client.trials(submitted.id))
    assert all(trial.status is TrialStatus.SUCCEEDED for trial in trials)
    assert {"base", "0", "1", "2", "3"} <= {trial.name for trial in trials}
