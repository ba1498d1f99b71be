"""Reads the text of an mmdet config without running it.

Checkpoints hold the config that they were trained with as Python text. Only literals and calls of
`dict`, `list` and `tuple` are evaluated, which is what mmengine and mmdet 2.x write.
"""

import ast
from collections.abc import Mapping
from typing import Any

_BUILDERS = {"dict": dict, "list": list, "tuple": tuple, "set": set}


def values_of(text: str) -> dict[str, Any]:
    """Return the top-level values of a config by name; those that are no plain values are left out.

    Raises:
        SyntaxError: The text is no Python.
    """
    found: dict[str, Any] = {}
    for statement in ast.parse(text).body:
        if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
            try:
                found[statement.targets[0].id] = _value(statement.value, found)
            except (ValueError, TypeError):
                continue
    return found


def _value(node: ast.expr, names: Mapping[str, Any]) -> Any:
    match node:
        case ast.Call(func=ast.Name(id=builder)) if builder in _BUILDERS:
            positional = [_value(argument, names) for argument in node.args]
            named = {str(each.arg): _value(each.value, names) for each in node.keywords if each.arg}
            return _BUILDERS[builder](*positional, **named)
        case ast.Dict():
            pairs = zip(node.keys, node.values, strict=True)
            return {_value(key, names): _value(value, names) for key, value in pairs if key}
        case ast.List() | ast.Tuple() | ast.Set():
            return [_value(element, names) for element in node.elts]
        case ast.Name(id=name) if name in names:
            return names[name]
    return ast.literal_eval(node)
