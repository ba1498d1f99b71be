"""A backup that is made while the service writes, and restored into a new database and store."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from benchmarks.postgresql import PostgresqlServer
from searchd import artifacts
from searchd.domain.lifecycle import DatasetStatus
from searchd.store import Database, downgrade, upgrade
from searchd.store.resources import datasets
from tests.cli.conftest import Run
from tests.searchd.store.factories import add_dataset

pytestmark = pytest.mark.timeout(60)  # PostgreSQL's programs start slowly on a busy machine

NewDatabase = Callable[[str], str]


@pytest.fixture(params=["sqlite", "postgresql"])
def new_database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[NewDatabase]:
    """Makes the URL of an empty database by its name."""
    if request.param == "sqlite":
        yield lambda name: f"sqlite:///{tmp_path / name}.sqlite"
        return
    server: PostgresqlServer = request.getfixturevalue("postgresql_server")
    with ExitStack() as stack:
        yield lambda name: stack.enter_context(server.database(f"backup_{name}"))


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """An artifact store with one file."""
    artifacts.write(str(tmp_path / "store/searches/s-1/student"), b"weights", name="student")
    return tmp_path / "store"


@pytest.fixture
def first(new_database: NewDatabase, store: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The database of a service with a checked data set, whose settings are in the environment."""
    url = new_database("first")
    monkeypatch.setenv("SEARCHD_DATABASE_URL", url)
    monkeypatch.setenv("SEARCHD_ARTIFACTS", str(store))
    upgrade(url)
    with closing(Database(url)) as database:
        add_dataset(database)
    return url


def status(url: str) -> DatasetStatus:
    with closing(Database(url)) as database, database.read() as session:
        return DatasetStatus(datasets.get(session, "shapes").status)


@pytest.mark.usefixtures("first")
def test_database_and_files_are_as_they_were(
    offline: Run,
    new_database: NewDatabase,
    store: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = offline("backup", tmp_path / "copy")
    second = new_database("second")
    monkeypatch.setenv("SEARCHD_DATABASE_URL", second)
    shutil.rmtree(store)

    restored = offline("restore", tmp_path / "copy")

    assert made.stdout == f"{tmp_path}/copy: the database and 1 files of {store}\n"
    assert restored.exit_code == 0, restored.output
    assert status(second) is DatasetStatus.READY
    assert (store / "searches/s-1/student").read_bytes() == b"weights"


def test_a_backup_of_an_earlier_version_is_migrated(
    offline: Run,
    first: str,
    new_database: NewDatabase,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    downgrade(first, "-1")
    offline("backup", tmp_path / "copy")
    second = new_database("second")
    monkeypatch.setenv("SEARCHD_DATABASE_URL", second)

    restored = offline("restore", tmp_path / "copy")

    assert restored.exit_code == 0, restored.output
    assert status(second) is DatasetStatus.READY


@pytest.mark.usefixtures("first")
def test_a_database_with_tables_is_not_overwritten(offline: Run, tmp_path: Path) -> None:
    offline("backup", tmp_path / "copy")

    restored = offline("restore", tmp_path / "copy")

    assert restored.exit_code == 1
    assert "tables already; restore into a new one" in restored.stderr


@pytest.mark.usefixtures("first")
def test_files_are_restored_where_the_database_names_them(
    offline: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offline("backup", tmp_path / "copy")
    monkeypatch.setenv("SEARCHD_ARTIFACTS", str(tmp_path / "elsewhere"))

    restored = offline("restore", tmp_path / "copy")

    assert f"restore with SEARCHD_ARTIFACTS={tmp_path}/store" in restored.stderr


@pytest.mark.usefixtures("first")
def test_a_backup_that_was_interrupted_is_refused(offline: Run, tmp_path: Path) -> None:
    offline("backup", tmp_path / "copy")
    (tmp_path / "copy/backup.json").unlink()

    restored = offline("restore", tmp_path / "copy")

    assert "has no complete backup" in restored.stderr


@pytest.mark.usefixtures("first")
def test_each_backup_has_a_folder_of_its_own(offline: Run, tmp_path: Path) -> None:
    offline("backup", tmp_path / "copy", "--no-artifact-store")

    again = offline("backup", tmp_path / "copy")

    assert not (tmp_path / "copy/artifacts").exists()
    assert "is not empty; give a new folder" in again.stderr
