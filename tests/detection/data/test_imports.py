"""A data set in any format becomes COCO files with the same objects, and stays in its folder."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from detection.data.coco import CocoSplit, check_dataset
from searchd.domain.errors import DataError
from searchd.spec import DatasetImport, DatasetSpec
from tests.detection.data import format_writers as writers
from tests.detection.data.field_draft import good, write
from tests.detection.data.test_formats import WITH_SPLITS, Writer, expected
from workers.dataset_check import check


def stored(folder: Path, **options: Any) -> DatasetSpec:
    request = DatasetImport(name="mine", paths=(folder / "mine",), **options)
    return request.stored_below(str(folder / "artifacts"))


def contents(split: CocoSplit) -> list[tuple[str, list[float]]]:
    return sorted(
        (split.class_names[label], [round(value, 3) for value in box])
        for record in split.records
        for box, label in zip(record.boxes.tolist(), record.labels.tolist(), strict=True)
    )


@pytest.mark.parametrize("writer", WITH_SPLITS, ids=lambda writer: writer.__name__)
def test_every_format_becomes_coco_files(writer: Writer, tmp_path: Path) -> None:
    writer(tmp_path / "mine")
    spec = stored(tmp_path)

    summary = check(spec)

    assert (summary["train"]["num_images"], summary["validation"]["num_images"]) == (4, 2)
    assert contents(CocoSplit(spec.train)) == expected("train")
    assert contents(CocoSplit(spec.validation)) == expected("val")
    again = check_dataset(spec)
    assert (again.warnings, again.repairs) == ((), ())


def test_written_file_has_the_digest_of_the_source(tmp_path: Path) -> None:
    writers.yolo_ultralytics(tmp_path / "mine")
    spec = stored(tmp_path)

    digests = []
    for line in ("0 0.5 0.5 0.5 0.5", "0 0.5 0.5 0.5 0.4"):
        (tmp_path / "mine/labels/train/2.txt").write_text(line)
        check(spec)
        digests.append(json.loads(spec.train.annotations.read_bytes())["info"]["source_sha256"])

    assert len(set(digests)) == 2
    assert all(len(digest) == len(hashlib.sha256().hexdigest()) for digest in digests)


def test_repairs_are_reported_and_written(tmp_path: Path) -> None:
    draft = good()
    draft.train["annotations"][3]["bbox"] = [10, 10, 60, 20]
    draft.everywhere(lambda a: a.update(iscrowd=None))
    write(draft, tmp_path / "mine")
    spec = stored(tmp_path)

    summary = check(spec)

    assert any("clipped: 1" in repair for repair in summary["repairs"])
    assert check_dataset(spec).repairs == ()
    annotations = json.loads(spec.train.annotations.read_bytes())["annotations"]
    assert annotations[3]["bbox"] == [10, 10, 54, 20]


def test_test_split_is_stored_beside_the_others(tmp_path: Path) -> None:
    writers.yolo_ultralytics(tmp_path / "mine")
    spec = stored(tmp_path, test_share=0.25)

    check(spec)

    test = json.loads(spec.train.annotations.with_name("test.json").read_bytes())
    assert (len(test["images"]), len(CocoSplit(spec.train))) == (1, 3)


def test_faults_refuse_the_import(tmp_path: Path) -> None:
    writers.yolo_ultralytics(tmp_path / "mine")
    (tmp_path / "mine/labels/train/2.txt").write_text("9 0.5 0.5 0.5 0.5")
    spec = stored(tmp_path)

    with pytest.raises(DataError, match=r"2\.txt: line 1: class 9 is not one of the 2 classes"):
        check(spec)
    assert not spec.train.annotations.exists()


@pytest.mark.parametrize("entry", ["../other/images", "/etc", "list.txt"])
def test_data_yaml_must_not_lead_out_of_its_folder(tmp_path: Path, entry: str) -> None:
    writers.yolo_ultralytics(tmp_path / "mine")
    writers.yolo_ultralytics(tmp_path / "other")
    (tmp_path / "mine/list.txt").write_text(str(tmp_path / "other/images/train/1.png"))
    text = f"train: {entry}\nval: images/val\nnames: [red, blue]\n"
    (tmp_path / "mine/data.yaml").write_text(text)

    with pytest.raises(DataError, match="is outside"):
        check(stored(tmp_path))


def test_image_that_is_a_link_out_of_the_folder_is_not_read(tmp_path: Path) -> None:
    writers.voc_beside(tmp_path / "mine")
    secret = tmp_path / "secret.png"
    (tmp_path / "mine/train/1.png").rename(secret)
    (tmp_path / "mine/train/1.png").symlink_to(secret)

    with pytest.raises(DataError, match="is outside"):
        check(stored(tmp_path))
