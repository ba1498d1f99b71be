"""Makes batches of the same images for several detectors, each at its own input size (MTPD 4.3,
docs/papers.md 2.8)."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from detection.data.batches import Batch, make_batches
from detection.data.coco import CocoSplit
from searchd.domain.resolution import Resolution

Views = Mapping[str, Batch]
"""Batches by detector's name. All have the same images in the same order, flipped alike."""


def make_views(
    split: CocoSplit,
    indices: Sequence[int],
    resolutions: Mapping[str, Resolution],
    flips: Sequence[bool],
) -> dict[str, Batch]:
    """Return a batch for each detector. Detectors of equal resolution share one.

    Args:
        split: Split with the images.
        indices: Indices of the images.
        resolutions: Long-side maximum and short-side target in pixels, by detector's name.
        flips: For each image, whether to mirror it left to right.

    Raises:
        DataError: An image cannot be read.
    """
    batches = make_batches(split, indices, resolutions.values(), flips)
    return {name: batches[resolution] for name, resolution in resolutions.items()}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FixedViews:
    """Unflipped images, each once, at every detector's resolution; can be iterated repeatedly.

    The images of a batch have the same original size, so that no image is padded because of another
    at any resolution.
    """

    split: CocoSplit
    resolutions: Mapping[str, Resolution]
    """Long-side maximum and short-side target in pixels, by detector's name."""
    batch_size: int
    """Largest number of images per batch."""
    indices: Sequence[int] | None = None
    """Indices of the images; all by default."""

    def __iter__(self) -> Iterator[dict[str, Batch]]:
        of_size: dict[tuple[int, int], list[int]] = {}
        for index in range(len(self.split)) if self.indices is None else self.indices:
            record = self.split.records[index]
            of_size.setdefault((record.width, record.height), []).append(index)
        for same in of_size.values():
            for start in range(0, len(same), self.batch_size):
                chosen = same[start : start + self.batch_size]
                yield make_views(self.split, chosen, self.resolutions, [False] * len(chosen))
