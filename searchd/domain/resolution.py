"""Input resolutions, written WxH in pixels. Standard library only."""

import re
from dataclasses import dataclass

from searchd.domain.errors import InvalidValueError

_MAX_SHOWN = 80
"""Largest number of characters of a text that a message shows."""


@dataclass(frozen=True, slots=True, order=True)
class Resolution:
    """An input resolution. Images are resized with their aspect ratio kept, to a long side of at
    most `width` and a short side of at most `height`; MACs are counted for an input of exactly this
    size (docs/papers.md 0.5)."""

    width: int
    """Pixels, at least 1."""
    height: int
    """Pixels, at least 1."""

    def __post_init__(self) -> None:
        if self.width < 1 or self.height < 1:
            raise InvalidValueError(f"resolution {self.width}x{self.height} must be positive")

    @property
    def area(self) -> int:
        """Number of pixels."""
        return self.width * self.height

    def __str__(self) -> str:
        return f"{self.width}x{self.height}"

    @classmethod
    def parse(cls, text: str) -> "Resolution":
        """Read "1333x800". Spaces around the numbers and a capital X are accepted.

        Raises:
            InvalidValueError: The text is not two positive integers joined by "x".
        """
        match = re.fullmatch(r"\s*([0-9]{1,9})\s*[xX]\s*([0-9]{1,9})\s*", text)
        if match is None:
            shown = text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}…"
            raise InvalidValueError(
                f'resolution "{shown}" must look like 1333x800 (WxH, in pixels){_meant(text)}'
            )
        return cls(int(match[1]), int(match[2]))


def _meant(text: str) -> str:
    """Return how the resolution that a text probably means is written."""
    numbers = re.findall("[0-9]+", text)
    plain = len(numbers) in (1, 2) and re.fullmatch(r"[0-9\s×*,:/;()\[\]xXpP-]*", text)
    return f"; write {numbers[0]}x{numbers[-1]}" if plain else ""
