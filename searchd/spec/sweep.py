"""A sweep of a distillation: one setting, and the values that the order is trained with."""

import re
from collections.abc import Mapping
from copy import deepcopy
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, ValidationError, field_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from searchd.domain.suggestions import unknown
from searchd.domain.trial import Scalar
from searchd.spec.base import Spec

MAX_VALUES = 20
"""Largest number of values of a sweep."""
_METHOD = r"methods\.[a-z0-9_]+\.(weight|options\.[a-z0-9_]+)"
_SWEPT = re.compile(rf"trial\.[a-z0-9_.]+|(distillation|teacher_methods\.[a-z0-9_-]+)\.{_METHOD}")
"""The settings that decide how a stage is trained."""


def _read_scalar(value: object) -> object:
    """Check a value, since an error of the union would be four."""
    if isinstance(value, Scalar):
        return value
    raise ValueError(f"{value!r} is not a single value; write a number, a text, true or false")


class SweepSpec(Spec):
    """One setting of a distillation, and the values to compare. The order of teachers is trained
    once with each value, from the same student, by the same teachers and with the same seeds."""

    field: str
    """Setting to vary, as a dotted path: a setting of `trial` (trial.learning_rate), or the weight
    or an option of a method (distillation.methods.fgd.weight,
    teacher_methods.NAME.methods.cwd.options.temperature)."""
    values: tuple[Annotated[Scalar, BeforeValidator(_read_scalar)], ...] = Field(
        min_length=1, max_length=MAX_VALUES
    )
    """Values to train the order with, at most 20. The value that the spec itself has is always
    trained, and need not be repeated here. All other settings stay as they are, also those whose
    defaults depend on this one."""

    @field_validator("field")
    @classmethod
    def _check_field(cls, field: str) -> str:
        if _SWEPT.fullmatch(field) is None:
            raise ValueError(
                f"{field!r} cannot be swept; name a setting of trial (trial.learning_rate), or the "
                "weight or an option of a method (distillation.methods.fgd.weight, "
                "teacher_methods.NAME.methods.cwd.options.temperature)"
            )
        return field


def refusal(message: str, value: object, *location: str | int) -> ValidationError:
    """Return the error of a validator that refuses one field below the sweep.

    Args:
        message: What is wrong, and what would be right.
        value: The value that is refused.
        location: Path of the field within the sweep.
    """
    kind = PydanticCustomError("value_error", "{error}", {"error": message})
    details = InitErrorDetails(type=kind, loc=("sweep", *location), input=value)
    return ValidationError.from_exception_data("SweepSpec", [details])


def value_at(document: Mapping[str, Any], field: str) -> Scalar | None:
    """Return the value of a setting.

    Args:
        document: A distillation as JSON.
        field: Dotted path of the setting; methods are found by their names.

    Raises:
        ValueError: There is no such setting, or it has several values.
    """
    fields, name = _place(document, field)
    found = fields[name]
    if isinstance(found, dict):
        parts = ", ".join(f"{field}.{part}" for part in found)
        raise ValueError(f"{field} has settings of its own; name one of {parts}")
    if isinstance(found, list):
        raise ValueError(f"{field} is a list; only a setting of a single value can be swept")
    return found  # type: ignore[no-any-return]  # JSON has no other values


def with_value(document: Mapping[str, Any], field: str, value: Scalar) -> dict[str, Any]:
    """Return a distillation as JSON with another value of a setting that `value_at` finds."""
    changed = deepcopy(dict(document))
    fields, name = _place(changed, field)
    fields[name] = value
    return changed


def _place(document: Mapping[str, Any], field: str) -> tuple[dict[str, Any], str]:
    """Return the fields among which a setting is, and its name there."""
    *path, name = field.split(".")
    here: Any = document
    for done, part in enumerate(path):
        here = _named(here, part, ".".join(path[:done]))
    _named(here, name, ".".join(path))
    return here, name


def _named(here: Any, part: str, within: str) -> Any:
    """Return the setting of this name, or the method, within a group of them."""
    match here:
        case dict():
            noun, known = "field", here
        case [{"name": _}, *_]:
            noun, known = "method", {each["name"]: each for each in here}
        case None:
            raise ValueError(f"{within} is not set, so it has no {part}; set it, or sweep another")
        case _:
            raise ValueError(f"{within} has no settings of its own, so it has no {part}")
    if part not in known:
        raise ValueError(f"{within}: {unknown(noun, part, list(known))}")
    return known[part]
