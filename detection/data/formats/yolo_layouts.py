"""Finds class names and images of a YOLO data set in the layouts that tools write."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from detection.data.formats.sources import (
    TEST,
    TRAIN,
    VALIDATION,
    files_below,
    images_below,
    is_inside,
    split_name,
)
from searchd.domain.errors import DataError

_KEYS = {
    TRAIN: ("train",),
    VALIDATION: ("val", "valid", "validation"),
    TEST: ("test",),
}
"""Keys of the splits in `data.yaml` and `.data` files."""
_NAME_FILES = ("classes.txt", "obj.names", "classes.names")


@dataclass(frozen=True, slots=True)
class YoloLayout:
    """A YOLO data set: its files, not yet read."""

    file: Path
    """File that names the classes."""
    names: Mapping[int, str]
    """Class names by number."""
    splits: Mapping[str, Sequence[Path]]
    """Images of each split."""


def find_layout(path: Path, root: Path | None = None) -> YoloLayout:
    """Return the layout of a data set.

    Args:
        path: Its folder, `data.yaml`, or `.data` file.
        root: Folder that configuration files must not lead out of, links followed.

    Raises:
        DataError: There are no class names or no images, or a path leads out of `root`.
    """
    file = path if path.is_file() else configuration(path)
    if file is None:
        return _by_folders(path)
    is_yaml = file.suffix in (".yaml", ".yml")
    layout = _of_yaml(file, root) if is_yaml else _of_data_file(file, root)
    if not layout.splits:
        raise DataError(f"{file}: found no images of a split that it names")
    for images in layout.splits.values():
        for image in images:
            _check_inside(file, image, root)
    return layout


def configuration(folder: Path) -> Path | None:
    """Return the `data.yaml` or `.data` file of a folder, the least deep one."""
    found = [p for p in files_below(folder) if _is_yaml(p) or (p.suffix == ".data" and _pairs(p))]
    return min(found, key=lambda path: (len(path.parts), path), default=None)


def names_file(folder: Path) -> Path | None:
    """Return the file of class names of a folder without `data.yaml`, the least deep one."""
    found = [p for p in files_below(folder) if p.name in _NAME_FILES or p.suffix == ".names"]
    return min(found, key=lambda path: (len(path.parts), path), default=None)


def _is_yaml(path: Path) -> bool:
    if path.suffix not in (".yaml", ".yml"):
        return False
    try:
        content = yaml.safe_load(path.read_bytes())
    except (OSError, yaml.YAMLError, ValueError):
        return False
    return isinstance(content, dict) and bool({"names", "nc"} & content.keys())


def _of_yaml(file: Path, root: Path | None) -> YoloLayout:
    try:
        content = yaml.safe_load(file.read_bytes())
    except (OSError, yaml.YAMLError, ValueError) as error:
        raise DataError(f"{file}: is not YAML: {error}") from error
    if not isinstance(content, dict):
        raise DataError(f"{file}: must have the keys names, train and val")
    roots = _roots(file, content.get("path"))
    splits = {name: _images(file, content, keys, roots, root) for name, keys in _KEYS.items()}
    return YoloLayout(
        file, _names(content, file), {n: found for n, found in splits.items() if found}
    )


def _of_data_file(file: Path, root: Path | None) -> YoloLayout:
    pairs = _pairs(file)
    roots = [file.parent, file.parent.parent]
    splits = {name: _images(file, pairs, keys, roots, root) for name, keys in _KEYS.items()}
    listed = _first_existing(
        [root / name for root in roots for name in _variants(pairs.get("names"))]
    )
    if listed is None:
        raise DataError(f"{file}: the file of class names is missing: {pairs.get('names')}")
    _check_inside(file, listed, root)
    return _layout(file, _names_of_lines(listed), splits)


def _layout(
    file: Path, names: Mapping[int, str], splits: Mapping[str, Sequence[Path]]
) -> YoloLayout:
    return YoloLayout(file, names, {name: images for name, images in splits.items() if images})


def _by_folders(folder: Path) -> YoloLayout:
    """Return the layout of `images/` and `labels/` with a file of class names (Label Studio)."""
    file = names_file(folder)
    if file is None:
        raise DataError(f"{folder}: there are no class names: data.yaml or classes.txt is missing")
    splits: dict[str, list[Path]] = {}
    for image in images_below(folder):
        parts = image.relative_to(folder).parts[:-1]
        named = [name for part in parts if (name := split_name(part)) is not None]
        splits.setdefault(named[-1] if named else TRAIN, []).append(image)
    if not splits:
        raise DataError(f"{folder}: there are no images")
    return YoloLayout(file, _names_of_lines(file), splits)


def _roots(file: Path, path: object) -> list[Path]:
    """Return the folders that the paths of `data.yaml` may be relative to, best first."""
    here = file.parent
    if not isinstance(path, str) or not path:
        return [here]
    given = Path(path)
    return [here / given, here.parent / given, here / given.name, here.parent / given.name, here]


def _images(
    file: Path,
    content: Mapping[str, Any],
    keys: Iterable[str],
    roots: Sequence[Path],
    root: Path | None,
) -> list[Path]:
    """Return the images of a split; empty if the split is not named.

    Raises:
        DataError: The split is named, and its folder or list is missing. A test split may be.
    """
    key = next((key for key in keys if content.get(key)), None)
    if key is None:
        return []
    value = content[key]
    found: list[Path] = []
    for entry in value if isinstance(value, list) else [value]:
        place = _first_existing([base / name for base in roots for name in _variants(entry)])
        if place is None and key not in _KEYS[TEST]:
            raise DataError(f"{file}: {key}: {entry} is missing (looked in {roots[0]} and near it)")
        if place is not None:
            _check_inside(file, place, root)
            found += images_below(place) if place.is_dir() else list(_listed(place, roots))
    return found


def _variants(name: object) -> list[str]:
    """Return the ways in which a path of a configuration may be meant.

    Roboflow writes "../train/images" for "train/images", Darknet and CVAT put "data/" in front.
    """
    if not isinstance(name, str):
        return []
    return [name, *(name.removeprefix(p) for p in ("../", "data/", "./") if name.startswith(p))]


def _listed(file: Path, roots: Sequence[Path]) -> Iterator[Path]:
    """Yield the images of a list file. Missing ones are yielded for the check to report."""
    folders = [file.parent, *roots, file.parent.parent]
    for line in file.read_text(encoding="utf-8-sig", errors="replace").splitlines():
        name = line.strip().replace("\\", "/")
        if name:
            candidates = [folder / variant for folder in folders for variant in _variants(name)]
            yield _first_existing(candidates) or file.parent / name


def _check_inside(file: Path, path: Path, root: Path | None) -> None:
    if root is not None and not is_inside(path, root):
        raise DataError(f"{file}: {path} is outside {root}; give a folder that contains both")


def _first_existing(paths: Iterable[Path]) -> Path | None:
    return next((Path(os.path.normpath(path)) for path in paths if os.path.exists(path)), None)


def _names(content: Mapping[str, Any], file: Path) -> dict[int, str]:
    """Return the class names of `data.yaml`, a list or a mapping from numbers."""
    names = content.get("names")
    if names is None and isinstance(content.get("nc"), int):
        return {number: f"class_{number}" for number in range(content["nc"])}
    if isinstance(names, list):
        names = dict(enumerate(names))
    if not isinstance(names, dict) or not names:
        raise DataError(f"{file}: names must be a list or mapping of class names")
    try:
        return {int(number): str(name) for number, name in sorted(names.items())}
    except (TypeError, ValueError) as error:
        raise DataError(f"{file}: names must have whole numbers as keys") from error


def _names_of_lines(file: Path) -> dict[int, str]:
    lines = file.read_text(encoding="utf-8-sig", errors="replace").splitlines()
    names = {number: line.strip() for number, line in enumerate(lines) if line.strip()}
    if not names:
        raise DataError(f"{file}: there are no class names")
    return names


def _pairs(file: Path) -> dict[str, str]:
    """Return the `key = value` lines of a Darknet file; empty if it has no class names."""
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError):
        return {}
    pairs = dict(line.split("=", 1) for line in lines if "=" in line)
    found = {key.strip(): value.strip() for key, value in pairs.items()}
    return found if "names" in found else {}
