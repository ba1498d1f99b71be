"""Keeps decoded images in memory that a process shares with those that it forks."""

import math
import mmap
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
Shape = tuple[int, int, int]


class ImageCache:
    """Decoded images up to a number of bytes, shared with forked processes.

    The images that have a place are fixed from the start, so no lock is needed: two processes that
    fill the same place at the same time write the same pixels. Memory is taken when it is filled.
    """

    def __init__(self, shapes: Mapping[int, Shape], max_bytes: int) -> None:
        """
        Args:
            shapes: Height, width and channels of each image by its index. Those that come first
                have a place, as long as there is room.
            max_bytes: Size of all places, in bytes.
        """
        self._shapes = shapes
        self._places, size = _places(shapes, max_bytes)
        # An anonymous mapping is shared, and does not count as a file in /dev/shm.
        memory = np.frombuffer(mmap.mmap(-1, max(1, size + len(self._places))), np.uint8)
        self._pixels, self._is_filled = memory[:size], memory[size:]
        self._numbers = {index: number for number, index in enumerate(self._places)}
        self._views: dict[int, Pixels] = {}

    def get(self, index: int) -> Pixels | None:
        """Return the pixels of an image, H x W x 3; None if they are not there."""
        number = self._numbers.get(index)
        if number is None or not self._is_filled[number]:
            return None
        return self._view(index)

    def put(self, index: int, pixels: Pixels) -> Pixels:
        """Keep the pixels of an image that has a place; return them as `get` will."""
        number = self._numbers.get(index)
        if number is None:
            return pixels
        self._view(index)[:] = pixels
        self._is_filled[number] = 1
        return self._view(index)

    def _view(self, index: int) -> Pixels:
        if index not in self._views:
            start, shape = self._places[index], self._shapes[index]
            self._views[index] = self._pixels[start : start + math.prod(shape)].reshape(shape)
        return self._views[index]


def _places(shapes: Mapping[int, Shape], max_bytes: int) -> tuple[dict[int, int], int]:
    """Return the first byte of each image that has a place, and the size of all places."""
    places: dict[int, int] = {}
    used = 0
    for index, shape in shapes.items():
        size = math.prod(shape)
        if used + size <= max_bytes:
            places[index] = used
            used += size
    return places, used
