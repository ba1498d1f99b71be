"""Where the fields of a spec are in its file, so that each refusal names a line and a column."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from api.client import ApiError
from cli.errors import fail
from searchd.domain.errors import InvalidFieldError, InvalidValueError
from searchd.spec.fields import Location, location_of
from searchd.spec.sentences import FieldError

_MISSING = object()


@dataclass(frozen=True, slots=True, kw_only=True)
class SpecSource:
    """A spec file that was read: its fields, and where each of them is written."""

    file: Path
    fields: Mapping[str, Any]
    """The values of the file by name."""
    root: yaml.MappingNode
    """The same as nodes, which know their lines and columns."""
    section: Location = ()
    """Section of the spec that the file holds; empty: it holds the whole spec."""

    def within(self, *section: str) -> "SpecSource":
        """Return the same file as one that holds only a section of the spec."""
        return replace(self, section=section)

    def place(self, location: Location, checked: Mapping[str, Any] | None = None) -> str:
        """Return where a field is written, such as "line 3, column 5": the beginning of its name,
        or of its section if the file lacks the field.

        Args:
            location: Names of fields and indices of items in the spec, from the outermost.
            checked: The fields that were checked, if options replaced some of the file's.

        Returns:
            Empty if the value is not from the file, or the location is that of the whole spec.
        """
        inside = location[len(self.section) :]
        if not inside or location[: len(self.section)] != self.section:
            return ""
        if checked is not None and not _same(
            _value(checked, location), _value(self.fields, inside)
        ):
            return ""
        mark = _mark(self.root, inside)
        return f"line {mark.line + 1}, column {mark.column + 1}"

    def line(self, location: Location, message: str) -> str:
        """Return what is wrong with a field, after its place and its path."""
        place, error = self.place(location), FieldError(location, message)
        return f"{place}: {error}" if place else str(error)

    def refusals(self, error: ApiError) -> list[str]:
        """Return one line for each field that the service refuses; empty if it names none."""
        return [
            self.line(tuple(each.location[1:]), each.message)
            for each in error.problem.errors
            if each.location[:1] == ["body"]
        ]


@contextmanager
def placing(source: SpecSource | None) -> Iterator[None]:
    """Name the lines and columns of the fields that a service, or a check like its own, refuses
    inside the block.

    Args:
        source: The file that the spec is from; None: it is from no file.

    Raises:
        ApiError: The service refuses the spec for a reason other than a field of it.
        InvalidValueError: A check without the service refuses it.
        typer.Exit: The service refuses fields of it; the fields have been printed.
    """
    try:
        yield
    except ApiError as error:
        lines = [] if source is None else source.refusals(error)
        if source is None or not lines:
            raise
        raise fail("\n  ".join([f"the service refuses {source.file}:", *lines])) from error
    except InvalidFieldError as error:
        if source is None:
            raise
        lines = [source.line(location_of(path), text) for path, text in error.problems]
        raise InvalidValueError("\n  ".join([f"{source.file} is refused:", *lines])) from error


def _same(one: object, other: object) -> bool:
    return one is other or one == other  # the number .nan does not equal itself


def _value(fields: object, location: Location) -> object:
    """Return the value at a location; `_MISSING` if there is none."""
    for part in location:
        match fields:
            case Mapping() if part in fields:
                fields = fields[part]
            case list() if isinstance(part, int) and part < len(fields):
                fields = fields[part]
            case _:
                return _MISSING
    return fields


def _mark(root: yaml.Node, location: Location) -> yaml.Mark:
    """Return where the innermost part of a location that is in the file begins."""
    mark, node = root.start_mark, root
    for part in location:
        found = _below(node, part)
        if found is None:
            break
        mark, node = found
    return mark


def _below(node: yaml.Node, part: int | str) -> tuple[yaml.Mark, yaml.Node] | None:
    """Return where a field or an item begins, and its value."""
    match node, part:
        case yaml.SequenceNode(), int() if part < len(node.value):
            return node.value[part].start_mark, node.value[part]
        case yaml.MappingNode(), str():
            named = [(key.start_mark, value) for key, value in node.value if key.value == part]
            return named[-1] if named else None  # a merged field stands before what replaces it
        case _:
            return None
