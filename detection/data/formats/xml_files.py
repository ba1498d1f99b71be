"""Reads XML annotation files of Pascal VOC and CVAT."""

from pathlib import Path
from xml.etree import ElementTree

from searchd.domain.errors import DataError


def read_xml(path: Path) -> ElementTree.Element:
    """Return the root of an XML file.

    Raises:
        DataError: The file cannot be read, is not XML, or defines entities, which can grow without
            limit.
    """
    try:
        data = path.read_bytes()
        if b"<!ENTITY" in data:
            raise DataError(f"{path}: the file defines XML entities, which are not allowed")
        return ElementTree.fromstring(data)
    except OSError as error:
        raise DataError(f"{path}: the file cannot be read: {error.strerror}") from error
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise DataError(f"{path}: the file is not XML: {error}") from error


def root_tag(path: Path) -> str:
    """Return the name of the root element; empty if the file is not XML."""
    try:
        with path.open("rb") as file:
            for _, element in ElementTree.iterparse(file, events=("start",)):
                return str(element.tag)
    except (OSError, ElementTree.ParseError, ValueError, LookupError):
        return ""
    return ""
