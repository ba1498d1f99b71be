"""The paths of a data set in any format must be below the data roots, links followed."""

from pathlib import Path

import pytest

from api import data_roots
from searchd.domain.errors import InvalidValueError
from searchd.spec import DatasetImport, DatasetSpec, PoolSpec


def stored(*paths: Path) -> DatasetSpec:
    return DatasetImport(name="mine", paths=paths).stored_below("/artifacts")


def test_paths_below_a_root_are_accepted_and_annotations_are_the_services(tmp_path: Path) -> None:
    data_roots.check_dataset(stored(tmp_path / "mine"), (tmp_path,))


def test_paths_outside_the_roots_are_refused(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "root/link").symlink_to(tmp_path)

    for path in (tmp_path, Path("/etc"), tmp_path / "root/link/mine"):
        with pytest.raises(InvalidValueError, match="SEARCHD_DATA_ROOTS"):
            data_roots.check_dataset(stored(path), (tmp_path / "root",))


def test_the_folder_of_all_paths_must_be_below_a_root(tmp_path: Path) -> None:
    roots = (tmp_path / "a", tmp_path / "b")

    with pytest.raises(InvalidValueError, match=r"train\.images"):
        data_roots.check_dataset(stored(roots[0] / "x", roots[1] / "y"), roots)


def test_folder_of_an_imported_pool_must_be_below_a_root(tmp_path: Path) -> None:
    spec = PoolSpec(name="mine", dataset="photos", source=tmp_path / "a")
    data_roots.check_pool(spec, (tmp_path,))
    with pytest.raises(InvalidValueError, match="source: .* SEARCHD_DATA_ROOTS"):
        data_roots.check_pool(spec, (tmp_path / "b",))


def test_a_uri_must_be_below_a_shared_store_that_the_operator_names() -> None:
    photos = DatasetImport(name="mine", uri="s3://photos/street").stored_below("/artifacts")
    near = DatasetImport(name="mine", uri="s3://photos-of-others").stored_below("/artifacts")
    roots = (Path("/datasets"),)

    data_roots.check_dataset(photos, ())  # without authentication anything goes
    data_roots.check_dataset(photos, roots, ("s3://photos",))
    for spec, stores in ((photos, ()), (near, ("s3://photos",))):
        with pytest.raises(InvalidValueError, match="SEARCHD_DATA_STORES"):
            data_roots.check_dataset(spec, roots, stores)
