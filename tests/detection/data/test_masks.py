"""Masks are read as COCO writes them, agree with pycocotools, and follow their images."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as pycocotools

from detection.data.augmentations import Augmentation, Crop
from detection.data.batches import TrainingBatches, make_batch
from detection.data.coco import CocoSplit, check_dataset
from detection.data.findings import Severity
from detection.data.inspection import inspect_dataset
from detection.data.mask_pixels import masks_of
from detection.data.masks import drawn, encoded, read_mask
from detection.data.paths import inspect_paths
from detection.data.records import ImageRecord
from detection.data.shapes import make_shapes
from searchd.domain.errors import DataError
from searchd.domain.resolution import Resolution
from searchd.spec import DatasetSpec
from tests.detection.data import format_writers as writers

MakeDataset = Callable[..., DatasetSpec]
SQUARE = [[2, 1, 5, 1, 5, 3, 2, 3]]
"""Columns 2 to 4 and rows 1 to 2."""


def masked(document: dict[str, Any]) -> None:
    """Give each object a polygon: its box."""
    for annotation in document["annotations"]:
        x, y, w, h = annotation["bbox"]
        annotation["segmentation"] = [[x, y, x + w, y, x + w, y + h, x, y + h]]


def test_polygon_covers_the_pixels_inside() -> None:
    mask = read_mask(SQUARE, 6, 4)

    assert mask is not None
    assert drawn(mask, 6, 4).tolist() == [
        [0, 0, 0, 0, 0, 0],
        [0, 0, 1, 1, 1, 0],
        [0, 0, 1, 1, 1, 0],
        [0, 0, 0, 0, 0, 0],
    ]


def test_counts_run_down_the_columns_and_begin_outside() -> None:
    mask = read_mask({"size": [2, 3], "counts": [1, 2, 3]}, 3, 2)

    assert mask is not None
    assert drawn(mask, 3, 2).tolist() == [[0, 1, 0], [1, 0, 0]]


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools'
@pytest.mark.parametrize("seed", range(5))
def test_polygons_and_compressed_counts_agree_with_pycocotools(seed: int) -> None:
    rng = np.random.default_rng(seed)
    polygons = [rng.uniform(-5, 60, 2 * int(rng.integers(3, 9))).tolist() for _ in range(2)]
    theirs = pycocotools.merge(pycocotools.frPyObjects(polygons, 40, 50))

    from_polygons = read_mask(polygons, 50, 40)
    from_counts = read_mask({"size": [40, 50], "counts": theirs["counts"].decode()}, 50, 40)

    assert from_polygons == from_counts == theirs["counts"].decode()
    assert np.array_equal(drawn(theirs["counts"].decode(), 50, 40), pycocotools.decode(theirs))


def test_pixels_come_back_from_their_mask() -> None:
    pixels = np.random.default_rng(0).random((7, 9)) < 0.4

    assert np.array_equal(drawn(encoded(pixels), 9, 7), pixels)


@pytest.mark.parametrize("nothing", [None, [], {}, ""])
def test_object_without_segmentation_has_no_mask(nothing: object) -> None:
    assert read_mask(nothing, 6, 4) is None


@pytest.mark.parametrize(
    ("segmentation", "message"),
    [
        ([[1, 2, 3, 4]], "no list of x, y, x, y, ... of 3 points"),
        ([[1, 2, 3, 4, 5, "6"]], "no list of x, y, x, y, ... of 3 points"),
        ([[1, 2, 3, 4, 5, float("nan")]], "far outside 6x4 pixels"),
        ([[1, 2, 3, 4, 1e12, 6]], "far outside 6x4 pixels"),
        ("ab", "neither a list of polygons nor an RLE"),
        ({"size": [6, 4], "counts": [24]}, r"the image \[height, width\] is \[4, 6\]"),
        ({"size": [4, 6], "counts": [20]}, "add up to 20 pixels, the image has 24"),
        ({"size": [4, 6], "counts": [30, -6]}, "neither whole numbers >= 0 nor compressed"),
        ({"size": [4, 6], "counts": "\x7f"}, "have the character"),
        ({"size": [4, 6], "counts": "P"}, "end inside a number"),
        (
            {"size": [4, 6], "counts": "P" * 10**6},
            "a number in counts of segmentation is too large",
        ),
        ({"size": [4, 6]}, "neither whole numbers >= 0 nor compressed"),
    ],
)
def test_segmentation_that_is_no_mask_says_why(segmentation: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_mask(segmentation, 6, 4)


def test_mask_of_an_image_of_impossible_size_is_not_drawn() -> None:
    with pytest.raises(DataError, match="images of at most 65500 pixels on each side"):
        read_mask([[0, 0, 2**31 - 1, 0, 0, 2**31 - 1]], 2**31 - 1, 2**31 - 1)


def test_split_has_masks_if_every_object_but_crowds_has_one(make_dataset: MakeDataset) -> None:
    def without_crowds_mask(document: dict[str, Any]) -> None:
        masked(document)
        document["annotations"][3]["segmentation"] = []

    split = CocoSplit(make_dataset(without_crowds_mask).train)

    assert split.has_masks
    assert [mask is None for mask in split.masked_records[0].masks] == [False, False]
    assert split.masked_records[0].crowd_masks == (None,)
    assert split.records[0].masks == (None, None)  # read only where they are asked for


def test_split_without_a_mask_is_refused_with_the_number_that_miss_it(
    make_dataset: MakeDataset,
) -> None:
    def without_one(document: dict[str, Any]) -> None:
        masked(document)
        del document["annotations"][1]["segmentation"]

    split = CocoSplit(make_dataset(without_one).train)

    assert not split.has_masks
    with pytest.raises(DataError, match="train.json: 1 objects have no mask"):
        _ = split.masked_records


def test_check_counts_masks_and_warns_of_those_that_it_cannot_read(
    make_dataset: MakeDataset,
) -> None:
    def with_broken(document: dict[str, Any]) -> None:
        masked(document)
        document["annotations"][0]["segmentation"] = [[1, 2]]

    spec = make_dataset(with_broken)

    summary = check_dataset(spec)

    assert summary.statistics is not None
    assert summary.statistics["splits"]["train"]["masks"] == 2
    assert summary.statistics["splits"]["validation"]["masks"] == 0
    warnings = inspect_dataset(spec).findings.of(Severity.WARNING)
    (found,) = (each for each in warnings if each.kind.name == "mask")
    assert (found.count, found.examples[0].record) == (1, "annotation 1")


def test_ground_truth_has_the_masks_that_are_asked_for(make_dataset: MakeDataset) -> None:
    split = CocoSplit(make_dataset(masked).train)

    plain, with_masks = split.ground_truth(), split.ground_truth(masks=True)

    assert all("segmentation" not in each for each in plain["annotations"])
    first = with_masks["annotations"][0]["segmentation"]
    assert drawn(first["counts"], *first["size"][::-1])[:5, :10].all()
    assert int(drawn(first["counts"], *first["size"][::-1]).sum()) == 50


def test_polygon_of_a_yolo_file_is_a_mask(tmp_path: Path) -> None:
    writers.yolo_ultralytics(tmp_path)
    (tmp_path / "labels/train/2.txt").write_text("0 0.25 0.25 0.75 0.25 0.75 0.75 0.25 0.75\n")

    records = inspect_paths([tmp_path]).splits["train"].records

    masks = [mask for record in records for mask in record.masks if mask is not None]
    assert len(masks) == 1
    assert np.argwhere(drawn(masks[0], 64, 48)).min(0).tolist() == [12, 16]  # row, column
    assert int(drawn(masks[0], 64, 48).sum()) == 32 * 24


def test_masks_of_shapes_are_their_pixels_and_fill_their_boxes(tmp_path: Path) -> None:
    spec = make_shapes(tmp_path, num_train=4, num_validation=1, image_size=64)
    document = json.loads(spec.train.annotations.read_text())

    for annotation in document["annotations"]:
        pixels = drawn(annotation["segmentation"]["counts"], 64, 64)
        rows, columns = np.argwhere(pixels).T
        x, y, width, height = annotation["bbox"]
        assert int(pixels.sum()) == annotation["area"]
        assert [x, x + width, y, y + height] == [
            columns.min(),
            columns.max() + 1,
            rows.min(),
            rows.max() + 1,
        ]


def record(**values: Any) -> ImageRecord:
    """An image of 8 x 4 pixels with two objects: its left quarter, and its right half."""
    pixels = np.zeros((2, 4, 8), np.uint8)
    pixels[0, :, :2] = pixels[1, :, 4:] = 1
    made = ImageRecord(
        image_id=1,
        path=Path("image.png"),
        width=8,
        height=4,
        boxes=np.array([[0, 0, 2, 4], [4, 0, 8, 4]], np.float32),
        labels=np.array([0, 1]),
        areas=np.array([8.0, 16.0]),
        crowd_boxes=np.zeros((0, 4), np.float32),
        crowd_labels=np.zeros(0, np.int64),
        masks=(encoded(pixels[0]), encoded(pixels[1])),
    )
    return replace(made, **values)


def columns(augmentation: Augmentation, shape: tuple[int, int], padded: tuple[int, int]) -> Any:
    """The first row of each mask."""
    image = np.zeros((*shape, 3), np.uint8)
    return masks_of([record()], [image], padded, [augmentation])[:, 0].tolist()


def test_masks_are_flipped_and_padded_with_their_image() -> None:
    assert columns(Augmentation(flip=True), (4, 8), (4, 10)) == [
        [0, 0, 0, 0, 0, 0, 1, 1, 0, 0],
        [1, 1, 1, 1, 0, 0, 0, 0, 0, 0],
    ]


def test_masks_are_resized_with_their_image() -> None:
    assert columns(Augmentation(), (2, 4), (2, 4)) == [[1, 0, 0, 0], [0, 0, 1, 1]]


def test_masks_are_cropped_with_their_image_and_left_out_with_their_box() -> None:
    crop = Crop(window=(3, 0, 7, 4), frame=(4, 4), scale=1.0, kept=np.array([1]))

    assert columns(Augmentation(crop=crop), (4, 4), (4, 4)) == [[0, 1, 1, 1]]


def test_batch_has_the_masks_of_each_image(make_dataset: MakeDataset) -> None:
    split = CocoSplit(make_dataset(masked).train)

    batch = make_batch(split, [0, 1], Resolution(80, 40), [False, True], masks=True)

    wide, tall = (sample.gt_instances.masks for sample in batch.samples)
    assert wide.masks.shape == (2, *batch.inputs.shape[-2:])
    assert tall.masks.shape == (1, *batch.inputs.shape[-2:])
    x1, y1, x2, y2 = (int(side) for side in batch.samples[0].gt_instances.bboxes[0])
    assert (x1, y1, x2, y2) == (0, 0, 20, 10)
    assert wide.masks[0, y1:y2, x1:x2].all()
    assert int(wide.masks[0].sum()) == 20 * 10


def test_training_batches_have_masks_only_if_they_are_asked_for(make_dataset: MakeDataset) -> None:
    split = CocoSplit(make_dataset(masked).train)
    options: dict[str, Any] = {"batch_size": 2, "resolutions": [Resolution(40, 20)]}

    plain = TrainingBatches(split, **options).batch(0)
    with_masks = TrainingBatches(split, masks=True, **options).batch(0)

    assert all("masks" not in sample.gt_instances for sample in plain.samples)
    assert all("masks" in sample.gt_instances for sample in with_masks.samples)


def test_training_on_masks_is_refused_before_its_first_step(make_dataset: MakeDataset) -> None:
    with pytest.raises(DataError, match="3 objects have no mask, from which a Mask R-CNN learns"):
        TrainingBatches(
            CocoSplit(make_dataset().train),
            batch_size=1,
            resolutions=[Resolution(40, 20)],
            masks=True,
        )
