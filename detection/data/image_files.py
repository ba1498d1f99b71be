"""Reads image files: pixels as mmcv reads them, so that training sees what an exported model sees.

The EXIF orientation is applied, as viewers and annotation tools do. Images of 16 bits per channel
are reduced to the upper 8 bits. Images whose last bytes are missing are read if the pixels are
there.
"""

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from searchd.domain.errors import DataError

MAX_LOST_SHARE = 0.01
"""Largest share of an image's pixels that missing bytes may affect: those from the first block that
is not complete."""
_BLOCK_PX = 16
"""Side of the largest blocks that a JPEG consists of, in pixels."""
_ORIENTATION = 0x0112
_TURNED = range(5, 9)
"""EXIF orientations that exchange width and height."""
_JPEG_START, _JPEG_END = b"\xff\xd8", b"\xff\xd9"
_PNG_END = b"\0\0\0\0IEND\xaeB`\x82"
_FLOAT_STARTS = (b"#?RADIANCE", b"#?RGBE", b"PF\n", b"Pf\n", b"v/1\x01")
_PADDINGS = (b"\x55" * 512, b"\xaa" * 512, bytes(range(1, 255)) * 2)

Pixels = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class ImageFile:
    """Facts about an image file that can be read."""

    width: int
    """Width as shown, in pixels."""
    height: int
    digest: str
    """SHA-256 of the file."""
    orientation: int
    """EXIF orientation, 1 to 8; 1 if there is none or its value means nothing."""
    is_deep: bool
    """Whether there are 16 bits per channel."""
    brightest: int
    """Largest value of the pixels as read, 0 to 255."""
    lost_share: float | None
    """Share of the pixels that missing last bytes affect; None for a complete file."""

    @property
    def stored_size(self) -> tuple[int, int]:
        """Width and height without the EXIF orientation."""
        turned = self.orientation in _TURNED
        return (self.height, self.width) if turned else (self.width, self.height)


def read_pixels(path: Path) -> Pixels:
    """Return the pixels of an image as it is shown: H x W x 3, RGB.

    Raises:
        DataError: The image cannot be read.
        FileNotFoundError: There is no such file.
    """
    pixels, _ = _decoded(_read(path), path)
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), dtype=np.uint8)


def inspect_image(path: Path) -> ImageFile:
    """Read a whole image and return the facts about it.

    Raises:
        DataError: The image cannot be read.
        FileNotFoundError: There is no such file.
    """
    data = _read(path)
    pixels, lost_share = _decoded(data, path)
    deep = _is_deep(data)
    return ImageFile(
        width=pixels.shape[1],
        height=pixels.shape[0],
        digest=hashlib.sha256(data).hexdigest(),
        orientation=_orientation(data),
        is_deep=deep,
        brightest=int(pixels.max()) if deep else 255,
        lost_share=lost_share,
    )


def shown_size(path: Path) -> tuple[int, int] | None:
    """Return width and height of an image as shown, from its header; None if it cannot be read."""
    if not path.is_file():
        return None
    try:
        with Image.open(path) as image:
            value = image.getexif().get(_ORIENTATION, 1)
            width, height = image.size
    except Exception:  # Pillow raises many types for damaged files, and one for very large images
        return _decoded_size(path)
    return (height, width) if value in _TURNED else (width, height)


def _decoded_size(path: Path) -> tuple[int, int] | None:
    try:
        height, width = read_pixels(path).shape[:2]
    except (DataError, OSError):
        return None
    return width, height


def _read(path: Path) -> bytes:
    try:
        if path.exists() and not path.is_file():  # a pipe would wait for ever
            raise _unreadable(path, "it is no file")
        return path.read_bytes()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise _unreadable(path, error.strerror or str(error)) from error
    except ValueError as error:
        raise _unreadable(path, str(error)) from error


def _decoded(data: bytes, path: Path) -> tuple[Pixels, float | None]:
    """Return BGR pixels and the share that missing bytes affect."""
    reason = _refused(data)
    if reason:
        raise _unreadable(path, reason)
    pixels = _decode(data)
    if pixels is not None:
        return pixels, None
    repaired = _repaired(data)
    if repaired is None:
        raise _unreadable(path, _reason(data))
    return repaired


def _decode(data: bytes) -> Pixels | None:
    """Decode as mmcv does. Its decoder ignores the orientation of WebP files."""
    try:
        pixels: Any = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:
        return None
    if pixels is not None and data[8:12] == b"WEBP":
        pixels = _turned(pixels, _orientation(data))
    return None if pixels is None else np.asarray(pixels, dtype=np.uint8)


def _turned(pixels: Pixels, orientation: int) -> Pixels:
    """Apply an EXIF orientation."""
    if orientation in _TURNED:
        pixels = pixels.transpose(1, 0, 2)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)


def _repaired(data: bytes) -> tuple[Pixels, float] | None:
    """Return the pixels of an image that misses its last bytes; None if too many are lost."""
    if data.startswith(_JPEG_START):
        return _repaired_jpeg(data)
    if data.startswith(b"\x89PNG"):
        for missing in range(1, len(_PNG_END) + 1):
            pixels = _decode(data + _PNG_END[-missing:])
            if pixels is not None:
                return pixels, 0.0
    return None


def _repaired_jpeg(data: bytes) -> tuple[Pixels, float] | None:
    """Complete a JPEG in several ways: pixels that do not depend on the way are there."""
    pixels = _decode(data + _JPEG_END)
    if pixels is None:
        return None
    end = data.removesuffix(b"\xff")
    differs = np.zeros(pixels.shape[:2], dtype=bool)
    for padding in _PADDINGS:
        other = _decode(end + padding + _JPEG_END)
        if other is None or other.shape != pixels.shape:
            return None
        differs |= (other != pixels).any(axis=2)
    share = _share_after_first(differs)
    allowed = 0.0 if _is_progressive(data) else MAX_LOST_SHARE
    return (pixels, share) if share <= allowed else None


def _share_after_first(differs: NDArray[np.bool_]) -> float:
    """Return the share of the blocks from the first differing one on, in the order of a JPEG.

    A decoder fills all blocks after the end of the data, however the file is completed.
    """
    height, width = (-(-side // _BLOCK_PX) for side in differs.shape)
    padded = np.zeros((height * _BLOCK_PX, width * _BLOCK_PX))
    padded[: differs.shape[0], : differs.shape[1]] = differs
    blocks = padded.reshape(height, _BLOCK_PX, width, _BLOCK_PX).mean(axis=(1, 3))
    # Interpolated colours differ in one line of the blocks above and to the left, too.
    differing = np.flatnonzero(blocks > 2 / _BLOCK_PX)
    if not differing.size:
        return float(differs.mean())
    return 1 - float(differing[0]) / blocks.size


def _is_progressive(data: bytes) -> bool:
    """Return whether a JPEG has several scans: its last bytes refine the whole image."""
    return b"\xff\xc2" in data


def _refused(data: bytes) -> str:
    if not data:
        return "the file is empty"
    if data.startswith(_FLOAT_STARTS):
        return "it has floating-point pixels; convert it to 8 or 16 bits per channel"
    return ""


def _reason(data: bytes) -> str:
    """Return why an image cannot be read."""
    start = data[:64].lstrip().lower()
    if start.startswith(b"version https://git-lfs"):
        return "it is a Git LFS pointer; fetch the file with git lfs pull"
    if start.startswith((b"<", b"{")):
        return "it is text (a web page?), not an image"
    if data[4:8] == b"ftyp" and data[8:12] in (b"heic", b"heix", b"mif1", b"hevc"):
        return "it is a HEIC image; convert it to JPEG"
    return _reason_of_pillow(data)


def _reason_of_pillow(data: bytes) -> str:
    try:
        with Image.open(io.BytesIO(data)) as image:
            if image.mode in ("F", "I"):
                return (
                    f"it has 32-bit pixels (mode {image.mode}); convert it to 8 or 16 bits per "
                    "channel"
                )
            image.load()
            return f"OpenCV cannot read this {image.format} file; save it again, as PNG"
    except UnidentifiedImageError:
        return "it is not an image"
    except Exception as error:  # Pillow's decoders raise many types for damaged files
        return str(error) or type(error).__name__


def _orientation(data: bytes) -> int:
    try:
        value = Image.open(io.BytesIO(data)).getexif().get(_ORIENTATION, 1)
    except Exception:  # as above
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _is_deep(data: bytes) -> bool:
    if data.startswith(b"\x89PNG"):
        return data[24:25] == b"\x10"
    return data[:4] in (b"II*\0", b"MM\0*") and _bits_of_tiff(data) > 8


def _bits_of_tiff(data: bytes) -> int:
    try:
        bits = getattr(Image.open(io.BytesIO(data)), "tag_v2", {}).get(258, (8,))
    except Exception:  # as above
        return 8
    return int(max(bits)) if isinstance(bits, tuple) else int(bits)


def _unreadable(path: Path, reason: str) -> DataError:
    return DataError(f"{path}: the image cannot be read: {reason}")
