"""The same images for several detectors, each at its own input size (MTPD 4.3,
docs/papers.md 2.8)."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from detection.data.batches import Batch, make_batches
from detection.data.coco import CocoSplit
from searchd.domain.resolution import Resolution

Views = Mapping[str, Batch]
"""By detector's name. Every batch holds the same images in the same order, flipped alike."""


def make_views(
    split: CocoSplit,
    indices: Sequence[int],
    resolutions: Mapping[str, Resolution],
    flips: Sequence[bool],
) -> dict[str, Batch]:
    """One batch for every resolution; detectors of equal resolution share it.

    Args:
        split: Where the images are.
        indices: Which images.
        resolutions: By detector's name; long-side maximum and short-side target.
        flips: Which of the images to mirror left to right.

    Raises:
        DataError: An image cannot be read.
    """
    batches = make_batches(split, indices, resolutions.values(), flips)
    return {name: batches[resolution] for name, resolution in resolutions.items()}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FixedViews:
    """Images unflipped, each once, at every detector's resolution; can be gone through repeatedly.

    A batch holds only images of one original size, so that no image is padded on account of another
    at any resolution.
    """

    split: CocoSplit
    resolutions: Mapping[str, Resolution]
    """By detector's name; long-side maximum and short-side target."""
    batch_size: int
    """Images per batch, at most."""
    indices: Sequence[int] | None = None
    """Which images; all by default."""

    def __iter__(self) -> Iterator[dict[str, Batch]]:
        of_size: dict[tuple[int, int], list[int]] = {}
        for index in range(len(self.split)) if self.indices is None else self.indices:
            record = self.split.records[index]
            of_size.setdefault((record.width, record.height), []).append(index)
        for same in of_size.values():
            for start in range(0, len(same), self.batch_size):
                chosen = same[start : start + self.batch_size]
                yield make_views(self.split, chosen, self.resolutions, [False] * len(chosen))
