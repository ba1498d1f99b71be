"""Property: perfect detections of any accepted data set have AP 1, and boxes are where drawn."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from detection.data.coco import CocoSplit, check_dataset
from detection.measurement.evaluation import score
from searchd.domain.errors import DataError
from tests.detection.data.field_draft import ORIENTATION, Draft, encoded, write
from tests.detection.data.test_field_cases import perfect

CLASSES = 3
UPRIGHT = {
    3: Image.Transpose.ROTATE_180,
    6: Image.Transpose.ROTATE_90,
    8: Image.Transpose.ROTATE_270,
}
"""How pixels are stored that an EXIF orientation shows upright."""
ids = st.one_of(
    st.integers(-(2**130), 2**130), st.text(min_size=1, max_size=4), st.integers(0, 9).map(float)
)
sides = st.integers(4, 40)
boxes = st.tuples(st.integers(0, 39), st.integers(0, 39), sides, sides, st.integers(0, CLASSES - 1))
images = st.tuples(
    st.integers(8, 40),
    st.integers(8, 40),
    st.sampled_from([None, 3, 6, 8]),
    st.lists(boxes, max_size=6),
)


@st.composite
def documents(draw: st.DrawFn) -> dict[str, Any]:
    """Draw a split: images with their orientation, and annotations with ids of every kind."""
    drawn = draw(st.lists(images, min_size=1, max_size=4))
    image_ids = draw(st.lists(ids, min_size=len(drawn), max_size=len(drawn), unique_by=str))
    crowds = st.sampled_from([0, None, False, "0", 0, 0, 1])
    annotations = [
        {
            "id": draw(ids),
            "image_id": image_id,
            "category_id": label * 7,
            "bbox": [x, y, w, h],
            "iscrowd": draw(crowds),
        }
        for image_id, (_, _, _, objects) in zip(image_ids, drawn, strict=True)
        for x, y, w, h, label in objects
    ]
    return {
        "images": [
            {"id": i, "file_name": f"{n}.jpg", "width": w, "height": h, "turn": turn}
            for n, (i, (w, h, turn, _)) in enumerate(zip(image_ids, drawn, strict=True))
        ],
        "annotations": annotations,
        "categories": [{"id": label * 7, "name": f"class {label}"} for label in range(CLASSES)],
    }


@settings(max_examples=60, deadline=None)
@given(documents())
def test_perfect_detections_of_accepted_data_have_ap_1(document: dict[str, Any]) -> None:
    files = {image["file_name"]: picture(image) for image in document["images"]}
    with tempfile.TemporaryDirectory() as folder:
        spec = write(Draft({"train": document, "val": document}, files), Path(folder))
        try:
            check_dataset(spec)
        except DataError:
            return
        split = CocoSplit(spec.train)

        assert score(split, perfect(split)).ap == pytest.approx(1)
        for index, record in enumerate(split.records):
            assert split.image(index).shape == (record.height, record.width, 3)
            _quadrants_are_where_they_were_drawn(split.image(index))


def picture(image: dict[str, Any]) -> bytes:
    """Draw an image whose quarters have grey values 0, 80, 160 and 240, stored as its turn says."""
    width, height = image["width"], image["height"]
    pixels = np.zeros((height, width, 3), dtype=np.uint8)
    pixels[: height // 2, width // 2 :] = 80
    pixels[height // 2 :, : width // 2] = 160
    pixels[height // 2 :, width // 2 :] = 240
    shown = Image.fromarray(pixels)
    if image["turn"] is None:
        return encoded(shown, "JPEG", quality=95)
    exif = Image.Exif()
    exif[ORIENTATION] = image["turn"]
    return encoded(shown.transpose(UPRIGHT[image["turn"]]), "JPEG", quality=95, exif=exif.tobytes())


def _quadrants_are_where_they_were_drawn(image: Any) -> None:
    corners = [image[0, 0, 0], image[0, -1, 0], image[-1, 0, 0], image[-1, -1, 0]]
    np.testing.assert_allclose(np.array(corners, dtype=int), [0, 80, 160, 240], atol=30)
