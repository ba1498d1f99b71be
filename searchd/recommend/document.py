"""A spec whose numbers each have a reason, and its YAML form with the reasons as comments."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

WIDTH = 100
"""Largest length of a line of a comment."""


@dataclass(frozen=True, slots=True)
class Value:
    """A value of a spec, and why it was chosen."""

    value: Any
    why: str = ""


Document = Mapping[str, "Value | Document"]
"""Sections and values by name."""


def plain(document: Document) -> dict[str, Any]:
    """Return the values without reasons, as a spec is validated."""
    return {
        name: item.value if isinstance(item, Value) else plain(item)
        for name, item in document.items()
    }


def to_yaml(document: Document, title: str) -> str:
    """Return the document as YAML. A reason is a comment above its value."""
    return "".join([*_comment(title, ""), *_lines(document, "")])


def _lines(document: Document, indent: str) -> list[str]:
    lines: list[str] = []
    for name, item in document.items():
        if isinstance(item, Value):
            lines += _comment(item.why, indent)
            lines.append(f"{indent}{name}: {_flow(item.value)}\n")
        else:
            lines += [f"{indent}{name}:\n", *_lines(item, indent + "  ")]
    return lines


def _flow(value: Any) -> str:
    text: str = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=10_000)
    return text.removesuffix("\n").removesuffix("\n...")


def _comment(text: str, indent: str) -> list[str]:
    lines, line = [], ""
    for word in text.split():
        if line and len(indent) + len(line) + len(word) + 3 > WIDTH:
            lines.append(line)
            line = ""
        line = f"{line} {word}" if line else word
    return [f"{indent}# {each}\n" for each in [*lines, line] if each]
