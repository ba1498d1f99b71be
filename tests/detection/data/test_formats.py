"""The same data set has the same boxes, classes and splits in every format and layout."""

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from detection.data.findings import Severity
from detection.data.formats.detect import detect, read_sources
from detection.data.inspection import Inspection
from detection.data.paths import inspect_paths
from detection.data.records import NormalisedSplit
from searchd.domain.errors import DataError
from searchd.spec import DataFormat
from tests.detection.data import format_writers as writers
from tests.detection.data.field_draft import BOXES, ORIENTATION, drawn, encoded, good, write

Writer = Callable[[Path], None]
WITH_SPLITS: dict[Writer, DataFormat] = {
    writers.yolo_ultralytics: DataFormat.YOLO,
    writers.yolo_roboflow: DataFormat.YOLO,
    writers.yolo_lists: DataFormat.YOLO,
    writers.yolo_darknet: DataFormat.YOLO,
    writers.yolo_label_studio: DataFormat.YOLO,
    writers.voc_devkit: DataFormat.VOC,
    writers.voc_beside: DataFormat.VOC,
    writers.cvat_images: DataFormat.CVAT,
    writers.argoverse_hd: DataFormat.ARGOVERSE,
}


def contents(split: NormalisedSplit) -> list[tuple[str, list[float]]]:
    """Return class and box of every object, sorted."""
    return sorted(
        (split.class_names[label], [round(value, 3) for value in box])
        for record in split.records
        for box, label in zip(record.boxes.tolist(), record.labels.tolist(), strict=True)
    )


def expected(name: str) -> list[tuple[str, list[float]]]:
    return sorted(
        (writers.NAMES[category], [float(v) for v in (x, y, x + w, y + h)])
        for _, category, (x, y, w, h) in BOXES[name]
    )


def faults(found: Inspection) -> str:
    return "\n".join(str(each) for f in found.findings.of(Severity.FAULT) for each in f.examples)


@pytest.mark.parametrize("writer", WITH_SPLITS, ids=lambda writer: writer.__name__)
def test_boxes_classes_and_splits_are_those_of_the_tool(writer: Writer, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    writer(folder)

    found = inspect_paths([folder])

    assert detect([folder]) is WITH_SPLITS[writer]
    assert found.is_accepted, faults(found)
    assert not found.findings.of(Severity.REPAIR)
    assert list(found.splits) == ["train", "validation"]
    assert contents(found.splits["train"]) == expected("train")
    assert contents(found.splits["validation"]) == expected("val")


def test_coco_is_found_in_a_folder(tmp_path: Path) -> None:
    write(good(), tmp_path)

    assert detect([tmp_path]) is DataFormat.COCO
    assert contents(inspect_paths([tmp_path]).splits["train"]) == expected("train")


def test_label_studio_export_gets_its_splits_by_seed(tmp_path: Path) -> None:
    writers.label_studio_json(tmp_path)

    found = inspect_paths([tmp_path])

    assert detect([tmp_path]) is DataFormat.LABEL_STUDIO
    assert found.is_accepted, faults(found)
    every = [each for split in found.splits.values() for each in contents(split)]
    assert sorted(every) == expected("train")


def test_given_format_overrides(tmp_path: Path) -> None:
    writers.yolo_ultralytics(tmp_path)
    write(good(), tmp_path)

    assert detect([tmp_path]) is DataFormat.COCO
    assert next(iter(read_sources([tmp_path], DataFormat.YOLO).values())).file.name == "data.yaml"


def test_yolo_labels_are_of_the_image_as_shown(tmp_path: Path) -> None:
    writers.yolo_ultralytics(tmp_path)
    (tmp_path / "images/train/1.png").unlink()
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    stored = drawn("train", 1).transpose(Image.Transpose.ROTATE_90)
    turned = encoded(stored, "JPEG", quality=95, exif=exif.tobytes())
    (tmp_path / "images/train/1.jpg").write_bytes(turned)

    found = inspect_paths([tmp_path])

    assert found.is_accepted, faults(found)
    assert contents(found.splits["train"]) == expected("train")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("0 0.5 0.5 0.1", "line 1 has 4 numbers instead of 5"),
        ("red 0.5 0.5 0.1 0.1", "must be numbers"),
        ("7 0.5 0.5 0.1 0.1", "class 7 is not one of the 2 classes"),
        ("0 0.5 nan 0.1 0.1", "must be finite numbers"),
        ("0 32 24 10 10", "are they pixels?"),
        ("0 0.5 0.5 -0.1 0.1", "must have positive width and height"),
    ],
)
def test_wrong_label_line_is_refused(tmp_path: Path, line: str, message: str) -> None:
    writers.yolo_ultralytics(tmp_path)
    (tmp_path / "labels/train/2.txt").write_text(line)

    found = inspect_paths([tmp_path])

    assert not found.is_accepted
    assert message in faults(found)
    assert "2.txt" in faults(found)


def test_polygon_becomes_its_box(tmp_path: Path) -> None:
    writers.yolo_ultralytics(tmp_path)
    (tmp_path / "labels/train/2.txt").write_text("0 0.25 0.25 0.75 0.5 0.5 0.75\n")

    found = inspect_paths([tmp_path])

    assert ("red", [16.0, 12.0, 48.0, 36.0]) in contents(found.splits["train"])
    assert "polygons" in str(found.findings.of(Severity.REPAIR)[0])


def test_image_without_a_label_file_has_no_objects(tmp_path: Path) -> None:
    writers.yolo_ultralytics(tmp_path)
    (tmp_path / "labels/train/2.txt").unlink()

    found = inspect_paths([tmp_path])

    assert found.is_accepted
    assert [len(record.labels) for record in found.splits["train"].records] == [2, 0, 1, 1]


def test_folder_that_data_yaml_names_is_missing(tmp_path: Path) -> None:
    writers.yolo_ultralytics(tmp_path)
    (tmp_path / "data.yaml").write_text("train: images/gone\nval: images/val\nnames: [red, blue]\n")

    found = inspect_paths([tmp_path])

    assert "images/gone is missing" in faults(found)


def test_difficult_objects_of_voc_are_crowds(tmp_path: Path) -> None:
    writers.voc_beside(tmp_path)
    file = tmp_path / "train/1.xml"
    file.write_text(file.read_text().replace("<difficult>0", "<difficult>1", 1))

    found = inspect_paths([tmp_path])

    first = found.splits["train"].records[0]
    assert (len(first.boxes), len(first.crowd_boxes)) == (1, 1)
    assert "difficult" in str(found.findings.of(Severity.WARNING)[0])


def test_voc_box_with_equal_corners_is_empty(tmp_path: Path) -> None:
    writers.voc_beside(tmp_path)
    file = tmp_path / "train/2.xml"
    file.write_text(
        file.read_text().replace(
            "</annotation>",
            "<object><name>red</name><bndbox><xmin>9</xmin><ymin>9</ymin><xmax>9</xmax>"
            "<ymax>9</ymax></bndbox></object></annotation>",
        )
    )

    (repair,) = inspect_paths([tmp_path]).findings.of(Severity.REPAIR)

    assert (repair.kind.name, repair.count) == ("box-empty", 1)
    assert repair.examples[0].record == "object 2"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<annotation><object>", "the file is not XML"),
        ('<!DOCTYPE a [<!ENTITY b "c">]><annotation/>', "defines XML entities"),
    ],
)
def test_xml_that_cannot_be_read_is_named(tmp_path: Path, text: str, message: str) -> None:
    writers.voc_beside(tmp_path)
    (tmp_path / "train/1.xml").write_text(text)

    found = inspect_paths([tmp_path])

    assert message in faults(found)
    assert "1.xml" in faults(found)


def test_size_that_voc_leaves_out_is_that_of_the_image(tmp_path: Path) -> None:
    writers.voc_beside(tmp_path)
    file = tmp_path / "train/1.xml"
    file.write_text(file.read_text().replace("<width>64", "<width>0"))

    found = inspect_paths([tmp_path])

    assert found.is_accepted, faults(found)
    assert (found.splits["train"].records[0].width) == 64


def test_turned_box_of_cvat_becomes_the_box_around_it(tmp_path: Path) -> None:
    writers.cvat_images(tmp_path)
    file = tmp_path / "annotations.xml"
    # 20x12 pixels around (14, 12), turned by 90 degrees.
    file.write_text(file.read_text().replace('xtl="4"', 'rotation="90" xtl="4"', 1))

    found = inspect_paths([tmp_path])

    assert ("red", [8.0, 2.0, 20.0, 22.0]) in contents(found.splits["train"])


def test_task_of_label_studio_without_annotation_is_left_out(tmp_path: Path) -> None:
    writers.label_studio_json(tmp_path)
    file = tmp_path / "export.json"
    file.write_text(file.read_text()[:-1] + ', {"id": 9, "data": {"image": "x.png"}}]')

    found = inspect_paths([tmp_path])

    assert found.is_accepted, faults(found)
    assert "no annotation" in str(found.findings.of(Severity.WARNING)[0])


def test_folder_without_annotations_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(b"")

    with pytest.raises(DataError, match="found no annotations in a known format"):
        detect([tmp_path])


def test_a_yolo_label_whose_image_is_gone_is_reported(tmp_path: Path) -> None:
    writers.yolo_ultralytics(tmp_path)
    (tmp_path / "labels" / "train" / "gone.txt").write_text("0 0.5 0.5 0.2 0.2\n")

    found = inspect_paths([tmp_path])

    assert found.is_accepted
    (warning,) = [
        each
        for each in found.findings.of(Severity.WARNING)
        if each.kind.name == "labels-without-image"
    ]
    assert warning.count == 1
    assert "gone.txt" in str(warning.examples[0])
