"""Descriptions of fields in JSON Schema, from the docstrings below the fields.

Pydantic can add them itself (`use_attribute_docstrings`), but it reads them whenever a class is
made: each start of each command would parse the source of every spec.
"""

import ast
import inspect
import re
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import cache
from itertools import pairwise
from typing import Any

_PACKAGES = ("api.", "searchd.")
_Fields = Mapping[str, str]


def describe(schemas: Mapping[str, dict[str, Any]]) -> None:
    """Add the descriptions of fields to JSON Schemas that pydantic made of our classes.

    Args:
        schemas: JSON Schemas by the names that pydantic gave them, as in `$defs`; changed in place.
    """
    classes = _classes()
    for name, schema in schemas.items():
        properties: dict[str, Any] = schema.get("properties", {})
        short = re.sub(r"^.*__|(-Input|-Output)$", "", name).partition("_")[0]
        for found in map(descriptions, classes[short]):
            if properties.keys() <= found.keys():
                for field in properties.keys() & {each for each, text in found.items() if text}:
                    properties[field].setdefault("description", found[field])


def descriptions(kind: type) -> dict[str, str]:
    """Return the docstring of each annotated field of a class and its bases; "" where there is
    none."""
    found: dict[str, str] = {}
    for each in reversed(kind.__mro__):
        if each.__module__.startswith(_PACKAGES):
            found |= _of_module(each.__module__).get(each.__qualname__.partition("[")[0], {})
    return found


def _classes() -> Mapping[str, list[type]]:
    """Our classes by their names."""
    found: dict[str, list[type]] = defaultdict(list)
    for name, module in list(sys.modules.items()):
        if name.startswith(_PACKAGES):
            for each in vars(module).values():
                if isinstance(each, type) and each.__module__ == name:
                    found[each.__name__].append(each)
    return found


@cache
def _of_module(module: str) -> dict[str, _Fields]:
    """Return the docstrings of the fields of each class of a module."""
    tree = ast.parse(inspect.getsource(sys.modules[module]))
    classes = (node for node in tree.body if isinstance(node, ast.ClassDef))
    return {node.name: dict(_of_class(node)) for node in classes}


def _of_class(node: ast.ClassDef) -> Iterator[tuple[str, str]]:
    for field, text in pairwise([*node.body, ast.Pass()]):
        match field, text:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(
                value=ast.Constant(value=str(d))
            ):
                yield name, inspect.cleandoc(d)
            case ast.AnnAssign(target=ast.Name(id=name)), _:
                yield name, ""
