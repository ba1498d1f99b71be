"""Searches through every service of docker-compose.yml, as processes of this machine.

PostgreSQL, the S3 server and Ray are real, the control plane runs without torch, and Ray has two
nodes; only the containers are missing. `make test-deploy`.
"""

import json
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from api.client import Client
from detection.data.shapes import make_shapes
from searchd.domain.lifecycle import DatasetStatus, SearchStatus, TrialStatus
from searchd.spec import PoolSpec, SearchSpec
from searchd.store import Database, downgrade
from tests.deploy.stack import Stack, running_stack
from tests.e2e.specs import ONE_AT_A_TIME, POOL, SEARCH

pytestmark = [pytest.mark.deploy, pytest.mark.e2e, pytest.mark.timeout(1800)]
SERVICES = ("postgres", "artifacts", "ray-head", "api", "coordinator", "ray-worker-cpu")
SMALL = {**SEARCH, "budget": {"max_trials": 2, "finish": None}, "control": False}


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with tempfile.TemporaryDirectory(prefix="sd-") as folder, running_stack(Path(folder)) as stack:
        stack.start(*SERVICES)
        yield stack


@pytest.fixture(scope="module")
def token(stack: Stack) -> str:
    return stack.run("api", "searchd", "token", "create", "me", "--role", "admin").strip()


@pytest.fixture(scope="module")
def client(stack: Stack, token: str) -> Iterator[Client]:
    with Client(stack.url, token=token) as client:
        yield client


@pytest.fixture(scope="module")
def teachers(stack: Stack, client: Client, token: str) -> str:
    """The name of a pool that is trained on the data set `shapes`, uploaded to the S3 server."""
    folder = stack.folder / "shapes"
    make_shapes(folder, num_train=28, num_validation=8, num_test=8, image_size=64)
    add = ("dataset", "add", "shapes", str(folder), "--upload", "s3://datasets/shapes")
    stack.run("api", "searchd", *add, SEARCHD_URL=stack.url, SEARCHD_TOKEN=token)
    dataset = client.wait_for_dataset("shapes", poll_s=0.5)
    assert dataset.status is DatasetStatus.READY, dataset.status_reason
    return client.create_pool(PoolSpec.model_validate(POOL)).name


@pytest.fixture(scope="module")
def first(client: Client, teachers: str) -> str:
    """The id of a search that ran to its end."""
    submitted = client.submit_search(SearchSpec.model_validate({**SMALL, "pool": teachers}))
    ended = client.wait_for_search(submitted.id, poll_s=0.5)
    assert ended.status is SearchStatus.SUCCEEDED, ended.status_reason
    return ended.id


def test_the_detector_of_a_search_is_downloaded(client: Client, first: str, tmp_path: Path) -> None:
    best = client.pareto(first).front[0]
    files = {file.name: file for file in client.get_detector(best.trial_id).artifacts}

    got = client.download(best.trial_id, "student", tmp_path / "student.safetensors")

    assert files["student"].uri.startswith(f"s3://searchd/artifacts/searches/{first}/")
    assert got.stat().st_size == files["student"].size_bytes > 100_000


@pytest.mark.usefixtures("first")
def test_workers_copied_the_data_set_by_its_hash(stack: Stack) -> None:
    contents = [path for path in (stack.folder / "cache/contents").rglob("*") if path.is_file()]

    assert len(contents) >= 28 + 8 + 8
    assert all(path.stat().st_nlink >= 2 for path in contents if path.stat().st_size > 10_000)


def test_a_backup_is_restored_into_another_database(
    stack: Stack, client: Client, first: str, tmp_path: Path
) -> None:
    stack.run("api", "searchd", "backup", str(tmp_path / "backup"))
    url = stack.database_url
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text("CREATE DATABASE restored"))
    engine.dispose()
    other = url.removesuffix("searchd") + "restored"

    stack.run("api", "searchd", "restore", str(tmp_path / "backup"), SEARCHD_DATABASE_URL=other)

    with closing(Database(other)) as database, database.read() as session:
        trials = session.scalar(text("SELECT count(*) FROM trials"))
    assert trials == len(list(client.trials(first)))
    note = json.loads((tmp_path / "backup/backup.json").read_text())
    student = f"artifacts/searches/{first}/base/attempt-1/student.safetensors"
    assert note["artifacts"] == "s3://searchd/artifacts"
    assert (tmp_path / "backup" / student).is_file()


@pytest.mark.usefixtures("first")
def test_a_running_search_continues_after_an_upgrade(stack: Stack, client: Client) -> None:
    longer = {"name": "second", "budget": {"max_trials": 4, "finish": None}}
    spec = SearchSpec.model_validate({**SMALL, **longer, "resources": ONE_AT_A_TIME})
    search = client.submit_search(spec).id
    stack.wait_until(lambda: len(succeeded(client, search)) >= 2, "coordinator")
    before = succeeded(client, search)

    stack.stop("coordinator", "api", "ray-worker-cpu", "ray-head")
    downgrade(stack.database_url, "-1")  # as an earlier version left it
    stack.start("ray-head", "api", "coordinator", "ray-worker-cpu")

    ended = client.wait_for_search(search, poll_s=0.5)
    assert ended.status is SearchStatus.SUCCEEDED, ended.status_reason
    after = succeeded(client, search)
    assert before.items() <= after.items()
    assert len(after) == 5  # the base and four trials
    assert max(attempt for attempt, _ in after.values()) <= 2


def succeeded(client: Client, search: str) -> dict[str, tuple[int, float | None]]:
    """Return attempt and score of each trial that has succeeded, by its name."""
    return {
        trial.name: (trial.attempt, trial.score)
        for trial in client.trials(search)
        if trial.status is TrialStatus.SUCCEEDED
    }
