"""Reads annotation files in COCO's format. Only their outline is checked here."""

import codecs
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from detection.data.findings import shown
from searchd.domain.errors import DataError

KEYS = ("images", "annotations", "categories")
Document = Mapping[str, list[dict[str, Any]]]


def read_document(path: Path, *, sha256: str | None = None) -> Document:
    """Return the content of an annotation file. A byte order mark is allowed.

    Args:
        path: Path of the file.
        sha256: SHA-256 of the file when it was checked; None if it was not.

    Raises:
        DataError: The file cannot be read, is not in COCO's format, or changed since the check.
    """
    try:
        data = path.read_bytes()
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: the annotation file cannot be read: {error}") from error
    if sha256 is not None and hashlib.sha256(data).hexdigest() != sha256:
        raise DataError(
            f"{path}: the annotation file changed since its data set was checked; restore it, or "
            "check the data set again: searchd dataset recheck NAME"
        )
    return _document(_parsed(data, path), path)


def _parsed(data: bytes, path: Path) -> object:
    if not data.strip():
        raise DataError(f"{path}: the annotation file is not JSON: it is empty")
    try:
        return json.loads(_decoded(data, path))
    except (ValueError, RecursionError) as error:
        hint = _hint(data)
        raise DataError(f"{path}: the annotation file is not JSON: {hint or error}") from error


def _decoded(data: bytes, path: Path) -> str:
    encoding = json.detect_encoding(data)
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}: the annotation file is not UTF-8 (byte {data[error.start]:#04x} at position "
            f"{error.start}); save it as UTF-8"
        ) from error


def _hint(data: bytes) -> str:
    start = data.removeprefix(codecs.BOM_UTF8).lstrip()[:40].lower()
    if start.startswith(b"version https://git-lfs"):
        return "it is a Git LFS pointer; fetch the file with git lfs pull"
    if start.startswith(b"<"):
        return "it is an HTML or XML file"
    return ""


def _document(content: object, path: Path) -> Document:
    if not isinstance(content, dict):
        raise DataError(
            f"{path}: not COCO's format: the file holds {_kind(content)} instead of an object with "
            '"images", "annotations" and "categories"'
        )
    problems = [problem for key in KEYS if (problem := _problem(content, key))]
    if problems:
        raise DataError(f"{path}: not COCO's format: {'; '.join(problems)}")
    return content


def _problem(content: Mapping[str, object], key: str) -> str:
    """Return what is wrong with a list of the document; empty if nothing is."""
    records = content.get(key)
    if isinstance(records, list) and all(isinstance(record, dict) for record in records):
        return ""
    if key not in content:
        return f'"{key}" must be a list of objects and is missing'
    return f'"{key}" must be a list of objects, not {_kind(records)}'


def _kind(value: object) -> str:
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "a list" if all(isinstance(v, dict) for v in value) else "a list of other values"
    return shown(value)
