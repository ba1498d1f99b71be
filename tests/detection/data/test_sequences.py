"""Frames of sequences: read from COCO's and Argoverse-HD's records, kept, and not divided."""

import json
from pathlib import Path
from typing import Any

import pytest

from detection.data.coco import CocoSplit
from detection.data.documents import Document
from detection.data.findings import Finding, Findings
from detection.data.formats.detect import read_sources
from detection.data.paths import inspect_paths
from detection.data.repair import write_repaired
from detection.data.sequences import Frame, by_sequence, read_frames
from detection.data.splits import partition
from searchd.domain.errors import DataError
from searchd.spec import DataFormat, DatasetImport, SplitSpec
from tests.detection.data import format_writers as writers
from workers.dataset_check import check

FILE = Path("train.json")


def frame(image: int, **fields: Any) -> dict[str, Any]:
    return {"id": image, **fields}


def test_frames_are_read_from_video_and_frame_ids() -> None:
    images = [
        frame(7, video_id=1, frame_id=0),
        frame(8, video_id="1", frame_id=2.0),
        frame(9, video_id="night", frame_id=0),
        frame(10),
    ]
    findings = Findings()

    found = read_frames(images, FILE, findings)

    assert found == {7: Frame(1, 0), 8: Frame(1, 2), 9: Frame("night", 0)}
    assert not list(findings)


def test_frames_that_cannot_be_placed_are_named() -> None:
    images = [
        frame(1, video_id=5, frame_id=0),
        frame(2, video_id=5, frame_id=0),
        frame(3, video_id=5),
        frame(4, video_id=5, frame_id="last"),
    ]
    findings = Findings()

    found = read_frames(images, FILE, findings)

    assert found == {1: Frame(5, 0)}
    (finding,) = list[Finding](findings)
    assert str(finding) == (
        "images cannot be placed in their sequence, and count as single images: 3"
    )
    assert [str(example) for example in finding.examples] == [
        "train.json: image 2: frame_id=0 of video_id=5 is also that of image 1",
        "train.json: image 3: frame_id=None of video_id=5 must be a whole number",
        "train.json: image 4: frame_id='last' of video_id=5 must be a whole number",
    ]


def test_images_of_a_sequence_are_sorted_by_their_frames() -> None:
    frames = [Frame(2, 5), None, Frame(1, 1), Frame(2, 3), Frame(1, 0)]

    assert by_sequence(frames) == {2: [3, 0], 1: [4, 2]}


def test_argoverse_hd_has_its_sequences(tmp_path: Path) -> None:
    writers.argoverse_hd(tmp_path)

    train = inspect_paths([tmp_path]).splits["train"]

    assert [(record.image_id, record.frame) for record in train.records] == [
        (1, Frame(1, 0)),
        (2, Frame(0, 1)),
        (3, Frame(1, 1)),
        (4, Frame(0, 2)),
    ]
    assert train.folder == tmp_path / "Argoverse-1.1/tracking"


def test_argoverse_hd_is_read_from_files_and_a_folder(tmp_path: Path) -> None:
    writers.argoverse_hd(tmp_path)
    files = [tmp_path / f"Argoverse-HD/annotations/{name}.json" for name in ("train", "val")]

    found = inspect_paths([*files, tmp_path / "Argoverse-1.1"])

    assert found.is_accepted
    assert [len(split.records) for split in found.splits.values()] == [4, 2]


def test_an_image_of_an_unknown_sequence_is_refused(tmp_path: Path) -> None:
    writers.argoverse_hd(tmp_path)
    file = tmp_path / "Argoverse-HD/annotations/val.json"
    file.write_text(file.read_text().replace('"sid": 1', '"sid": 2'))

    with pytest.raises(
        DataError, match="image 1: sid=2 is not the position of a folder in seq_dir"
    ):
        read_sources([tmp_path])


def test_two_annotation_files_of_one_split_are_refused(tmp_path: Path) -> None:
    writers.argoverse_hd(tmp_path)
    file = tmp_path / "Argoverse-HD/annotations/val.json"
    file.with_name("val-2.json").write_bytes(file.read_bytes())

    with pytest.raises(DataError, match="needs one annotation file of Argoverse-HD for each split"):
        read_sources([tmp_path])
    with pytest.raises(DataError, match="found none"):
        read_sources([tmp_path / "Argoverse-1.1"], DataFormat.ARGOVERSE)


def test_stored_and_repaired_data_sets_keep_their_sequences(tmp_path: Path) -> None:
    writers.argoverse_hd(tmp_path / "mine")
    spec = DatasetImport(name="mine", paths=(tmp_path / "mine",)).stored_below(str(tmp_path / "a"))
    expected = [Frame(1, 0), Frame(0, 1), Frame(1, 1), Frame(0, 2)]

    summary = check(spec)
    repaired = write_repaired(inspect_paths([tmp_path / "mine"]), tmp_path / "repaired")

    file = repaired.annotations[0]
    for split in (spec.train, SplitSpec(annotations=file, images=file.parent / "train")):
        assert [record.frame for record in CocoSplit(split).records] == expected
    assert summary["statistics"]["splits"]["train"]["sequences"] == 2
    assert "video_id" not in json.dumps(plain(tmp_path))


def plain(folder: Path) -> Any:
    """The stored file of a data set without sequences."""
    writers.yolo_ultralytics(folder / "plain")
    spec = DatasetImport(name="plain", paths=(folder / "plain",)).stored_below(str(folder / "b"))
    check(spec)
    return json.loads(spec.train.annotations.read_bytes())


def test_splits_that_are_made_do_not_divide_a_sequence() -> None:
    document: Document = {
        "images": [{"id": i, "file_name": f"{i}.jpg", "video_id": i // 5} for i in range(100)],
        "annotations": [{"id": i, "image_id": i, "category_id": 1} for i in range(100)],
        "categories": [{"id": 1, "name": "car"}],
    }

    parts = partition(document, {"train": 0.7, "validation": 0.2, "test": 0.1})

    videos = [{image["video_id"] for image in part["images"]} for part in parts.values()]
    assert [len(each) for each in videos] == [14, 4, 2]
    assert len(set.union(*videos)) == 20
