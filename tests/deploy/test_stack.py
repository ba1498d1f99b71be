"""A search through every service of docker-compose.yml, as processes of this machine.

PostgreSQL, the S3 server and Ray are real; only the containers are missing. `make test-deploy`.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from api.client import Client
from detection.data.shapes import make_shapes
from searchd.domain.lifecycle import DatasetStatus, SearchStatus
from searchd.spec import PoolSpec, SearchSpec
from tests.deploy.stack import Stack, running_stack
from tests.e2e.specs import POOL, SEARCH

pytestmark = [pytest.mark.deploy, pytest.mark.e2e, pytest.mark.timeout(1800)]
SMALL = {
    **SEARCH,
    "budget": {"max_trials": 2, "finish": None},
    "control": False,
}


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """All services with two workers' CPUs on a second Ray node."""
    with tempfile.TemporaryDirectory(prefix="sd-") as folder, running_stack(Path(folder)) as stack:
        stack.start("postgres", "artifacts", "ray-head", "api", "coordinator", "ray-worker-cpu")
        yield stack


@pytest.fixture(scope="module")
def client(stack: Stack) -> Iterator[Client]:
    token = stack.run("api", "searchd", "token", "create", "me", "--role", "admin").strip()
    with Client(stack.url, token=token) as client:
        yield client


def test_a_search_ends_and_its_detector_is_downloaded(
    stack: Stack, client: Client, tmp_path: Path
) -> None:
    shapes = make_shapes(
        stack.datasets / "shapes", num_train=28, num_validation=8, num_test=8, image_size=64
    )
    client.create_dataset(shapes)
    dataset = client.wait_for_dataset("shapes", poll_s=0.5)
    assert dataset.status is DatasetStatus.READY, dataset.status_reason
    client.create_pool(PoolSpec.model_validate(POOL))

    submitted = client.submit_search(SearchSpec.model_validate(SMALL))
    ended = client.wait_for_search(submitted.id, poll_s=0.5)

    assert ended.status is SearchStatus.SUCCEEDED, ended.status_reason
    best = client.pareto(ended.id).front[0]
    student = client.get_detector(best.id).artifacts[0]
    assert student.uri.startswith("s3://searchd/artifacts/searches/")
    file = client.download(best.id, "student", tmp_path / "student.safetensors")
    assert file.stat().st_size > 100_000
