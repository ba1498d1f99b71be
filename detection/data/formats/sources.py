"""What the readers of annotation formats share: splits, their names, COCO documents."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from detection.data.documents import Document
from detection.data.findings import Findings

TRAIN, VALIDATION, TEST = "train", "validation", "test"
IMAGE_SUFFIXES = frozenset(
    (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")
)
_SPLIT_NAMES = {
    **dict.fromkeys(("train", "training", "trainval"), TRAIN),
    **dict.fromkeys(("val", "valid", "validation", "dev"), VALIDATION),
    **dict.fromkeys(("test", "testing"), TEST),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitSource:
    """One split before it is read."""

    file: Path
    """Annotation file, or the file or folder that the document was made of."""
    folder: Path
    """Folder that `file_name` is relative to."""
    document: Document | None = None
    """Content in COCO's format; read from `file` if None."""
    findings: Findings | None = None
    """Findings about the source files of the document."""
    sources: frozenset[Path] = frozenset()
    """Annotation files that the document was made of; empty for `file` alone."""


@dataclass(slots=True, kw_only=True)
class Objects:
    """Collects the images and annotations of a split in another format than COCO's.

    Records have the keys `_file` and `_record`, which name their place in the source.
    """

    folder: Path
    """Folder that all images are below."""
    images: list[dict[str, Any]] = field(default_factory=list)
    annotations: list[dict[str, Any]] = field(default_factory=list)
    findings: Findings = field(default_factory=Findings)

    def add_image(self, path: Path, size: tuple[int, int]) -> int:
        """Add an image of a width and height in pixels, and return its id."""
        identity = len(self.images) + 1
        name = os.path.relpath(path, self.folder)
        record = {"id": identity, "file_name": name, "width": size[0], "height": size[1]}
        self.images.append(record)
        return identity

    def add_box(
        self,
        image: int,
        category: int,
        bbox: Sequence[float],
        *,
        place: tuple[Path, str],
        is_crowd: bool = False,
        polygon: Sequence[Sequence[float]] = (),
    ) -> None:
        """Add a box.

        Args:
            image: Id of the image.
            category: Id of the category.
            bbox: x, y, width, height in pixels of the image as shown.
            place: File, and record in the file, for findings.
            is_crowd: Whether training leaves the box out and evaluation ignores it.
            polygon: Points (x, y) around the object, in pixels. Empty: it has no mask.
        """
        width, height = bbox[2:]
        self.annotations.append(
            {
                "id": len(self.annotations) + 1,
                "image_id": image,
                "category_id": category,
                "bbox": list(bbox),
                "area": width * height if width > 0 and height > 0 else 1.0,
                "iscrowd": int(is_crowd),
                "segmentation": [[side for point in polygon for side in point]] if polygon else [],
                "_file": str(place[0]),
                "_record": place[1],
            }
        )

    def source(self, file: Path, names: Mapping[int, str]) -> SplitSource:
        """Return the split.

        Args:
            file: File or folder that names the split.
            names: Names of the categories by id.
        """
        categories = [{"id": identity, "name": name} for identity, name in names.items()]
        document = {
            "images": self.images,
            "annotations": self.annotations,
            "categories": categories,
        }
        return SplitSource(
            file=file,
            folder=self.folder,
            document=document,
            findings=self.findings,
            sources=frozenset([file, *(Path(each["_file"]) for each in self.annotations)]),
        )


def split_name(name: str) -> str | None:
    """Return the split that a file or folder is named after, as "instances_val2017" or "valid"."""
    words = "".join(c if c.isalpha() else " " for c in name.lower()).split()
    found = [_SPLIT_NAMES[word] for word in words if word in _SPLIT_NAMES]
    return found[-1] if found else None


def images_below(folder: Path) -> list[Path]:
    """Return all image files below a folder, sorted."""
    return sorted(path for path in files_below(folder) if path.suffix.lower() in IMAGE_SUFFIXES)


def files_below(folder: Path) -> list[Path]:
    """Return all files below a folder, sorted, without hidden ones. Links are not followed."""
    found = []
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith((".", "__MACOSX")))
        found += [Path(parent, name) for name in sorted(names) if not name.startswith(".")]
    return found


class FileIndex:
    """Finds files by the end of their path."""

    def __init__(self, files: Iterable[Path]) -> None:
        self._of_name: dict[str, list[Path]] = {}
        for file in files:
            self._of_name.setdefault(file.name, []).append(file)

    def find(self, name: str) -> Path | None:
        """Return the file whose path agrees with most of the last parts of a name."""
        parts = PurePosixPath(name.replace("\\", "/")).parts
        found = self._of_name.get(parts[-1], []) if parts else []
        return max(found, key=lambda file: _equal_end(file.parts, parts), default=None)


def _equal_end(one: Sequence[str], other: Sequence[str]) -> int:
    """Return how many of the last parts of two paths are equal."""
    pairs = zip(reversed(one), reversed(other), strict=False)
    return next((n for n, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))


def is_inside(path: Path, folder: Path) -> bool:
    """Return whether a path, links followed, is a folder or below it."""
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))


def common_folder(paths: Iterable[Path], default: Path) -> Path:
    """Return the deepest folder that all images are below."""
    folders = [str(path.parent) for path in paths]
    return Path(os.path.commonpath(folders)) if folders else default
