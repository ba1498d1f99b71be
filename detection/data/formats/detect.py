"""Finds out which annotation format a data set has, and reads it."""

from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from pathlib import Path

from detection.data.formats.coco_files import annotation_files, coco_sources
from detection.data.formats.sources import SplitSource
from searchd.domain.errors import DataError


class DataFormat(StrEnum):
    """Annotation format of a data set."""

    COCO = "coco"


Reader = Callable[[Sequence[Path]], dict[str, SplitSource]]
_READERS: Mapping[DataFormat, Reader] = {DataFormat.COCO: coco_sources}


def read_sources(
    paths: Sequence[Path], data_format: DataFormat | None = None
) -> dict[str, SplitSource]:
    """Return the splits of a data set by name, at least one.

    Args:
        paths: Files and folders of the data set.
        data_format: Format; found by looking if None.

    Raises:
        DataError: A path is missing, or there is no data set in a known format.
    """
    for path in paths:
        if not path.exists():
            raise DataError(f"{path}: there is no such file or folder")
    return _READERS[data_format or detect(paths)](paths)


def detect(paths: Sequence[Path]) -> DataFormat:
    """Return the format that the files look like.

    Raises:
        DataError: They look like none.
    """
    if paths[0].suffix == ".json" or annotation_files(paths[0]):
        return DataFormat.COCO
    raise DataError(f"{paths[0]}: found no annotations in a known format")
