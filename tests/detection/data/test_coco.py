"""COCO splits are read as mmdet needs them, and broken ones are refused with file and record."""

import hashlib
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from detection.data.coco import CocoSplit, SplitSummary, check_dataset
from detection.data.shapes import make_shapes
from searchd.domain.errors import DataError
from searchd.spec import DatasetSpec

MakeDataset = Callable[..., DatasetSpec]
Edit = Callable[[dict[str, Any]], object]


def test_categories_become_labels_in_the_order_of_their_ids(make_dataset: MakeDataset) -> None:
    split = CocoSplit(make_dataset().train)

    assert split.category_ids == (5, 90)
    assert split.class_names == ("aeroplane", "toothbrush")
    assert split.num_classes == 2


def test_records_hold_xyxy_boxes_without_crowds(make_dataset: MakeDataset) -> None:
    wide, tall = CocoSplit(make_dataset().train).records

    assert (wide.image_id, wide.width, wide.height) == (7, 40, 20)
    assert wide.boxes.tolist() == [[0, 0, 10, 5], [20, 10, 40, 20]]
    assert wide.labels.tolist() == [1, 0]
    assert tall.boxes.tolist() == [[3, 6, 15, 36]]
    assert tall.labels.tolist() == [0]


def test_box_is_clipped_when_it_reaches_out_by_less_than_a_pixel(make_dataset: MakeDataset) -> None:
    spec = make_dataset(lambda d: d["annotations"][0].update(bbox=[-0.5, 0, 40.9, 20.5]))

    check_dataset(spec)

    assert CocoSplit(spec.train).records[0].boxes[0].tolist() == [0, 0, 40, 20]


def test_missing_box_is_the_one_around_the_polygons(make_dataset: MakeDataset) -> None:
    polygons = [[1, 2, 11, 2, 11, 7], [3, 3, 8, 4, 5, 9]]

    def edit(document: dict[str, Any]) -> None:
        del document["annotations"][0]["bbox"]
        document["annotations"][0]["segmentation"] = polygons

    spec = make_dataset(edit)

    assert CocoSplit(spec.train).records[0].boxes[0].tolist() == [1, 2, 11, 9]
    assert any("polygons" in repair for repair in check_dataset(spec).repairs)


def test_boxes_without_width_and_height_are_not_taken_for_normalised_ones(
    make_dataset: MakeDataset,
) -> None:
    def edit(document: dict[str, Any]) -> None:
        for annotation in document["annotations"]:
            annotation["bbox"] = [1, 1, 0, 0]

    with pytest.raises(DataError) as refusal:
        check_dataset(make_dataset(edit))

    assert "must have positive width and height" in str(refusal.value)
    assert "0..1" not in str(refusal.value)


def test_images_are_decoded_once_when_they_fit_in_memory(make_dataset: MakeDataset) -> None:
    split = CocoSplit(make_dataset().train)

    first = split.image(0)

    assert first.shape == (20, 40, 3)
    assert first.dtype == np.uint8
    assert split.image(0) is first


def test_images_are_decoded_again_when_memory_is_full(make_dataset: MakeDataset) -> None:
    # 40 * 20 * 3 bytes: room for the first image and no other.
    split = CocoSplit(make_dataset().train, max_cached_bytes=2400)

    assert split.image(0) is split.image(0)
    assert split.image(1) is not split.image(1)
    assert np.array_equal(split.image(1), split.image(1))


def test_fewer_images_are_evenly_spaced_over_the_split(tmp_path: Path) -> None:
    split = CocoSplit(
        make_shapes(tmp_path, num_train=1, num_validation=7, image_size=32).validation
    )

    masks = [record.masks for record in split.masked_records]

    sample = split.spaced(3)

    assert sample.records == (split.records[0], split.records[2], split.records[4])
    assert [record.masks for record in sample.masked_records] == [masks[0], masks[2], masks[4]]
    assert np.array_equal(sample.image(1), split.image(2))
    assert sample.class_names == split.class_names
    assert len(sample.ground_truth()["images"]) == 3
    assert len(split) == 7
    assert split.spaced(7) is split.spaced(100) is split


def test_grey_image_is_read_as_rgb(make_dataset: MakeDataset) -> None:
    spec = make_dataset()
    Image.new("L", (40, 20), 128).save(spec.train.images / "wide.png")

    assert np.array_equal(CocoSplit(spec.train).image(0), np.full((20, 40, 3), 128))


def test_sound_data_set_is_summed_up(make_dataset: MakeDataset) -> None:
    spec = make_dataset()
    summary = check_dataset(spec)

    assert summary.num_classes == 2
    assert summary.class_names == ("aeroplane", "toothbrush")
    assert summary.train == SplitSummary(
        num_images=2,
        num_annotations=4,
        num_empty_boxes=0,
        sha256=hashlib.sha256(spec.train.annotations.read_bytes()).hexdigest(),
    )


def test_annotation_file_that_changed_since_the_check_is_refused(
    make_dataset: MakeDataset,
) -> None:
    spec = make_dataset()
    checked = spec.as_checked(asdict(check_dataset(spec)))
    assert len(CocoSplit(checked.train)) == 2
    content = spec.train.annotations.read_text()
    spec.train.annotations.write_text(content + " ")

    with pytest.raises(DataError, match=r"train\.json: .*changed since.*dataset recheck NAME"):
        CocoSplit(checked.train)
    assert len(CocoSplit(checked.validation)) == 2


def test_unreadable_images_are_left_out_up_to_a_share(make_dataset: MakeDataset) -> None:
    spec = make_dataset()
    (spec.train.images / "tall.jpg").write_bytes(b"<html>")
    allowed = spec.model_copy(update={"max_unreadable_share": 0.5})

    with pytest.raises(DataError, match=r"tall\.jpg: it is text"):
        check_dataset(spec)
    with pytest.raises(DataError, match=r"tall\.jpg: it is text"):
        check_dataset(spec.model_copy(update={"max_unreadable_share": 0.4}))
    summary = check_dataset(allowed)
    split = CocoSplit(allowed.as_checked(asdict(summary)).train)

    assert summary.train.num_images == 1
    assert summary.train.left_out == (str(spec.train.images / "tall.jpg"),)
    assert "images cannot be read" in " ".join(summary.repairs)
    assert [record.path.name for record in split.records] == ["wide.png"]
    assert len(split.ground_truth()["images"]) == 1


def test_test_split_is_checked_like_the_others(make_dataset: MakeDataset) -> None:
    spec = make_dataset()
    with_test = spec.model_copy(update={"test": spec.train})

    summary = check_dataset(with_test)

    assert summary.test == summary.train
    assert "images are in two splits" in " ".join(summary.warnings)
    missing = spec.train.model_copy(update={"annotations": Path("/nowhere/test.json")})
    with pytest.raises(DataError, match=r"/nowhere/test\.json: .* cannot be read"):
        check_dataset(spec.model_copy(update={"test": missing}))


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda d: d.pop("images"), r'train\.json: not COCO\'s format: "images" must be a list'),
        (lambda d: d["annotations"].clear(), r"train\.json: there are no annotations"),
        (lambda d: d["images"][1].update(id=7), r"train\.json: image id 7 occurs twice"),
        (lambda d: d["categories"][1].update(id=90), r"category id 90 occurs twice"),
        (lambda d: d["categories"].clear(), r"train\.json: there are no categories"),
        (lambda d: d["annotations"][2].update(image_id=4), r"annotation 3: there is no image 4"),
        (lambda d: d["annotations"][2].update(category_id=6), r"annotation 3: .* no category 6"),
        (
            lambda d: [a.update(bbox=[20, 10, 0, 10]) for a in d["annotations"][1:3]],
            r"annotation 3: bbox \[20, 10, 0, 10\] must have positive width and height",
        ),
        (
            lambda d: [a.update(bbox=[50, 60, 10, 10]) for a in d["annotations"][1:3]],
            r"annotation 3: bbox \[50, 60, 10, 10\] is outside image 7 \(40x20 pixels\)",
        ),
        (
            lambda d: d["annotations"][2].update(bbox=[20, 10, -5, 10]),
            r"annotation 3: bbox \[20, 10, -5, 10\] must have positive width and height",
        ),
        (lambda d: d["annotations"][2].update(bbox=[1, 2, 3]), r"annotation 3: bbox .* four numb"),
        (
            lambda d: d["annotations"][2].update(bbox=[1, 2, float("nan"), 3]),
            r"annotation 3: bbox .* four numbers",
        ),
        (lambda d: d["images"][0].update(width=0), r"image 7: width=0 must be a whole number > 0"),
        (
            lambda d: d["images"][0].update(width=41),
            r"image 7: .*wide\.png has 40x20 pixels, the record says 41x20",
        ),
        (lambda d: d["images"][0].pop("file_name"), r"train\.json: image 7 has no file_name"),
        (lambda d: d["categories"][0].pop("name"), r"train\.json: category 90 has no name"),
        (
            lambda d: d["images"][0].update(file_name="../../etc/x.png"),
            r"image 7: file_name='../../etc/x.png' is outside the image folder",
        ),
        (lambda d: d["images"][0].update(file_name="/x.png"), r"is outside the image folder"),
        (lambda d: d["images"][0].update(file_name="x.png"), r"image 7: .* missing: .*x\.png"),
        (
            lambda d: d["categories"][0].update(name="comb"),
            r"validation\.json: the categories differ from those of .*train\.json",
        ),
    ],
)
def test_broken_record_is_named(make_dataset: MakeDataset, edit: Edit, message: str) -> None:
    with pytest.raises(DataError, match=message):
        check_dataset(make_dataset(edit))


def test_all_faults_are_reported_at_once(make_dataset: MakeDataset) -> None:
    def damage(d: dict[str, Any]) -> None:
        d["images"][0].update(file_name="gone.png")
        d["annotations"][1].update(bbox=[1, 2, float("nan"), 3])
        d["annotations"][2].update(category_id=6)

    with pytest.raises(DataError) as caught:
        check_dataset(make_dataset(damage))

    assert "images are missing: 1" in str(caught.value)
    assert "annotation 2: bbox [1, 2, nan, 3] must be four numbers" in str(caught.value)
    assert "annotation 3: there is no category 6" in str(caught.value)


@pytest.mark.parametrize(
    ("edit", "repair"),
    [
        (lambda d: d["annotations"][1].update(id=1), "annotation ids"),
        (lambda d: d["annotations"][1].pop("id"), "annotation ids"),
        (lambda d: d["annotations"][2].update(bbox=[20, 10, 25, 10]), "clipped: 1"),
        (lambda d: d["annotations"][2].update(bbox=[-3, 10, 10, 10]), "clipped: 1"),
        (lambda d: d["annotations"][2].update(bbox=[20, 10, 0, 10]), "no area and are left out: 1"),
        (lambda d: d["annotations"][2].update(bbox=[20, 10, 0.5, 3]), "below one pixel"),
        (lambda d: d["annotations"][2].update(area="200"), "areas"),
        (lambda d: d["annotations"][2].update(iscrowd="0"), "iscrowd"),
    ],
)
def test_repair_is_reported(make_dataset: MakeDataset, edit: Edit, repair: str) -> None:
    (reported,) = check_dataset(make_dataset(edit)).repairs

    assert repair in reported


def test_long_texts_of_faults_are_cut(make_dataset: MakeDataset) -> None:
    name = "long-" * 40
    many = [{"id": 100 + i, "file_name": name, "width": 8, "height": 8} for i in range(50)]

    with pytest.raises(DataError, match="and 47 more") as caught:
        check_dataset(make_dataset(lambda d: d["images"].extend(many)))

    assert len(str(caught.value)) <= 4000


def test_annotation_file_is_named_when_it_is_missing_or_not_json(make_dataset: MakeDataset) -> None:
    spec = make_dataset()

    spec.train.annotations.write_text("{")
    with pytest.raises(DataError, match=r"train\.json: the annotation file is not JSON"):
        check_dataset(spec)
    spec.train.annotations.unlink()
    with pytest.raises(DataError, match=r"train\.json: the annotation file cannot be read"):
        CocoSplit(spec.train)


@pytest.mark.parametrize(("name", "image"), [("wide.png", 7), ("tall.jpg", 3)])
def test_truncated_image_is_named(make_dataset: MakeDataset, name: str, image: int) -> None:
    spec = make_dataset()
    path = spec.train.images / name
    path.write_bytes(path.read_bytes()[:-100])

    with pytest.raises(DataError, match=rf"image {image}: the image cannot be read: .*{name}"):
        check_dataset(spec)
    with pytest.raises(DataError, match=rf"{name}: the image cannot be read"):
        CocoSplit(spec.train).image(["wide.png", "tall.jpg"].index(name))


def test_file_that_is_no_image_is_named(make_dataset: MakeDataset) -> None:
    spec = make_dataset()
    Path(spec.train.images / "wide.png").write_text("hello")

    with pytest.raises(DataError, match=r"image 7: the image cannot be read"):
        check_dataset(spec)


def test_boxes_without_area_are_left_out_when_they_are_as_rare_as_in_coco(
    make_dataset: MakeDataset,
) -> None:
    def add_many(d: dict[str, Any]) -> None:
        sound = d["annotations"][0]
        d["annotations"] += [sound | {"id": 10 + i} for i in range(20_000)]
        d["annotations"].append(sound | {"id": 5, "bbox": [4, 4, 3, 0]})

    spec = make_dataset(add_many)

    assert check_dataset(spec).train.num_empty_boxes == 1
    assert len(CocoSplit(spec.train).records[0].boxes) == 20_002
