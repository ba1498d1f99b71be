"""Finds the file of an image record. Annotation files come from users and must not name others."""

import os
import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path, PurePath

from detection.data.findings import Kind, shown
from detection.data.kinds import IMAGE_BACKSLASHES, IMAGE_NAME, IMAGE_RECORD

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")


@dataclass(frozen=True, slots=True)
class FoundPath:
    """The path of an image, or the reason why there is none, or what was changed in it."""

    path: Path | None
    kind: Kind | None = None
    problem: str = ""
    cure: str = ""


def find_path(folder: Path, name: object) -> FoundPath:
    """Return the path that a `file_name` names in an image folder. The file may be missing."""
    if not isinstance(name, str) or not name:
        return FoundPath(None, IMAGE_RECORD, "has no file_name", "give the path below the folder")
    if "\0" in name:
        return _bad(f"file_name={shown(name)} has a NUL character", "remove the character")
    if _URL.match(name):
        return _bad(f"file_name={name!r} is a URL", "download the images and give their paths")
    path = PurePath(name)
    if ".." in path.parts or (path.is_absolute() and not _is_inside(path, folder)):
        return _bad(
            f"file_name={name!r} is outside the image folder {folder}", "give a path below it"
        )
    return _below(folder, name)


def cure_for_missing(folder: Path, path: Path) -> str:
    """Return advice on an image that is missing: a similar file, or a folder that is repeated."""
    name = str(path.relative_to(folder)) if path.is_relative_to(folder) else path.name
    if "\\" in name:
        return "file_name has backslashes; write / between folders"
    near = _similar(path)
    if near:
        return f"there is {near!r}; names must agree in case and in Unicode form"
    parts = PurePath(name).parts
    if len(parts) > 1 and parts[0] == folder.name:
        return f"file_name repeats the folder's name; give {folder.parent} as the image folder"
    if len(parts) > 1 and os.path.exists(folder / parts[-1]):
        return f"there is {parts[-1]!r} in the folder itself"
    return f"file_name is relative to the image folder {folder}"


def _bad(problem: str, cure: str) -> FoundPath:
    return FoundPath(None, IMAGE_NAME, problem, cure)


def _is_inside(path: PurePath, folder: Path) -> bool:
    return path.is_relative_to(folder.absolute()) or Path(os.path.realpath(path)).is_relative_to(
        os.path.realpath(folder)
    )


def _below(folder: Path, name: str) -> FoundPath:
    path = folder / name
    if "\\" not in name or os.path.exists(path):
        return FoundPath(path)
    slashes = name.replace("\\", "/")
    parts = PurePath(slashes).parts
    if PurePath(slashes).is_absolute() or ".." in parts or not os.path.exists(folder / slashes):
        return FoundPath(path)
    return FoundPath(folder / slashes, IMAGE_BACKSLASHES, f"file_name={name!r} has backslashes")


def _similar(path: Path) -> str | None:
    """Return the name of a file that differs only in case or Unicode form."""
    try:
        names = os.listdir(path.parent)
    except (OSError, ValueError):
        return None
    wanted = _plain(path.name)
    return next((name for name in names if _plain(name) == wanted), None)


def _plain(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()
