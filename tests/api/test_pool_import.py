"""Imported pools over HTTP: completed and checked at submission, exported by a download."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from api import loaded_bases
from api.client import ApiError, Client
from api.submission import SubmissionChecks
from detection.base_check import answer
from searchd.messages.base_check import Answer, Request
from searchd.messages.pool_export import WEIGHTS
from searchd.spec import PoolSpec
from searchd.store import Database
from searchd.store.resources import pools
from tests.api.service import Service, serve
from tests.elastic_pool.tiny import make_pool_spec
from tests.exported_pools import write_tiny_export
from tests.searchd.store.factories import add_dataset, add_pool

pytestmark = pytest.mark.timeout(120)  # one check is a process that imports torch

CLASSES = ("a", "b", "c", "d")
"""Those of the data set that `add_dataset` adds."""


@pytest.fixture(scope="module")
def shared_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service that reads the files that specs name."""
    checks = SubmissionChecks(files=True)
    with serve(tmp_path_factory.mktemp("api"), checks=checks) as service:
        yield service


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Checks run here, since another process takes seconds to import torch."""

    def found(request: str, state: object) -> Answer:
        del state
        return answer(Request.model_validate_json(request))

    monkeypatch.setattr(loaded_bases, "_answer", found)


def spec_of(folder: Path) -> PoolSpec:
    return PoolSpec(name="imported", dataset="shapes", source=folder)


def test_spec_is_completed_from_the_folder(
    client: Client, database: Database, tmp_path: Path
) -> None:
    add_dataset(database)
    write_tiny_export(tmp_path, class_names=CLASSES)

    created = client.create_pool(spec_of(tmp_path), key="once")

    assert created.spec.space == make_pool_spec().space
    assert (created.spec.source, created.spec.name) == (tmp_path, "imported")
    assert client.create_pool(spec_of(tmp_path), key="once").id == created.id


@pytest.mark.usefixtures("in_this_process")
def test_other_classes_are_refused_and_nothing_is_created(
    client: Client, database: Database, tmp_path: Path
) -> None:
    add_dataset(database)
    write_tiny_export(tmp_path, class_names=("b", "a", "c", "d"))
    with pytest.raises(ApiError, match=r"has the classes \[b, a, c, d\], but the data set has"):
        client.create_pool(spec_of(tmp_path))
    assert list(client.list_pools()) == []


@pytest.mark.usefixtures("in_this_process")
def test_damaged_weights_are_refused(client: Client, database: Database, tmp_path: Path) -> None:
    add_dataset(database)
    write_tiny_export(tmp_path, class_names=CLASSES)
    content = (tmp_path / WEIGHTS).read_bytes()
    (tmp_path / WEIGHTS).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(ApiError, match="has SHA-256 .* copy the folder again"):
        client.create_pool(spec_of(tmp_path))


def test_folder_that_is_no_export_is_refused(
    client: Client, database: Database, tmp_path: Path
) -> None:
    add_dataset(database)
    with pytest.raises(ApiError, match=r"has no pool\.json; give a folder that"):
        client.create_pool(spec_of(tmp_path))


def test_missing_folder_is_refused(client: Client, database: Database, tmp_path: Path) -> None:
    add_dataset(database)
    with pytest.raises(ApiError, match=r"source: .*nowhere.* does not exist"):
        client.create_pool(spec_of(tmp_path / "nowhere"))


@pytest.mark.usefixtures("in_this_process")
def test_forecast_of_an_import_has_no_epochs(
    client: Client, database: Database, tmp_path: Path
) -> None:
    add_dataset(database)
    write_tiny_export(tmp_path, class_names=CLASSES)
    found = client.forecast_pool(spec_of(tmp_path))
    assert (found.refusals, found.epochs, found.worker_hours) == ([], 0, 0.0)
    assert "is imported and not trained" in found.basis[0]


def test_weights_that_are_gone_are_410(service: Service, database: Database) -> None:
    add_dataset(database)
    add_pool(database)  # its file was never written
    assert httpx.get(f"{service.url}/api/v1/pools/teachers/supernet").status_code == 410


def test_weights_of_a_pool_in_training_are_409(service: Service, database: Database) -> None:
    add_dataset(database)
    add_pool(database, ready=False)
    response = httpx.get(f"{service.url}/api/v1/pools/teachers/supernet")
    assert response.status_code == 409
    assert response.json()["detail"] == "pool teachers is queued, and has no weights yet"


def test_download_of_weights_is_checked_by_their_sha256(
    client: Client, database: Database, tmp_path: Path
) -> None:
    add_dataset(database)
    add_pool(database)
    with database.write() as session:
        row = pools.supernet(session, pools.get(session, "teachers").id)
        assert row is not None
        row.uri, row.size_bytes = str(tmp_path / "stored"), 3
        row.sha256 = hashlib.sha256(b"abc").hexdigest()
    (tmp_path / "stored").write_bytes(b"abc")
    assert client.download_supernet("teachers", tmp_path / "got").read_bytes() == b"abc"
    (tmp_path / "stored").write_bytes(b"xyz")
    with pytest.raises(ApiError, match="arrived damaged"):
        client.download_supernet("teachers", tmp_path / "again")
    assert not (tmp_path / "again").exists()
