"""Images are prepared by the shipped program as they were for the comparison."""

from typing import Any

import numpy as np
import pytest

from detection.deployment import predict_program
from detection.deployment.exported import Found
from detection.deployment.images import boxes_in_image, prepared
from detection.families import PIXEL_MEAN
from searchd.domain.resolution import Resolution


def image(width: int, height: int) -> Any:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("size", [(200, 100), (90, 300), (96, 64)], ids=str)
@pytest.mark.parametrize("fixed", [True, False], ids=["fixed", "dynamic"])
def test_predict_prepares_images_alike(size: tuple[int, int], fixed: bool) -> None:
    pixels = image(*size)
    facts = {"resolution": [96, 64], "fixed": fixed, "fill": list(PIXEL_MEAN)}

    ours = prepared(pixels, Resolution(96, 64), fixed=fixed)
    theirs, scale = predict_program.prepare(pixels[..., ::-1], facts)

    np.testing.assert_array_equal(theirs, ours.pixels)
    assert scale.tolist() == pytest.approx(ours.scale * 2)


def test_a_fixed_input_is_filled_with_what_normalisation_makes_zero() -> None:
    found = prepared(image(100, 100), Resolution(96, 64), fixed=True)

    assert found.pixels.shape == (1, 3, 64, 96)
    assert found.scale == (0.64, 0.64)
    assert found.pixels[0, :, 0, 64:].T.tolist() == pytest.approx(
        np.array([PIXEL_MEAN] * 32, dtype=np.float32)
    )


def test_a_portrait_keeps_its_long_side_where_any_size_is_taken() -> None:
    found = prepared(image(100, 150), Resolution(96, 64), fixed=False)

    assert found.pixels.shape == (1, 3, 96, 64)


def test_boxes_are_returned_in_pixels_of_the_image() -> None:
    found = Found(
        boxes=np.array([[8, 4, 16, 12]], dtype=np.float32),
        scores=np.array([0.5], dtype=np.float32),
        labels=np.array([0]),
    )

    assert boxes_in_image(found, (0.5, 0.25)).tolist() == [[16, 16, 32, 48]]
