"""A data set on a shared store is checked once, copied by workers, and compared with the check."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from detection.data.coco import CocoSplit
from searchd import artifacts
from searchd.domain.errors import DataError
from searchd.spec import DatasetImport, DatasetSpec
from tests.detection.data import format_writers as writers
from workers.dataset_check import check

URI = "memory://photos/street"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[MemoryFileSystem]:
    """A store with a data set in YOLO's format."""
    writers.yolo_ultralytics(tmp_path / "mine")
    artifacts.upload(tmp_path / "mine", URI)
    yield MemoryFileSystem()
    MemoryFileSystem.store.clear()


@pytest.fixture
def spec(tmp_path: Path) -> DatasetSpec:
    request = DatasetImport(name="mine", uri=URI)
    return request.stored_below("memory://searchd/artifacts", tmp_path / "cache")


def checked(spec: DatasetSpec) -> tuple[DatasetSpec, dict[str, Any]]:
    summary = check(spec)
    return spec.as_checked(summary), summary


def emptied(spec: DatasetSpec) -> DatasetSpec:
    """The data set on a worker that has never read it."""
    assert spec.shared is not None
    shutil.rmtree(spec.shared.cache)
    return spec


@pytest.mark.usefixtures("store")
def test_another_worker_reads_the_same_images(spec: DatasetSpec) -> None:
    first, summary = checked(spec)
    before = CocoSplit(first.train)

    after = CocoSplit(emptied(first).train)

    assert summary["train"]["num_images"] == len(after) == 4
    assert [str(record.path) for record in after.records] == [
        str(record.path) for record in before.records
    ]
    assert (after.image(0) == before.image(0)).all()


@pytest.mark.usefixtures("store")
def test_a_split_copies_only_its_own_files(spec: DatasetSpec) -> None:
    first, _ = checked(spec)

    split = CocoSplit(emptied(first).validation)

    images = {path for path in first.train.images.rglob("*") if path.is_file()}
    assert images == {record.path for record in split.records}


def test_files_that_are_there_are_not_read_again(
    spec: DatasetSpec, store: MemoryFileSystem
) -> None:
    first, _ = checked(spec)
    CocoSplit(emptied(first).train)
    store.rm("/photos", recursive=True)

    assert len(CocoSplit(first.train)) == 4


@pytest.mark.usefixtures("store")
def test_the_same_content_is_kept_once(spec: DatasetSpec) -> None:
    first, _ = checked(spec)
    assert spec.shared is not None
    other = DatasetImport(name="other", uri=URI).stored_below(
        "memory://searchd/artifacts", spec.shared.cache
    )
    checked(other)

    image = next(path for path in first.train.images.rglob("*") if path.is_file())
    assert image.stat().st_nlink >= 3  # by its SHA-256, and in both data sets


def test_a_file_that_changed_since_the_check_is_refused(
    spec: DatasetSpec, store: MemoryFileSystem
) -> None:
    first, _ = checked(spec)
    changed = CocoSplit(first.train).records[0].path.relative_to(first.train.images)
    store.pipe_file(f"/photos/street/{changed.as_posix()}", b"another image")

    with pytest.raises(DataError, match="changed since its data set was checked"):
        CocoSplit(emptied(first).train)


def test_a_recheck_sees_what_changed_in_the_store(
    spec: DatasetSpec, store: MemoryFileSystem
) -> None:
    before, _ = checked(spec)
    gone = CocoSplit(before.train).records[0].path.relative_to(before.train.images)
    store.rm_file(f"/photos/street/{gone.as_posix()}")

    after, summary = checked(spec.model_copy(update={"max_unreadable_share": 0.5}))

    assert summary["train"]["num_images"] == 3
    assert after.train.files != before.train.files


def test_a_uri_without_files_is_refused(spec: DatasetSpec) -> None:
    with pytest.raises(DataError, match="memory://photos/street has no files"):
        check(spec)


def test_annotations_of_local_images_are_copied_from_the_store(tmp_path: Path) -> None:
    writers.yolo_ultralytics(tmp_path / "mine")
    request = DatasetImport(name="mine", paths=(tmp_path / "mine",))
    spec = request.stored_below("memory://searchd/artifacts", tmp_path / "cache")

    first, _ = checked(spec)

    assert len(CocoSplit(emptied(first).train)) == 4
    listed = json.loads(artifacts.read_bytes(first.train.files.uri))  # type: ignore[union-attr]
    assert len(listed["files"]) == 1
    MemoryFileSystem.store.clear()
