"""Spec files: YAML or JSON, read so that a mistake in the file is reported by its line."""

import codecs
import json
import re
from pathlib import Path
from typing import Any

import yaml
from typing_extensions import override

from cli.spec_places import SpecSource
from searchd.domain.errors import InvalidValueError

_MERGE = "tag:yaml.org,2002:merge"
_BOMS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_HINTS = (
    ("mapping values are not allowed", "indent the line by as many spaces as the others of its "
     'section, or put a text with ": " in quotes'),
    ("expected ',' or", "a bracket or brace is not closed, or a comma is missing"),
    ("expected <block end>", "indent the line by as many spaces as the others of its section"),
    ("found unknown escape character", "use single quotes around a text with backslashes"),
    ("found unhashable key", "a text with {{ or [ must be in quotes"),
    ("could not determine a constructor", "tags such as !include are not supported"),
    ("found undefined alias", "a text that begins with * must be in quotes"),
    ("cannot start any token", "a text that begins with this character must be in quotes"),
    ("did not find expected", "a bracket, brace or quote is not closed, or a line is indented "
     "by another number of spaces than the others"),
    ("while scanning a quoted scalar", "a quote is not closed"),
    ("could not find expected ':'", 'a field is written "name: value", with a space'),
)  # fmt: skip
"""What to do about an error of the YAML parser, by a part of its text."""


def read_source(file: Path) -> SpecSource:
    """Read the fields and values of a YAML or JSON file.

    Raises:
        InvalidValueError: The file is neither YAML nor JSON, gives a field twice, or has no fields.
    """
    text = _text(file)
    try:
        root, values = _parsed(_plain(text))
    except yaml.YAMLError as error:
        raise InvalidValueError(f"{file}{_reason(error, text)}") from error
    except RecursionError as error:
        raise InvalidValueError(f"{file} is nested too deeply for a spec") from error
    if not isinstance(values, dict) or not isinstance(root, yaml.MappingNode):
        raise InvalidValueError(f"{file} {_without_fields(values, text)}")
    return SpecSource(file=file, fields=values, root=root)


def _parsed(text: str) -> tuple[yaml.Node | None, Any]:
    """Return the only document of a text as nodes and as values."""
    loader = _Loader(text)
    root = loader.get_single_node()
    return root, None if root is None else loader.construct_document(root)


_INT, _FLOAT = "tag:yaml.org,2002:int", "tag:yaml.org,2002:float"


class _Loader(yaml.SafeLoader):
    """Reads YAML, and refuses a field that is given twice. Numbers are those of YAML 1.2: 1e-3 is
    one, while 0x96 (not 150), 010 (not 8) and 1:30 (not 90) are texts."""

    yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag != _INT]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    @override
    def compose_mapping_node(self, anchor: dict[Any, yaml.Node]) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        first: dict[str, yaml.Mark] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == _MERGE:
                continue
            if key.value in first:
                raise _TwiceError(key.value, first[key.value], key.start_mark)
            first[key.value] = key.start_mark
        return node

    @override
    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (ValueError, OverflowError) as error:  # such as the date 2026-02-30
            raise _ValueError(node.start_mark, error) from error


_DIGITS = list("-+0123456789")
_Loader.add_implicit_resolver(_INT, re.compile(r"^[-+]?(?:0|[1-9][0-9_]*)$"), _DIGITS)
_Loader.add_implicit_resolver(
    _FLOAT, re.compile(r"^[-+]?[0-9][0-9_]*(?:\.[0-9_]*)?[eE][-+]?[0-9]+$"), _DIGITS
)


class _TwiceError(yaml.YAMLError):
    """A field is given twice."""

    def __init__(self, name: str, first: yaml.Mark, second: yaml.Mark) -> None:
        places = f"on {_place(first)} and again on {_place(second)}"
        super().__init__(f" gives {json.dumps(name)} {places}; remove one of them")


class _ValueError(yaml.YAMLError):
    """A value looks like one of a type, and is none."""

    def __init__(self, mark: yaml.Mark, reason: Exception) -> None:
        super().__init__(
            f", {_place(mark)}: the value cannot be read: {reason}; a text must be in quotes"
        )


def _place(mark: yaml.Mark) -> str:
    return f"line {mark.line + 1}, column {mark.column + 1}"


def _text(file: Path) -> str:
    content = file.read_bytes()
    if content.startswith(_BOMS) or _looks_like_utf_16(content):
        raise InvalidValueError(f"{file} is UTF-16; save it as UTF-8")
    if b"\0" in content:
        raise InvalidValueError(f"{file} is a binary file; a spec is a YAML or JSON file")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        place = _end_of(content[: error.start].decode("utf-8-sig"))
        raise InvalidValueError(
            f"{file}, {place}: the byte 0x{content[error.start]:02X} is not UTF-8; save the "
            "file as UTF-8"
        ) from error


def _end_of(text: str) -> str:
    """Where the character after a text is."""
    return f"line {text.count(chr(10)) + 1}, column {len(text) - text.rfind(chr(10))}"


def _looks_like_utf_16(content: bytes) -> bool:
    """Whether every other byte is zero, as in UTF-16 without a byte order mark."""
    return len(content) > 1 and len(content) % 2 == 0 and (
        not any(content[1::2]) or not any(content[::2])
    )  # fmt: skip


def _plain(text: str) -> str:
    """Replace the tabs of a JSON file, which YAML does not allow between values; within the texts
    of JSON there is no tab."""
    return text.replace("\t", " ") if text.lstrip().startswith(("{", "[")) else text


def _reason(error: yaml.YAMLError, text: str) -> str:
    if isinstance(error, _TwiceError | _ValueError):
        return str(error)
    if isinstance(error, yaml.reader.ReaderError):
        where = _end_of(text[: error.position])
        return f", {where}: the character U+{error.character:04X} is not allowed; remove it"
    assert isinstance(error, yaml.MarkedYAMLError)
    if "expected a single document" in str(error.context):
        line = error.problem_mark.line + 1 if error.problem_mark else 0
        return f" has two documents, the second from line {line} (---); write one file for each"
    mark = error.problem_mark or error.context_mark
    return " is neither YAML nor JSON" if mark is None else _at(mark, error, text)


def _at(mark: yaml.Mark, error: yaml.MarkedYAMLError, text: str) -> str:
    lines = text.splitlines()
    around = range(max(0, mark.line - 1), min(len(lines), mark.line + 1))
    tab = next((n for n in reversed(around) if re.match(r"[ -]*\t", lines[n])), None)
    if tab is not None:
        column = lines[tab].index("\t") + 1
        return (
            f", line {tab + 1}, column {column}: the line is indented with a tab; YAML allows only "
            "spaces there"
        )
    said = f"{error.context or ''} {error.problem or ''}"
    hint = next((f"; {hint}" for part, hint in _HINTS if part in said), "")
    return f" is neither YAML nor JSON: {_place(mark)}: {error.problem}{hint}"


def _without_fields(values: object, text: str) -> str:
    wanted = "a spec must have fields and values, such as name: first"
    match values:
        case None:
            return f"is empty: {wanted}"
        case [dict(), *_] if text.lstrip().startswith(("- ", "#")):
            return f'is a list: {wanted}; remove the "- " at the beginning'
        case list():
            return f"is a list: {wanted}"
        case str() if re.match(r"[a-z_]+:\S", values):
            return "must have fields and values, such as name: first, with a space after the colon"
        case _:
            return "must have fields and values, such as name: first"
