"""Input resolutions, written WxH in pixels. Standard library only."""

from dataclasses import dataclass

from searchd.domain.errors import InvalidValueError


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
        """Read "1333x800".

        Raises:
            InvalidValueError: The text is not two positive integers joined by "x".
        """
        width, cross, height = text.lower().partition("x")
        if not (cross and width.isdecimal() and height.isdecimal()):
            raise InvalidValueError(f"resolution {text!r} must look like 1333x800 (WxH, pixels)")
        return cls(int(width), int(height))
