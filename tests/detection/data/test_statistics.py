"""Statistics count boxes by class, by size and at resolutions."""

from pathlib import Path

from detection.data.inspection import check_dataset
from tests.detection.data.field_draft import add_annotation, good, write


def test_small_boxes_are_counted_at_each_resolution(tmp_path: Path) -> None:
    draft = good()
    add_annotation(draft, bbox=[50, 33, 1, 10])  # 1 pixel becomes 5 at 320x320, 10 at 640x640

    statistics = check_dataset(write(draft, tmp_path)).statistics or {}

    small = statistics["splits"]["train"]["share_of_boxes_below_8_px_at"]
    assert small == {"320x320": 0.1667, "640x640": 0, "1333x800": 0}


def test_copies_are_counted(tmp_path: Path) -> None:
    draft = good()
    draft.files["val-1.png"] = draft.files["train-1.png"]

    statistics = check_dataset(write(draft, tmp_path)).statistics or {}

    assert statistics["duplicates"]["in_two_splits"] == 1
