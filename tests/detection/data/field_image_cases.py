"""Image files and their names as people have them, with the right outcome of each."""

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image

from tests.detection.data.field_draft import (
    CASES,
    COLOURS,
    ORIENTATION,
    Case,
    Draft,
    add_annotation,
    case,
    change_image,
    drawn,
    encoded,
    replace_image,
)

# Names


@case("accept")
def name_in_a_subfolder(draft: Draft) -> None:
    replace_image(draft, "sub/dir/x.png", draft.files["train-1.png"])


@case("accept")
def name_with_unicode(draft: Draft) -> None:
    replace_image(draft, "m\u00fcll-\u56fe\u50cf.png", draft.files["train-1.png"])


@case("accept")
def name_absolute_inside_the_folder(draft: Draft) -> None:
    change_image(draft, file_name="@CASE@/images/train-1.png")


@case("warn", "backslashes")
def name_with_backslashes(draft: Draft) -> None:
    replace_image(draft, "sub/x.png", draft.files["train-1.png"])
    change_image(draft, file_name="sub\\x.png")


@case("refuse", "there is 'train-1.png'")
def name_in_another_case(draft: Draft) -> None:
    change_image(draft, file_name="TRAIN-1.PNG")


@case("refuse", "NUL")
def name_with_nul(draft: Draft) -> None:
    change_image(draft, file_name="a\0b.png")


@case("refuse", "repeats the folder")
def name_repeats_the_folder(draft: Draft) -> None:
    change_image(draft, file_name="images/train-1.png")


@case("refuse", "is a URL")
def name_is_a_url(draft: Draft) -> None:
    change_image(draft, file_name="https://example.org/train-1.png")


@case("refuse", "missing")
def file_missing(draft: Draft) -> None:
    del draft.files["train-1.png"]


# Files


@case("refuse", "the file is empty")
def file_of_zero_bytes(draft: Draft) -> None:
    draft.files["train-1.png"] = b""


@case("refuse", "it is text")
def file_is_html(draft: Draft) -> None:
    replace_image(draft, "train-1.jpg", b"<!DOCTYPE html><html>404</html>")


@case("refuse", "cannot be read")
def file_cut_in_half(draft: Draft) -> None:
    data = encoded(drawn("train", 1), "JPEG")
    replace_image(draft, "train-1.jpg", data[: len(data) // 2])


@case("warn", "miss their last bytes")
def file_without_its_last_bytes(draft: Draft) -> None:
    replace_image(draft, "train-1.jpg", encoded(drawn("train", 1), "JPEG", quality=95)[:-2])


@case("warn", "miss their last bytes")
def png_without_its_end(draft: Draft) -> None:
    draft.files["train-1.png"] = draft.files["train-1.png"][:-12]


@case("warn", "under two ids")
def file_under_two_ids(draft: Draft) -> None:
    draft.train["images"].append(draft.train["images"][0] | {"id": 9})
    add_annotation(draft, image_id=9)


@case("warn", "copies")
def file_copied_under_another_name(draft: Draft) -> None:
    draft.files["copy.png"] = draft.files["train-1.png"]
    draft.train["images"].append(draft.train["images"][0] | {"id": 9, "file_name": "copy.png"})
    add_annotation(draft, image_id=9)


@case("warn", "in two splits")
def validation_is_training(draft: Draft) -> None:
    draft.documents["val"] = copy.deepcopy(draft.train)


@case("warn", "in two splits")
def validation_image_has_the_content_of_a_training_image(draft: Draft) -> None:
    draft.files["val-1.png"] = draft.files["train-1.png"]


@case("warn", "no object; training leaves them out unless training.use_empty_images")
def images_without_objects(draft: Draft) -> None:
    draft.train["annotations"] = draft.train["annotations"][:2]


# Pixels


def _exif(value: int) -> bytes:
    exif = Image.Exif()
    exif[ORIENTATION] = value
    return exif.tobytes()


_STORED = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
"""How pixels are stored that an orientation shows upright."""


def _turned(orientation: int, form: str) -> Callable[[Draft], None]:
    def edit(draft: Draft) -> None:
        stored = drawn("train", 1).transpose(_STORED[orientation])
        options = {"lossless": True} if form == "WEBP" else {"quality": 95}
        data = encoded(stored, form, exif=_exif(orientation), **options)
        replace_image(draft, f"train-1.{form.lower()}", data)

    return edit


CASES += [
    Case(f"exif_{value}_{form.lower()}", "accept", "", _turned(value, form))
    for value in _STORED
    for form in ("JPEG", "PNG", "WEBP")
]


@case("accept")
def exif_odd(draft: Draft) -> None:
    data = encoded(drawn("train", 1), "JPEG", quality=95, exif=_exif(0))
    replace_image(draft, "train-1.jpg", data)


@case("refuse", "EXIF orientation 6")
def exif_with_the_stored_size_in_the_record(draft: Draft) -> None:
    _turned(6, "JPEG")(draft)
    change_image(draft, width=48, height=64)


def _converted(form: str, mode: str, **options: Any) -> Callable[[Draft], None]:
    def edit(draft: Draft) -> None:
        data = encoded(drawn("train", 1).convert(mode), form, **options)
        replace_image(draft, f"train-1.{form.lower()}", data)

    return edit


CASES += [
    Case(f"pixels_{form.lower()}_{mode.lower()}", "accept", "", _converted(form, mode, **options))
    for form, mode, options in (
        ("PNG", "RGBA", {}),
        ("PNG", "LA", {}),
        ("PNG", "L", {}),
        ("PNG", "P", {}),
        ("PNG", "1", {}),
        ("JPEG", "L", {}),
        ("JPEG", "CMYK", {}),
        ("BMP", "RGB", {}),
        ("TIFF", "RGB", {"compression": "tiff_lzw"}),
        ("WEBP", "RGB", {}),
    )
]


@case("accept")
def pixels_with_another_extension(draft: Draft) -> None:
    replace_image(draft, "train-1.jpg", draft.files["train-1.png"])


@case("warn", "16 bits")
def pixels_of_16_bits(draft: Draft) -> None:
    grey = np.asarray(drawn("train", 1).convert("L"), dtype=np.uint16) * 257
    draft.files["train-1.png"] = encoded(Image.fromarray(grey), "PNG")


@case("refuse", "32-bit pixels")
def pixels_of_32_bit_floats(draft: Draft) -> None:
    grey = np.asarray(drawn("train", 1).convert("L"), dtype=np.float32)
    replace_image(draft, "train-1.tif", encoded(Image.fromarray(grey), "TIFF"))


def _plain(draft: Draft, width: int, height: int) -> None:
    """Replace the first image by one of another size, with one red box that fills its left half."""
    pixels = np.full((height, width, 3), 120, dtype=np.uint8)
    pixels[:, : width // 2] = COLOURS[1]
    draft.files["train-1.png"] = encoded(Image.fromarray(pixels), "PNG")
    change_image(draft, width=width, height=height)
    annotations = draft.train["annotations"]
    draft.train["annotations"] = list(annotations[2:])
    add_annotation(draft, image_id=1, category_id=1, bbox=[0, 0, width // 2, height], area=1)


@case("accept")
def strip_of_4_pixels(draft: Draft) -> None:
    _plain(draft, 3000, 4)


@case("accept")
def image_of_8_pixels(draft: Draft) -> None:
    _plain(draft, 8, 8)
