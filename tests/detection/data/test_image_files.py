"""Images that end too early are read if their pixels are there, and refused if they are not."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from detection.data.image_files import inspect_image, read_pixels, shown_size
from searchd.domain.errors import DataError
from tests.detection.data.field_draft import encoded


def photo() -> Image.Image:
    """800x600 pixels of smooth colours."""
    coarse = np.random.default_rng(0).integers(0, 255, (15, 20, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((800, 600), Image.Resampling.BICUBIC)


def written(folder: Path, data: bytes) -> Path:
    path = folder / "photo.jpg"
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("missing", [1, 2, 10])
def test_jpeg_without_its_last_bytes_is_read(tmp_path: Path, missing: int) -> None:
    data = encoded(photo(), "JPEG", quality=90)
    complete = read_pixels(written(tmp_path, data))

    path = written(tmp_path, data[:-missing])
    found = inspect_image(path)

    assert found.lost_share is not None
    assert found.lost_share <= 0.01
    assert (read_pixels(path) != complete).any(axis=2).mean() <= 0.01
    assert np.array_equal(read_pixels(path)[:570], complete[:570])


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("share", [0.05, 0.5, 0.9])
def test_jpeg_that_is_cut_is_refused(tmp_path: Path, share: float, progressive: bool) -> None:
    data = encoded(photo(), "JPEG", quality=90, progressive=progressive)
    path = written(tmp_path, data[: int(len(data) * (1 - share))])

    with pytest.raises(DataError, match=r"photo\.jpg: the image cannot be read: .*truncated"):
        inspect_image(path)


def test_progressive_jpeg_without_its_end_marker_is_read(tmp_path: Path) -> None:
    path = written(tmp_path, encoded(photo(), "JPEG", progressive=True)[:-2])

    assert inspect_image(path).lost_share == 0


def test_bytes_after_the_end_do_not_matter(tmp_path: Path) -> None:
    path = written(tmp_path, encoded(photo(), "JPEG") + bytes(5000))

    assert inspect_image(path).lost_share is None


def test_pipe_is_refused_without_waiting_for_a_writer(tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    os.mkfifo(path)

    with pytest.raises(DataError, match="the image cannot be read: it is no file"):
        inspect_image(path)
    assert shown_size(path) is None


def test_size_of_an_image_that_pillow_finds_too_large_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path, encoded(photo(), "JPEG"))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)

    assert shown_size(path) == (800, 600)
