"""`searchd detector evaluate`: a detector that finds a fixed box, on a data set of the service."""

import json
from pathlib import Path

import pytest

from searchd.spec import DatasetSpec
from searchd.store import Database
from searchd.store.resources import datasets
from tests.cli.conftest import Run
from tests.fixed_graphs import write_graph
from tests.searchd.store.factories import leased
from tests.small_splits import write_split

CAT = [16, 8, 32, 32]
"""The box that the detector finds, in pixels of images of 64 x 64: x, y, width, height."""


@pytest.fixture
def export(tmp_path: Path) -> Path:
    """A folder with a detector that finds a cat."""
    return write_graph(tmp_path / "export")


@pytest.fixture
def pets(database: Database, tmp_path: Path) -> None:
    """A data set without a test split, in which a cat is called tom."""
    split = write_split(tmp_path / "pets", {"tom": CAT})
    with database.write() as session:
        spec = DatasetSpec(name="pets", train=split, validation=split)
        row = datasets.create(session, spec)
    with leased(database, f"dataset_check-{row.id}") as (session, lease):
        datasets.record_ready(session, lease, {"class_names": ["tom"]})


@pytest.mark.usefixtures("pets")
def test_ap_is_measured_by_size_and_by_class(searchd: Run, export: Path) -> None:
    arguments = ("detector", "evaluate", export, "--dataset", "pets", "--class", "cat=tom")

    shown = searchd(*arguments, "--format", "json")
    table = searchd(*arguments)

    assert shown.exit_code == 0, shown.stderr
    found = json.loads(shown.stdout)
    assert (found["ap"], found["ap50"], found["ap75"], found["images"]) == (1, 1, 1, 2)
    # 32 x 32 pixels are the boundary, which belongs to both sizes.
    assert (found["ap_small"], found["ap_medium"], found["ap_large"]) == (1, 1, None)
    assert (found["ap90"], found["ar100"], found["ar_large"]) == (1, 1, None)
    assert found["by_class"] == {"tom": 1}
    assert found["runtime"].startswith("onnxruntime ")
    assert "not in the data set, left out: dog" in shown.stderr
    lines = [line.split() for line in table.stdout.splitlines()]
    assert lines[0] == ["OBJECTS", "AP", "OR", "AR", "%", "ON", "2", "IMAGES"]
    assert lines[-8:-6] == [["large", "-"], ["class", "tom", "100.0"]]
    assert lines[-4:] == [
        ["AR", "of", "all,", "100", "detections", "100.0"],
        ["AR", "of", "small", "100.0"],
        ["AR", "of", "medium", "100.0"],
        ["AR", "of", "large", "-"],
    ]


@pytest.mark.usefixtures("pets")
def test_what_does_not_fit_is_named(searchd: Run, export: Path) -> None:
    def refused(*arguments: object) -> tuple[int, str]:
        result = searchd("detector", "evaluate", export, "--dataset", *arguments)
        return result.exit_code, result.stderr

    code, reason = refused("pets")
    assert (code, "the detector has no class 'tom' of the data set" in reason) == (2, True)
    assert "say --class DETECTOR=DATASET" in reason
    code, reason = refused("pets", "--class", "cat")
    assert (code, "--class cat is not DETECTOR=DATASET" in reason) == (2, True)
    code, reason = refused("pets", "--split", "test")
    assert (code, "has no test split; it has train, validation" in reason) == (1, True)
    code, reason = refused("birds")
    assert (code, "birds" in reason) == (1, True)
