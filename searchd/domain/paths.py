"""What is wrong with a path that a user gave, and what was probably meant.

Standard library only."""

import os
import re
import unicodedata
from collections.abc import Iterator
from enum import StrEnum
from itertools import islice
from pathlib import Path

from searchd.domain.suggestions import suggestion

CACHE_FOLDER = Path("/var/tmp/searchd-cache")
"""Default folder on the disk of each worker that files of a shared store are copied to."""
_MAX_SHOWN = 240
"""Largest number of characters of a path that a message shows."""
_MAX_LISTED = 10_000
"""Largest number of entries of a folder among which a similar name is looked for."""


class Wanted(StrEnum):
    """What a path must be of."""

    FILE = "file"
    FOLDER = "folder"
    ANY = "file or folder"


def problem(path: Path, wanted: Wanted) -> str | None:
    """Return why this process cannot read a path, with what to write instead; None if it can."""
    return _form_problem(str(path)) or _absence(path, wanted)


def shown(path: Path | str) -> str:
    """Return a path as messages show it: in quotes, its end if it is long."""
    text = str(path)
    return f'"{text}"' if len(text) <= _MAX_SHOWN else f'"…{text[-_MAX_SHOWN:]}"'


def _form_problem(text: str) -> str | None:
    """Return why a text is no absolute path of this machine."""
    if text in ("", "."):
        return "is empty; give an absolute path, such as /data/file"
    if match := re.match(r"([a-z][a-z0-9+.-]+):/+(.*)", text, re.IGNORECASE):
        if match[1].lower() == "file":
            return f"{shown(text)} is a URL; write /{match[2]}"
        return f"{shown(text)} is a URL; download the file first, and give its path"
    if re.match(r"[A-Za-z]:|\\\\", text):
        return (
            f"{shown(text)} is a path of Windows; give the path on the machine of the service, "
            "such as /data/file"
        )
    if text.startswith("~") or "$" in text:
        expanded = os.path.expandvars(os.path.expanduser(text))
        instead = shown(expanded) if expanded.startswith("/") else "the absolute path"
        return f"{shown(text)} is not expanded; write {instead}"
    if not text.startswith("/"):
        return f"{shown(text)} is relative; it must be absolute, such as /data/{text}"
    return None


def _absence(path: Path, wanted: Wanted) -> str | None:
    try:
        if not path.exists():
            return f"{shown(path)} does not exist{_hint(path)}"
        if wanted is Wanted.FILE and not path.is_file():
            return f"{shown(path)} is a folder; it must be a file"
        if wanted is Wanted.FOLDER and not path.is_dir():
            return f"{shown(path)} is a file; it must be a folder"
    except OSError as error:
        return f"{shown(path)} cannot be read: {error.strerror}"
    if not os.access(path, os.R_OK):
        return f"{shown(path)} cannot be read by the user of the service (permission denied)"
    return None


def _hint(path: Path) -> str:
    """Return what was probably meant by a path that does not exist."""
    if "\\" in str(path):
        return "; it has backslashes: separate folders by /"
    missing = next(each for each in (path, *path.parents) if each.parent.exists())
    known = list(islice(_names(missing.parent), _MAX_LISTED))
    found, why = _similar(missing.name, known)
    if found is None:
        return "" if missing == path else f"; there is no {shown(missing)}"
    return f"; {why}{shown(missing.parent / found / path.relative_to(missing))}"


def _similar(name: str, known: list[str]) -> tuple[str | None, str]:
    """Return the similar name, and how it differs."""
    forms = (
        (str.strip, "spaces at the beginning or end differ from "),
        (_composed, "the name has another Unicode form (NFC or NFD) than "),
        (str.casefold, "upper and lower case differ from "),
    )
    for form, why in forms:
        found = next((each for each in known if form(each) == form(name)), None)
        if found is not None:
            return found, why
    return suggestion(name, known), "did you mean "


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _names(folder: Path) -> Iterator[str]:
    try:
        with os.scandir(folder) as entries:
            yield from (entry.name for entry in entries)
    except OSError:
        return
