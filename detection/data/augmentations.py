"""Draws how each training image is augmented, as a value that every view of the image shares.

A student and its teachers may see an image at different resolutions, so an augmentation is given in
pixels of the image itself: the same part of it, scaled alike, flipped alike, with the same colours.
"""

from dataclasses import dataclass
from typing import Self

import mmcv
import numpy as np
from mmdet.structures.bbox import bbox_overlaps
from numpy.typing import NDArray
from torch import from_numpy

from detection.data.photometric import Distortion
from detection.data.records import ImageRecord
from searchd.domain.resolution import Resolution
from searchd.spec import (
    CropSpec,
    MinIouCropSpec,
    PhotometricDistortionSpec,
    RandomCropSpec,
    TrainingSpec,
)

Boxes = NDArray[np.float32]
Window = tuple[int, int, int, int]
"""A part of an image, xyxy in its pixels; each is at least one pixel wide and high."""

MAX_TRIES = 50
"""Number of crops that are drawn before an image is left as it is (mmdet's)."""
MIN_SIDE_PX = 1.0
"""Smallest width and height in the student's input of an object that a crop or a jitter leaves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Crop:
    """The part of an image that is shown, and its size."""

    window: Window
    frame: tuple[int, int]
    """Width and height, in pixels of the image, that would fill the resolution at a scale of 1."""
    scale: float
    """Factor of the size, relative to the resolution."""
    kept: NDArray[np.int64]
    """Indices of the objects that are left, among those of the record."""

    def factor(self, resolution: Resolution) -> float:
        """Return the size of a pixel of the image in the input of this resolution."""
        return _fit(self.frame, resolution) * self.scale


@dataclass(frozen=True, slots=True, kw_only=True)
class Augmentation:
    """What is done to one image. The default leaves it as it is."""

    flip: bool = False
    """Whether it is mirrored left to right, after the crop."""
    crop: Crop | None = None
    distortion: Distortion | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Augmenter:
    """Draws augmentations."""

    flip_probability: float = 0.5
    """Probability of mirroring an image, in [0, 1]."""
    crop: CropSpec | None = None
    scale_jitter: tuple[float, float] | None = None
    photometric_distortion: PhotometricDistortionSpec | None = None

    @classmethod
    def of(cls, spec: TrainingSpec) -> Self:
        """Return the augmenter of a training."""
        return cls(
            flip_probability=spec.flip_probability,
            crop=spec.crop,
            scale_jitter=spec.scale_jitter,
            photometric_distortion=spec.photometric_distortion,
        )

    def draw(
        self,
        record: ImageRecord,
        resolution: Resolution,
        random: np.random.Generator,
        *,
        flip: bool,
    ) -> Augmentation:
        """Draw the augmentation of one image.

        Args:
            record: The image and its objects.
            resolution: Resolution of the student in this step.
            random: Where to draw from. An augmenter without crop, jitter and distortion draws
                nothing.
            flip: Whether the image is mirrored, which is drawn for the whole batch.
        """
        distorts = self.photometric_distortion
        return Augmentation(
            flip=flip,
            crop=self._draw_crop(record, resolution, random),
            distortion=None if distorts is None else Distortion.drawn(distorts, random),
        )

    def _draw_crop(
        self, record: ImageRecord, resolution: Resolution, random: np.random.Generator
    ) -> Crop | None:
        if self.crop is None and self.scale_jitter is None:
            return None
        for _ in range(MAX_TRIES):
            found = self._try_crop(record, resolution, random)
            if len(found.kept) or not len(record.labels):
                return found
        return None

    def _try_crop(
        self, record: ImageRecord, resolution: Resolution, random: np.random.Generator
    ) -> Crop:
        """Draw a crop, which may be of a part without objects."""
        window: Window = (0, 0, record.width, record.height)
        kept: NDArray[np.int64] = np.arange(len(record.labels))
        if self.crop is not None:
            window, kept = _cropped(self.crop, record, random)
        frame = (window[2] - window[0], window[3] - window[1])
        scale = 1.0
        if self.scale_jitter is not None:
            scale = float(random.uniform(*self.scale_jitter))
            window = _shown(window, scale, resolution, random)
        factor = _fit(frame, resolution) * scale
        sides = visible(record.boxes[kept], window)
        sides = (sides[:, 2:] - sides[:, :2]) * factor
        # An object that was small before stays; only what is left of a larger one may vanish.
        whole = (record.boxes[kept, 2:] - record.boxes[kept, :2]) * factor
        is_left = (sides >= np.minimum(whole, MIN_SIDE_PX)).all(axis=1) & (sides > 0).all(axis=1)
        return Crop(window=window, frame=frame, scale=scale, kept=kept[is_left])


def visible(boxes: Boxes, window: Window) -> Boxes:
    """Return boxes clipped to a window, in its pixels. A box outside has no width or height.

    Args:
        boxes: n x 4, xyxy in pixels of the image.
        window: The part of the image.
    """
    left, top, right, bottom = window
    moved = boxes - np.asarray([left, top, left, top], dtype=np.float32)
    limits = np.asarray([right - left, bottom - top] * 2, dtype=np.float32)
    clipped: Boxes = np.clip(moved, 0, limits)
    return clipped


def _fit(size: tuple[int, int], resolution: Resolution) -> float:
    """Return the largest factor at which long and short side do not exceed those of a
    resolution."""
    _, factor = mmcv.rescale_size(size, (resolution.width, resolution.height), return_scale=True)
    return float(factor)


def _shown(
    window: Window, scale: float, resolution: Resolution, random: np.random.Generator
) -> Window:
    """Return the random part of a window that is not larger than the resolution once it is
    scaled."""
    left, top, right, bottom = window
    width, height = right - left, bottom - top
    factor = _fit((width, height), resolution) * scale
    sides = sorted((resolution.width, resolution.height), reverse=width >= height)
    shown_width, shown_height = (
        min(size, max(1, int(side / factor)))
        for size, side in zip((width, height), sides, strict=True)
    )
    left += int(random.integers(width - shown_width + 1))
    top += int(random.integers(height - shown_height + 1))
    return left, top, left + shown_width, top + shown_height


def _cropped(
    spec: CropSpec, record: ImageRecord, random: np.random.Generator
) -> tuple[Window, NDArray[np.int64]]:
    """Draw a window, and return it with the indices of the objects that belong to it."""
    if isinstance(spec, MinIouCropSpec):
        return _min_iou_crop(spec, record, random)
    return _random_crop(spec, record, random)


def _random_crop(
    spec: RandomCropSpec, record: ImageRecord, random: np.random.Generator
) -> tuple[Window, NDArray[np.int64]]:
    """Draw a window of random size and place, as mmdet's RandomCrop does."""
    shares = random.uniform(spec.min_crop_size, 1, size=2)
    width = max(1, int(record.width * shares[0] + 0.5))
    height = max(1, int(record.height * shares[1] + 0.5))
    left = int(random.integers(record.width - width + 1))
    top = int(random.integers(record.height - height + 1))
    return (left, top, left + width, top + height), np.arange(len(record.labels))


def _min_iou_crop(
    spec: MinIouCropSpec, record: ImageRecord, random: np.random.Generator
) -> tuple[Window, NDArray[np.int64]]:
    """Draw a window that overlaps every object by a drawn IoU, as mmdet's MinIoURandomCrop does.

    Returns:
        The window, and the indices of the objects whose centre is inside.
    """
    width, height = record.width, record.height
    while True:
        min_iou = float(random.choice((1.0, *spec.min_ious, 0.0)))
        if min_iou == 1:
            return (0, 0, width, height), np.arange(len(record.labels))
        for _ in range(MAX_TRIES):
            window = _window(spec, width, height, random)
            if window is None:
                continue
            if not len(record.boxes):
                return window, np.arange(0)
            if _ious(record.boxes, window).min() < min_iou:
                continue
            inside = _centres_inside(record.boxes, window)
            if inside.any():
                return window, np.flatnonzero(inside)


def _window(
    spec: MinIouCropSpec, width: int, height: int, random: np.random.Generator
) -> Window | None:
    """Draw a window with an aspect ratio between 1/2 and 2; None if the draw is of another."""
    new_width = random.uniform(spec.min_crop_size * width, width)
    new_height = random.uniform(spec.min_crop_size * height, height)
    if not 0.5 <= new_height / new_width <= 2:
        return None
    left, top = random.uniform(0, width - new_width), random.uniform(0, height - new_height)
    found = int(left), int(top), int(left + new_width), int(top + new_height)
    return None if found[0] == found[2] or found[1] == found[3] else found


def _ious(boxes: Boxes, window: Window) -> NDArray[np.float32]:
    one = from_numpy(np.asarray([window], dtype=np.float32))
    found: NDArray[np.float32] = bbox_overlaps(one, from_numpy(boxes)).numpy()[0]
    return found


def _centres_inside(boxes: Boxes, window: Window) -> NDArray[np.bool_]:
    left, top, right, bottom = window
    x, y = (boxes[:, 0] + boxes[:, 2]) / 2, (boxes[:, 1] + boxes[:, 3]) / 2
    found: NDArray[np.bool_] = (x > left) & (y > top) & (x < right) & (y < bottom)
    return found
