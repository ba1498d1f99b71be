"""What the tests of the whole service share: one service, data set, pool and finished search.

Real service, real Ray, real detectors. The tests that kill the service or pause what it runs have
work of their own in it.
"""

from collections.abc import Iterator

import pytest

from api.client import Client
from cli.local_service import Service
from detection.data.shapes import make_shapes
from searchd.domain.lifecycle import DatasetStatus, SearchStatus
from searchd.spec import PoolSpec, SearchSpec
from tests.e2e.specs import POOL, SEARCH


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("service")
    # Each of this machine's slots counts as a CPU, so that the pool and a trial run side by side.
    environment = {"SEARCHD_SLICE_S": "1", "SEARCHD_POLL_S": "0.3"}
    with Service(folder, num_cpus=3, api_port=0, environment=environment) as service:
        yield service


@pytest.fixture(scope="session")
def client(service: Service, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """Of a service with the data set `shapes` and the pool `teachers`, which may still train."""
    with Client(service.url) as client:
        # An adaptation cost needs more cells than a neck has channels; the coarsest level of an
        # image has one.
        shapes = make_shapes(
            tmp_path_factory.mktemp("data"),
            num_train=28,
            num_validation=8,
            num_test=8,
            image_size=64,
        )
        client.create_dataset(shapes)
        dataset = client.wait_for_dataset("shapes", poll_s=0.2)
        assert dataset.status is DatasetStatus.READY, dataset.status_reason
        client.create_pool(PoolSpec.model_validate(POOL))
        yield client


@pytest.fixture(scope="session")
def search(client: Client) -> str:
    """The id of a search that ran to its end."""
    submitted = client.submit_search(SearchSpec.model_validate(SEARCH))
    ended = client.wait_for_search(submitted.id, poll_s=0.2)
    assert ended.status is SearchStatus.SUCCEEDED, ended.status_reason
    return ended.id
