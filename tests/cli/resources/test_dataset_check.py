"""`searchd dataset check` works without a service; its JSON and exit code say what it found."""

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Run
from tests.detection.data.field_draft import Draft, good, write


def folder_of(draft: Draft, folder: Path) -> Path:
    write(draft, folder)
    return folder


def test_good_data_set_is_accepted(offline: Run, tmp_path: Path) -> None:
    result = offline("dataset", "check", folder_of(good(), tmp_path), "--format", "json")

    found = json.loads(result.stdout)
    assert result.exit_code == 0
    assert list(found) == ["accepted", "warnings", "faults", "repairs", "statistics"]
    assert found["accepted"]
    assert found["statistics"]["classes"] == {
        "red": {"train": 3, "validation": 1},
        "blue": {"train": 2, "validation": 2},
    }
    train = found["statistics"]["splits"]["train"]
    assert (train["images"], train["objects"], train["image_sizes"]) == (4, 5, 1)
    assert train["box_short_side_px"] == {"min": 12, "p10": 13.6, "median": 16, "max": 24}
    assert train["share_of_boxes_below_8_px_at"]["320x320"] == 0
    duplicates = found["statistics"]["duplicates"]
    assert duplicates == dict.fromkeys(duplicates, 0)


def test_all_faults_are_printed_with_file_record_value_and_cure(
    offline: Run, tmp_path: Path
) -> None:
    draft = good()
    draft.train["annotations"][0]["bbox"] = [4, float("nan"), 20, 12]
    del draft.files["val-1.png"]
    folder = folder_of(draft, tmp_path)

    result = offline("dataset", "check", folder, "--format", "json")
    faults = {fault["kind"]: fault for fault in json.loads(result.stdout)["faults"]}

    assert result.exit_code == 1
    assert faults["box-numbers"]["count"] == 1
    assert faults["box-numbers"]["examples"] == [
        {
            "file": str(folder / "train.json"),
            "record": "annotation 1",
            "problem": "bbox [4, nan, 20, 12] must be four numbers: x, y, width, height",
            "value": "[4, nan, 20, 12]",
            "cure": "give x, y, width, height in pixels",
        }
    ]
    assert faults["image-missing"]["examples"][0]["record"] == "image 1"


def test_table_is_for_people(offline: Run, tmp_path: Path) -> None:
    draft = good()
    draft.train["annotations"][0]["bbox"] = [4, 6, 0, 12]

    result = offline("dataset", "check", folder_of(draft, tmp_path))

    assert result.exit_code == 0
    assert result.stdout.startswith("accepted\n")
    assert "repair: boxes have no area and are left out: 1" in result.stdout
    assert "objects of blue" in result.stdout


@pytest.mark.parametrize(
    "paths",
    [
        ["."],
        ["train.json", "val.json"],
        ["train.json", "images", "val.json", "images"],
        ["train.json", "val.json", "images"],
        ["val.json", "train.json", "images"],
    ],
)
def test_paths_can_be_given_in_several_ways(offline: Run, tmp_path: Path, paths: list[str]) -> None:
    folder = folder_of(good(), tmp_path)

    result = offline("dataset", "check", *(folder / path for path in paths), "--format", "json")

    splits = json.loads(result.stdout)["statistics"]["splits"]
    assert {name: split["images"] for name, split in splits.items()} == {
        "train": 4,
        "validation": 2,
    }


def test_missing_splits_are_made(offline: Run, tmp_path: Path) -> None:
    folder = folder_of(good(), tmp_path)
    options = ("--validation-share", 0.25, "--test-share", 0.25, "--format", "json")

    result = offline("dataset", "check", folder / "train.json", folder / "images", *options)

    splits = json.loads(result.stdout)["statistics"]["splits"]
    sizes = {name: split["images"] for name, split in splits.items()}
    assert sizes == {"train": 2, "validation": 1, "test": 1}


def test_broken_annotation_file_in_a_folder_is_reported(offline: Run, tmp_path: Path) -> None:
    draft = good()
    draft.raw["train"] = b""

    result = offline("dataset", "check", folder_of(draft, tmp_path), "--format", "json")

    (fault,) = json.loads(result.stdout)["faults"]
    assert result.exit_code == 1
    assert fault["examples"][0]["file"].endswith("train.json")


def test_missing_path_is_a_fault(offline: Run, tmp_path: Path) -> None:
    result = offline("dataset", "check", tmp_path / "x", "--format", "json")

    assert result.exit_code == 1
    assert "no such file" in json.loads(result.stdout)["faults"][0]["examples"][0]["problem"]


def test_repaired_data_set_is_written_and_accepted(offline: Run, tmp_path: Path) -> None:
    draft = good()
    draft.train["annotations"][0]["bbox"] = [4, 6, 0, 12]
    folder = folder_of(draft, tmp_path / "mine")

    result = offline("dataset", "check", folder, "--repair", tmp_path / "new")
    again = offline("dataset", "check", tmp_path / "new", "--format", "json")

    assert "annotation 1: bbox [4, 6, 0, 12] must have positive width" in result.stdout
    assert "new/train.json" in result.stdout
    assert json.loads(again.stdout)["repairs"] == []
    refused = offline("dataset", "check", folder, "--repair", tmp_path / "new")
    assert (refused.exit_code, "an empty or a new folder" in refused.stderr) == (2, True)


def test_unreadable_images_are_left_out_up_to_a_share(offline: Run, tmp_path: Path) -> None:
    draft = good()
    draft.files["train-1.png"] = b"<html>"
    folder = folder_of(draft, tmp_path)

    refused = offline("dataset", "check", folder)
    accepted = offline("dataset", "check", folder, "--max-unreadable-share", 0.25)

    assert (refused.exit_code, accepted.exit_code) == (1, 0)
    assert "fault: images cannot be read: 1" in refused.stdout
    assert "repair: images cannot be read: 1" in accepted.stdout
