"""Finds out which annotation format a data set has, and reads it."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from detection.data.formats.argoverse import argoverse_sources, is_argoverse_file
from detection.data.formats.coco_files import annotation_files, coco_sources, has_coco_file
from detection.data.formats.cvat import cvat_sources, is_cvat_file
from detection.data.formats.label_studio import is_label_studio_file, label_studio_sources
from detection.data.formats.sources import SplitSource, files_below, images_below
from detection.data.formats.voc import is_voc_file, voc_sources
from detection.data.formats.yolo import label_file, yolo_sources
from detection.data.formats.yolo_layouts import configuration, names_file
from searchd.domain.errors import DataError
from searchd.spec import DataFormat

Reader = Callable[[Sequence[Path]], dict[str, SplitSource]]
_READERS: Mapping[DataFormat, Reader] = {
    DataFormat.COCO: coco_sources,
    DataFormat.VOC: voc_sources,
    DataFormat.CVAT: cvat_sources,
    DataFormat.LABEL_STUDIO: label_studio_sources,
    DataFormat.ARGOVERSE: argoverse_sources,
}


def read_sources(
    paths: Sequence[Path], data_format: DataFormat | None = None, *, root: Path | None = None
) -> dict[str, SplitSource]:
    """Return the splits of a data set by name, at least one.

    Args:
        paths: Files and folders of the data set.
        data_format: Format; found by looking if None.
        root: Folder that configuration files must not lead out of, links followed.

    Raises:
        DataError: A path is missing, or there is no data set in a known format.
    """
    for path in paths:
        if not path.exists():
            raise DataError(f"{path}: there is no such file or folder")
    chosen = data_format or detect(paths)
    return yolo_sources(paths, root) if chosen is DataFormat.YOLO else _READERS[chosen](paths)


def detect(paths: Sequence[Path]) -> DataFormat:
    """Return the format that the files look like.

    Raises:
        DataError: They look like none.
    """
    found = _of_folder(paths[0]) if paths[0].is_dir() else _of_file(paths[0])
    if found is None and paths[0].is_dir():
        found = next((_of_file(path) for path in paths[1:] if path.is_file()), None)
    if found is None:
        known = ", ".join(DataFormat)
        raise DataError(
            f"{paths[0]}: found no annotations in a known format ({known}); give the folder that "
            "has both annotations and images, or the format"
        )
    return found


def _of_file(path: Path) -> DataFormat | None:
    if path.suffix in (".yaml", ".yml", ".data"):
        return DataFormat.YOLO
    if path.suffix == ".xml":
        return DataFormat.CVAT if is_cvat_file(path) else DataFormat.VOC
    if is_argoverse_file(path):
        return DataFormat.ARGOVERSE
    return DataFormat.LABEL_STUDIO if is_label_studio_file(path) else DataFormat.COCO


def _of_folder(folder: Path) -> DataFormat | None:
    if any(is_argoverse_file(path) for path in files_below(folder)):
        return DataFormat.ARGOVERSE
    if has_coco_file(folder):
        return DataFormat.COCO
    if configuration(folder) is not None:
        return DataFormat.YOLO
    files = files_below(folder)
    xml_files = [path for path in files if path.suffix.lower() == ".xml"]
    if any(is_cvat_file(path) for path in xml_files):
        return DataFormat.CVAT
    if any(is_voc_file(path) for path in xml_files):
        return DataFormat.VOC
    if any(is_label_studio_file(path) for path in files):
        return DataFormat.LABEL_STUDIO
    if names_file(folder) is not None or any(label_file(p).exists() for p in images_below(folder)):
        return DataFormat.YOLO
    return DataFormat.COCO if annotation_files(folder) else None
