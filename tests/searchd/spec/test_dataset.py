"""A data set that is given by paths becomes one with COCO files in the artifact store."""

from pathlib import Path

import pytest
from pydantic import ValidationError

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


def test_workers_copy_annotations_from_an_artifact_store_that_is_no_folder() -> None:
    request = DatasetImport(name="mine", paths=(Path("/data"),))

    spec = request.stored_below("s3://bucket/artifacts", Path("/cache"))

    assert spec.shared is not None
    assert spec.shared.images is None
    assert spec.shared.annotations.startswith("s3://bucket/artifacts/datasets/mine-")
    assert spec.train.annotations.is_relative_to("/cache/datasets")
    assert spec.train.images == Path("/data")


def test_workers_copy_a_data_set_that_is_given_by_its_uri() -> None:
    spec = DatasetImport(name="mine", uri="s3://photos/street/").stored_below(
        "/artifacts", Path("/cache")
    )

    assert spec.shared is not None
    assert spec.shared.images == "s3://photos/street"
    assert spec.shared.annotations.startswith("/artifacts/datasets/mine-")
    assert spec.train.images.is_relative_to("/cache/datasets")
    assert spec.source is not None
    assert spec.source.paths == (spec.train.images,)


@pytest.mark.parametrize("uri", ["/data", "s3://", "s3://photos/../other", "simplecache::s3://a"])
def test_a_uri_must_name_a_folder(uri: str) -> None:
    with pytest.raises(ValidationError, match="must be the URI of a folder"):
        DatasetImport(name="mine", uri=uri)


def test_a_data_set_has_paths_or_a_uri() -> None:
    for given in ({}, {"paths": ("/data",), "uri": "s3://photos"}):
        with pytest.raises(ValidationError, match="give either paths or uri"):
            DatasetImport.model_validate({"name": "mine", **given})
