"""`searchd dataset add` with data sets on a shared store."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from searchd.store import Database
from searchd.store.resources import datasets
from tests.cli.conftest import Run


@pytest.fixture
def store() -> Iterator[MemoryFileSystem]:
    yield MemoryFileSystem()
    MemoryFileSystem.store.clear()


def location(database: Database) -> str | None:
    with database.read() as session:
        shared = datasets.get(session, "mine").spec.shared
    return None if shared is None else shared.images


def test_a_uri_is_added_as_it_is(searchd: Run, database: Database) -> None:
    result = searchd("dataset", "add", "mine", "s3://photos/street/", "--no-wait")

    assert result.exit_code == 0, result.output
    assert location(database) == "s3://photos/street"
    assert ["source", "s3://photos/street"] in [line.split() for line in result.stdout.splitlines()]


def test_a_folder_is_uploaded_and_added_from_there(
    searchd: Run, database: Database, store: MemoryFileSystem, tmp_path: Path
) -> None:
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels/1.txt").write_text("0 0.5 0.5 0.5 0.5")

    result = searchd("dataset", "add", "mine", tmp_path, "--upload", "memory://photos", "--no-wait")

    assert "1 files were uploaded" in result.stderr
    assert location(database) == "memory://photos"
    assert store.cat_file("/photos/labels/1.txt") == b"0 0.5 0.5 0.5 0.5"


def test_validation_uploads_nothing(searchd: Run, store: MemoryFileSystem, tmp_path: Path) -> None:
    (tmp_path / "1.txt").write_text("0 0.5 0.5 0.5 0.5")

    searchd("dataset", "add", "mine", tmp_path, "--upload", "memory://photos", "--validate-only")

    assert store.find("/") == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["s3://a", "s3://b"], "give one folder, locally or as a URI"),
        (["s3://a", "--upload", "s3://b"], "s3://a is on a shared store already"),
        (["missing", "--upload", "s3://b"], "missing is no folder; --upload takes one"),
    ],
)
def test_wrong_usage_is_explained(searchd: Run, arguments: list[str], message: str) -> None:
    result = searchd("dataset", "add", "mine", *arguments)

    assert result.exit_code == 2
    assert message in result.stderr
