"""A repaired data set has no findings left, the same objects, and a list of all changes."""

from pathlib import Path

import pytest

from detection.data.inspection import Inspection
from detection.data.paths import inspect_paths
from detection.data.repair import write_repaired
from searchd.domain.errors import DataError, InvalidValueError
from tests.detection.data import format_writers as writers
from tests.detection.data.field_draft import good, write


def broken(folder: Path) -> Inspection:
    """Return a data set with 25 annotations over the edge and an image without its last bytes."""
    draft = good()
    over = draft.train["annotations"][3] | {"bbox": [10, 10, 60, 20]}
    draft.train["annotations"] += [over | {"id": 100 + i} for i in range(25)]
    spec = write(draft, folder)
    image = next(path for path in spec.validation.images.iterdir() if path.name == "val-1.png")
    image.write_bytes(image.read_bytes()[:-4])
    return inspect_paths([folder])


def test_repaired_data_set_has_no_repairs_left(tmp_path: Path) -> None:
    found = broken(tmp_path / "mine")
    kept = sorted((p, p.read_bytes()) for p in (tmp_path / "mine").rglob("*") if p.is_file())

    repaired = write_repaired(found, tmp_path / "new")

    again = inspect_paths([tmp_path / "new"])
    assert again.is_accepted
    assert again.as_json()["repairs"] == []
    assert sorted((p, p.read_bytes()) for p, _ in kept) == kept
    assert [file.name for file in repaired.annotations] == ["train.json", "validation.json"]
    before, after = found.splits["train"], again.splits["train"]
    assert [r.boxes.tolist() for r in before.records] == [r.boxes.tolist() for r in after.records]


def test_every_change_is_listed(tmp_path: Path) -> None:
    repaired = write_repaired(broken(tmp_path / "mine"), tmp_path / "new")

    clipped = [line for line in repaired.changes if line.startswith("box-over-edge: ")]
    assert len(clipped) == 25
    assert "annotation 124: bbox [10, 10, 60, 20] reaches outside" in clipped[-1]
    assert any("val-1.png misses its last bytes" in line for line in repaired.changes)
    listed = (tmp_path / "new/changes.txt").read_text().splitlines()
    assert listed == list(repaired.changes)


def test_other_formats_become_coco(tmp_path: Path) -> None:
    writers.yolo_ultralytics(tmp_path / "mine")
    found = inspect_paths([tmp_path / "mine"])

    write_repaired(found, tmp_path / "new")

    again = inspect_paths([tmp_path / "new"])
    assert again.is_accepted
    assert {name: len(split.records) for name, split in again.splits.items()} == {
        name: len(split.records) for name, split in found.splits.items()
    }


def test_faults_and_used_folders_are_refused(tmp_path: Path) -> None:
    draft = good()
    draft.train["annotations"][3]["bbox"] = [10, 10, -60, 20]
    write(draft, tmp_path / "bad")
    write(good(), tmp_path / "good")

    with pytest.raises(DataError, match="positive width and height"):
        write_repaired(inspect_paths([tmp_path / "bad"]), tmp_path / "new")
    with pytest.raises(InvalidValueError, match="must be an empty or a new folder"):
        write_repaired(inspect_paths([tmp_path / "good"]), tmp_path / "bad")
    assert not (tmp_path / "new").exists()
