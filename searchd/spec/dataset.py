"""Data sets: COCO files, or paths in any format that the check turns into COCO files."""

import hashlib
import os
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import AfterValidator, Field, model_validator

from searchd.domain.paths import CACHE_FOLDER
from searchd.spec.base import Name, Spec

MAX_EMPTY_SHARE, MAX_FAULT_SHARE, MAX_UNREADABLE_SHARE, VALIDATION_SHARE = 0.05, 0.0, 0.0, 0.2
"""Defaults of the fields with these names."""
SPLITS = ("train", "validation", "test")
"""Fields of a data set that are splits."""
_FILE_SUFFIXES = (".data", ".json", ".xml", ".yaml", ".yml")
"""Ends of paths that name a file, for which the folder with it is meant."""


class DataFormat(StrEnum):
    """Annotation format of a data set."""

    COCO = "coco"
    YOLO = "yolo"
    VOC = "voc"
    CVAT = "cvat"
    LABEL_STUDIO = "labelstudio"
    ARGOVERSE = "argoverse"


def _absolute(path: Path) -> Path:
    if not path.is_absolute() or ".." in path.parts:
        raise ValueError(f"{str(path)!r} must be an absolute path without '..'")
    return path


def _remote(uri: str) -> str:
    scheme, _, rest = uri.partition("://")
    parts = rest.split("/")
    if not scheme.isalnum() or not parts[0] or "::" in rest or ".." in parts:
        raise ValueError(f"{uri!r} must be the URI of a folder, such as s3://bucket/photos")
    return uri.rstrip("/")


FolderUri = Annotated[str, Field(max_length=1000), AfterValidator(_remote)]
"""URI of a folder on a shared store, such as s3://bucket/photos, without a "/" at its end."""


class FileList(Spec):
    """A stored list of the files of a split, from which workers copy them to their disks."""

    uri: str
    """Location of the list in the artifact store."""
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    """SHA-256 of the list, which has the SHA-256 of each file."""


class SharedFiles(Spec):
    """Where the files of a data set are that workers copy to their own disks."""

    annotations: str
    """URI of the folder with the annotation files that the check writes."""
    images: FolderUri | None = None
    """URI of the folder with the data set. None: it is on a disk of every worker."""
    cache: Path
    """Folder on the disk of each worker that files are copied to."""


class SplitSpec(Spec):
    """One split of a COCO-format data set."""

    annotations: Path
    """Path of the COCO instances file (JSON) with the images and boxes of the split."""
    images: Path
    """Path of the folder that every `file_name` in the annotations is relative to."""
    sha256: str | None = Field(default=None, pattern="^[0-9a-f]{64}$")
    """SHA-256 of the annotation file when it was checked. The service records it; it cannot be
    given."""
    left_out: tuple[str, ...] = ()
    """Paths of images that are left out since the check could not read them. The service records
    them; they cannot be given."""
    files: FileList | None = None
    """List of the files that workers copy to the paths above. The service records it; it cannot be
    given. None: every worker can read the paths as they are."""


class DatasetSource(Spec):
    """Paths of a data set in any format, and how splits that it lacks are made."""

    paths: tuple[Annotated[Path, AfterValidator(_absolute)], ...] = Field(
        min_length=1, max_length=6
    )
    """Folders and files of the data set, as `searchd dataset check` takes them. Images must be
    below the folder that contains all of them."""
    format: DataFormat | None = None
    """Format of the annotations. None: found by looking."""
    validation_share: float = Field(default=VALIDATION_SHARE, gt=0, lt=1)
    """Share of the train images that become the validation split if there is none."""
    test_share: float | None = Field(default=None, ge=0, lt=1)
    """Share of the train images that become the test split if there is none. None: 0.1 if a
    validation split is made too, else 0."""
    seed: int = Field(default=0, ge=0)
    """Seed of the draw when splits are made."""
    group_by: str | None = Field(default=None, max_length=200)
    """Regular expression on `file_name`: images with the same match stay in one split. By default
    images with the same `video_id` do."""

    @property
    def folder(self) -> Path:
        """The deepest folder that contains all paths."""
        folders = [p.parent if p.suffix in _FILE_SUFFIXES else p for p in self.paths]
        return Path(os.path.commonpath(folders))


class DatasetSpec(Spec):
    """A data set in COCO format, on a disk that every worker can read."""

    name: Name
    """Name of the data set, by which pools, searches and distillations refer to it."""
    train: SplitSpec
    """Split that pools, students and controls are trained on."""
    validation: SplitSpec
    """Split that AP is measured on; it is never trained on."""
    test: SplitSpec | None = None
    """Split that searches neither train on nor measure, for a last measurement. None: there is
    none."""
    max_empty_share: float = Field(default=MAX_EMPTY_SHARE, ge=0, le=1)
    """Largest share of a split's annotations that may be left out since their box encloses nothing:
    no area, a side below one pixel, or outside the image. One such box is always allowed. A larger
    share refuses the data set."""
    max_fault_share: float = Field(default=MAX_FAULT_SHARE, ge=0, le=1)
    """Largest share of a split's annotations that may be left out since they cannot be meant:
    NaN, a negative width, an unknown image or category. A larger share refuses the data set; by
    default any."""
    max_unreadable_share: float = Field(default=MAX_UNREADABLE_SHARE, ge=0, le=1)
    """Largest share of a split's images that may be left out, with their objects, since their file
    is missing or cannot be read. A larger share refuses the data set; by default any."""
    source: DatasetSource | None = None
    """What the check makes the annotation files of the splits from. None: they are there."""
    shared: SharedFiles | None = None
    """Where files are that workers copy to their own disks. None: all are at their paths."""

    @property
    def splits(self) -> dict[str, SplitSpec]:
        """The splits by name, without a test split if there is none."""
        found = {name: getattr(self, name) for name in SPLITS}
        return {name: split for name, split in found.items() if split is not None}

    def as_checked(self, summary: Mapping[str, Any] | None) -> "DatasetSpec":
        """Return the data set with what its last check that passed recorded about its files.

        Work that loads a split compares the annotation file with it.

        Args:
            summary: Summary of the check as JSON; None returns the data set as it is.
        """
        checked = {
            name: split.model_copy(
                update={
                    "sha256": (summary or {})[name].get("sha256"),
                    "left_out": tuple((summary or {})[name].get("left_out", ())),
                    "files": _file_list((summary or {})[name].get("files")),
                }
            )
            for name, split in self.splits.items()
            if (summary or {}).get(name)
        }
        return self.model_copy(update=checked)


def _file_list(given: Mapping[str, Any] | None) -> FileList | None:
    return None if given is None else FileList.model_validate(given)


class DatasetImport(DatasetSource):
    """A request to add a data set in any format, by its paths or by its URI."""

    name: Name
    """Name of the data set, by which pools, searches and distillations refer to it."""
    paths: tuple[Annotated[Path, AfterValidator(_absolute)], ...] = Field(default=(), max_length=6)
    """Folders and files of the data set, as `searchd dataset check` takes them. Images must be
    below the folder that contains all of them."""
    uri: FolderUri | None = None
    """URI of the folder with the data set on a shared store, such as s3://bucket/photos, instead of
    paths. Workers copy it to their disks."""
    max_empty_share: float = Field(default=MAX_EMPTY_SHARE, ge=0, le=1)
    """Largest share of a split's annotations that may be left out since their box encloses nothing:
    no area, a side below one pixel, or outside the image. One such box is always allowed."""
    max_fault_share: float = Field(default=MAX_FAULT_SHARE, ge=0, le=1)
    """Largest share of a split's annotations that may be left out since they cannot be meant:
    NaN, a negative width, an unknown image or category. By default any refuses the data set."""
    max_unreadable_share: float = Field(default=MAX_UNREADABLE_SHARE, ge=0, le=1)
    """Largest share of a split's images that may be left out, with their objects, since their file
    is missing or cannot be read. By default any refuses the data set."""

    @model_validator(mode="after")
    def _check_place(self) -> Self:
        if bool(self.paths) == (self.uri is not None):
            raise ValueError("give either paths or uri")
        return self

    def stored_below(self, root: str, cache: Path = CACHE_FOLDER) -> DatasetSpec:
        """Return the data set whose annotation files the check writes below an artifact store.

        The same request has the same files. The check adds the test split, if there is one.

        Args:
            root: URI of the artifact store.
            cache: Absolute path of the folder on each worker that files of a shared store are
                copied to.
        """
        named = f"{self.name}-{self._digest()}"
        is_local = self.uri is None and Path(root).is_absolute()
        stored = Path(root, "datasets", named) if is_local else cache / "datasets" / named
        source = self._source(stored / "files")
        splits = {
            split: SplitSpec(annotations=stored / f"{split}.json", images=source.folder)
            for split in ("train", "validation")
        }
        shared = SharedFiles(
            annotations=f"{root.rstrip('/')}/datasets/{named}", images=self.uri, cache=cache
        )
        return DatasetSpec(
            name=self.name,
            **splits,
            max_empty_share=self.max_empty_share,
            max_fault_share=self.max_fault_share,
            max_unreadable_share=self.max_unreadable_share,
            source=source,
            shared=None if is_local else shared,
        )

    def _digest(self) -> str:
        given = self.model_dump_json(exclude={"uri"} if self.uri is None else None)
        return hashlib.sha256(given.encode()).hexdigest()[:12]

    def _source(self, copied: Path) -> DatasetSource:
        """Return the source, whose files are in the folder `copied` if they are on a shared
        store."""
        fields = {name: getattr(self, name) for name in DatasetSource.model_fields}
        return DatasetSource(**fields | ({"paths": (copied,)} if self.uri else {}))
