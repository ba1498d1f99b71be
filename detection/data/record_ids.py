"""Ids of images, annotations and categories, as annotation files have them."""

from detection.data.findings import Findings, shown
from detection.data.kinds import IDS_MAPPED

RecordId = int | str
"""An id: a whole number of any length, or a text."""


def record_id(value: object) -> RecordId | None:
    """Return an id in its one form, or None if the value is no id.

    Decimal numbers and texts that are whole numbers become whole numbers: 1.0 and "1" become 1.
    """
    if type(value) is int:
        return value
    if isinstance(value, float):
        return int(value) if value.is_integer() else None
    if isinstance(value, str) and value:
        return int(value) if _is_plain_number(value) else value
    return None


def mapped_id(value: object, findings: Findings, file: object, where: str) -> RecordId | None:
    """Return an id in its one form, and report it if its form changed or it is a text."""
    if type(value) is int:
        return value
    identity = record_id(value)
    if identity is not None:
        findings.add(IDS_MAPPED, file, where, f"{shown(value)} is not a whole number", value=value)
    return identity


def sort_key(identity: RecordId) -> tuple[bool, RecordId]:
    """Return a key that sorts numbers before texts."""
    return isinstance(identity, str), identity


def _is_plain_number(text: str) -> bool:
    digits = text.removeprefix("-")
    plain = digits.isascii() and digits.isdigit() and len(digits) < 100
    return plain and (digits == "0" or not digits.startswith("0"))
