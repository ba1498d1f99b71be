"""`searchd pool export` and `searchd pool import` from the command line."""

import json
from pathlib import Path

import pytest
from safetensors.torch import save_file

from detection.exported_pool import read_supernet
from elastic_pool.supernet import Supernet
from searchd import artifacts
from searchd.domain.lifecycle import PoolStatus
from searchd.domain.trial import Outcome
from searchd.messages.pool_export import DESCRIPTION, WEIGHTS, imported_spec, read_description
from searchd.messages.reports import PoolReport
from searchd.spec import PoolSpec
from searchd.store import Database
from searchd.store.resources import pools
from searchd.store.work import queue
from tests.cli.conftest import Run
from tests.elastic_pool.tiny import make_pool_spec
from tests.exported_pools import write_tiny_export
from tests.searchd.store.factories import add_dataset, add_pool, leased, pool_report

pytestmark = pytest.mark.timeout(60)  # real detectors are built


def add_trained_pool(database: Database, folder: Path) -> Supernet:
    """A ready pool "tiny" on the data set "shapes", with the weights of a supernet; the supernet.

    The data set has the classes a, b, c and d.
    """
    add_dataset(database)
    spec = make_pool_spec()
    supernet = Supernet(spec.space.space, spec.head, num_classes=4)
    file = folder / "stored.safetensors"
    save_file({name: each.contiguous() for name, each in supernet.weights().items()}, file)
    stored = artifacts.write(str(file), file.read_bytes(), name="supernet")
    with database.write() as session:
        row = pools.create(session, spec)
    report = pool_report(row.id)
    trained = PoolReport(
        pool=row.id,
        attempt=1,
        outcome=Outcome.SUCCEEDED,
        supernet=stored,
        subnets=report.subnets,
        epochs=report.epochs,
    )
    with leased(database, f"pool-{row.id}") as (session, lease):
        queue.advance(session, lease, PoolStatus.TRAINING, "started")
        pools.record_report(session, lease, trained)
    return supernet


def test_exported_folder_describes_itself(searchd: Run, database: Database, tmp_path: Path) -> None:
    supernet = add_trained_pool(database, tmp_path)

    result = searchd("pool", "export", "tiny", "--out", tmp_path / "out")

    assert result.exit_code == 0, result.stderr
    assert "float32" in result.stdout
    export = read_description(tmp_path / "out")
    assert export.spec == make_pool_spec()
    assert export.class_names == ("a", "b", "c", "d")
    assert len(export.subnets) == 2
    weights = read_supernet(tmp_path / "out")
    assert all(weights[name].equal(each) for name, each in supernet.weights().items())
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [DESCRIPTION, WEIGHTS]


def test_export_in_half_the_space(searchd: Run, database: Database, tmp_path: Path) -> None:
    add_trained_pool(database, tmp_path)
    result = searchd(
        "pool", "export", "tiny", "--out", tmp_path / "out", "--half", "--format", "json"
    )
    assert result.exit_code == 0, result.stderr
    assert "as float16" in json.loads(result.stdout)["size"]
    assert read_description(tmp_path / "out").dtype == "float16"


def test_pool_that_is_not_trained_cannot_be_exported(
    searchd: Run, database: Database, tmp_path: Path
) -> None:
    add_dataset(database)
    add_pool(database, ready=False)
    result = searchd("pool", "export", "teachers", "--out", tmp_path / "out")
    assert result.exit_code == 1
    assert "pool teachers is queued, and only a trained pool can be exported" in result.stderr
    assert not (tmp_path / "out").exists()


def test_imported_pool_says_where_it_is_from(
    searchd: Run, database: Database, tmp_path: Path
) -> None:
    add_dataset(database)
    write_tiny_export(tmp_path / "out", class_names=("a", "b", "c", "d"))

    result = searchd("pool", "import", tmp_path / "out", "--dataset", "shapes", "--name", "mine")

    assert result.exit_code == 0, result.stderr
    assert f"imported from  {tmp_path / 'out'}" in result.stdout
    with database.read() as session:
        spec = pools.get(session, "mine").spec
    assert spec.source == tmp_path / "out"
    assert spec.space == make_pool_spec().space


def test_name_of_an_imported_pool_is_that_of_the_export(
    searchd: Run, database: Database, tmp_path: Path
) -> None:
    add_dataset(database)
    write_tiny_export(tmp_path, class_names=("a", "b", "c", "d"))
    assert searchd("pool", "import", tmp_path, "--dataset", "shapes").exit_code == 0
    with database.read() as session:
        assert pools.get(session, "tiny").status is PoolStatus.QUEUED


def test_folder_that_is_no_export_is_refused(offline: Run, tmp_path: Path) -> None:
    result = offline("pool", "import", tmp_path, "--dataset", "shapes")
    assert result.exit_code == 2
    assert f"{tmp_path} has no pool.json; give a folder that `searchd pool export`" in result.stderr


def test_folder_that_only_the_service_has_needs_a_name(offline: Run, tmp_path: Path) -> None:
    result = offline("pool", "import", tmp_path / "far", "--dataset", "shapes")
    assert result.exit_code == 2
    assert "give the pool a --name" in result.stderr


def test_reason_of_an_imported_pool_names_its_folder(database: Database, tmp_path: Path) -> None:
    add_dataset(database)
    write_tiny_export(tmp_path, class_names=("a", "b", "c", "d"))
    spec = imported_spec(
        PoolSpec(name="mine", dataset="shapes", source=tmp_path), read_description(tmp_path)
    )
    with database.write() as session:
        row = pools.create(session, spec)
    with leased(database, f"pool-{row.id}") as (session, lease):
        queue.advance(session, lease, PoolStatus.TRAINING, "started")
        pools.record_report(session, lease, pool_report(row.id))
    with database.read() as session:
        reason = pools.get(session, "mine").status_reason
    assert reason == f"imported from {tmp_path}; 2 subnets evaluated"
