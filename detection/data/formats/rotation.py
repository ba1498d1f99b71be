"""Boxes around polygons and rotated boxes."""

import math
from collections.abc import Iterable, Sequence


def around(points: Iterable[Sequence[float]]) -> list[float]:
    """Return x, y, width, height of the smallest box around points (x, y)."""
    xs, ys = zip(*points, strict=True)
    return [min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)]


def rotated(
    box: Sequence[float], degrees: float, centre: tuple[float, float]
) -> list[tuple[float, float]]:
    """Return the corners of a box x, y, width, height that is turned clockwise around a point."""
    x, y, width, height = box
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    corners = [(x, y), (x + width, y), (x + width, y + height), (x, y + height)]
    return [
        (
            centre[0] + (px - centre[0]) * cos - (py - centre[1]) * sin,
            centre[1] + (px - centre[0]) * sin + (py - centre[1]) * cos,
        )
        for px, py in corners
    ]
