"""A data set that is given by paths becomes one with COCO files in the artifact store."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from searchd.domain.errors import InvalidValueError
from searchd.spec import DatasetImport


def test_same_request_has_the_same_files_and_another_has_others() -> None:
    one = DatasetImport(name="mine", paths=(Path("/data/mine"),))
    other = DatasetImport(name="mine", paths=(Path("/data/mine"),), seed=1)

    spec = one.stored_below("/artifacts")

    assert spec == one.stored_below("/artifacts")
    assert spec.train.annotations != other.stored_below("/artifacts").train.annotations
    assert spec.train.annotations.is_relative_to("/artifacts/datasets")
    assert spec.train.images == Path("/data/mine")
    assert spec.source is not None
    assert spec.source.paths == (Path("/data/mine"),)


@pytest.mark.parametrize(
    ("paths", "folder"),
    [
        (("/data/mine/data.yaml",), "/data/mine"),
        (("/data/mine/train.json", "/data/mine/images"), "/data/mine"),
        (("/data/a.json", "/data/photos/a", "/data/b.json", "/data/photos/b"), "/data"),
    ],
)
def test_images_are_below_the_folder_of_all_paths(paths: tuple[str, ...], folder: str) -> None:
    given = DatasetImport(name="mine", paths=tuple(map(Path, paths)))

    assert given.folder == Path(folder)


@pytest.mark.parametrize("path", ["mine", "../mine", "/data/../etc"])
def test_paths_must_be_absolute(path: str) -> None:
    with pytest.raises(ValidationError, match="must be an absolute path"):
        DatasetImport(name="mine", paths=(Path(path),))


def test_artifact_store_must_be_a_folder() -> None:
    request = DatasetImport(name="mine", paths=(Path("/data"),))

    with pytest.raises(InvalidValueError, match="SEARCHD_ARTIFACTS"):
        request.stored_below("s3://bucket/artifacts")
