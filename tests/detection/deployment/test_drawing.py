"""Boxes are drawn, and the sample picture shows ground truth beside detections."""

import io
from pathlib import Path

import numpy as np
from PIL import Image

from detection.data.coco import CocoSplit
from detection.data.masks import as_segmentation, encoded
from detection.deployment.drawing import cover, draw, sample
from detection.deployment.opened import open_export
from tests.fixed_graphs import write_graph
from tests.small_splits import write_split


def test_a_box_has_the_colour_of_its_class() -> None:
    picture = np.zeros((40, 40, 3), dtype=np.uint8)

    draw(picture, [(1, "", (5.2, 6.0, 30.0, 35.0))])

    assert picture[20, 5].tolist() == [0, 130, 200]
    assert picture[35, 20].tolist() == [0, 130, 200]
    assert picture[20, 20].tolist() == [0, 0, 0]


def test_the_pixels_of_an_object_are_tinted() -> None:
    picture = np.full((4, 6, 3), 100, dtype=np.uint8)
    pixels = np.zeros((4, 6), dtype=np.uint8)
    pixels[1, 2] = 1

    cover(picture, [(0, as_segmentation(encoded(pixels), 6, 4)), (1, None)])

    assert picture[1, 2].tolist() == [158, 66, 88]  # 45 % of the colour of the first class
    assert (picture == 100).all(axis=2).sum() == 23


def test_the_sample_has_ground_truth_at_the_left_and_detections_at_the_right(
    tmp_path: Path,
) -> None:
    split = CocoSplit(write_split(tmp_path / "data", {"cat": [2, 2, 8, 8], "dog": [40, 40, 8, 8]}))

    content = sample(open_export(write_graph(tmp_path)), split)

    picture = np.asarray(Image.open(io.BytesIO(content)))
    assert picture.shape == (24 + 512, 2 * 512, 3)  # 64 pixels are enlarged 8 times
    left, right = picture[24:, :512].astype(int), picture[24:, 512:].astype(int)
    assert is_red(left[48, 16])  # the cat of the ground truth
    assert not is_red(right[48, 16])
    assert is_red(right[200, 128])  # the cat that was found: (16, 8, 48, 40)
    assert not is_red(left[200, 128])


def is_red(pixel: np.ndarray) -> bool:
    """Whether a pixel of a JPEG file has the first colour, rather than the grey of the image."""
    return bool(pixel[0] - pixel[1] > 50)
