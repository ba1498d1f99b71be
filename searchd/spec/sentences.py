"""Validation errors in words: one sentence for each invalid field, the same over HTTP and in the
command line."""

import json
import math
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic_core import ErrorDetails

from searchd.domain.suggestions import did_you_mean, one_of, suggestion
from searchd.spec.base import NAME_PATTERN, TRIAL_ID_PATTERN
from searchd.spec.fields import Location, Place, elsewhere, find

MAX_ERRORS = 20
"""Largest number of invalid fields that are named; the others are counted."""
_MAX_SHOWN = 80
"""Largest number of characters of a value that a message shows."""
_MAX_NAME = 63
_NAME_RULE = (
    'a name has lower-case letters, digits, "-" and "_", starts with a letter or digit, and has at '
    f"most {_MAX_NAME} characters"
)
_REFERENCE_PATTERN = r"^[A-Za-z0-9_-]+$"
"""What a name, an id or a page token in a URL must match."""
_IN_QUOTES = "; in YAML, write it in quotes"
_FIELDS_HERE = "; the fields here are "
_WRONG_KIND = frozenset({"string_type", "dataclass_type", "model_type", "dict_type", "tuple_type"})
"""Errors of a value of another kind: they say little about the member of a union that was meant."""


@dataclass(frozen=True, slots=True)
class FieldError:
    """An invalid field of a spec."""

    location: Location
    """Names of fields and indices of items, from the outermost."""
    message: str
    """What is wrong with the field, and what would be right."""

    def __str__(self) -> str:
        path = ".".join(map(str, self.location))
        return f"{path}: {self.message}" if path else self.message


def field_errors(errors: Iterable[ErrorDetails], schema: Any = None) -> list[FieldError]:
    """Return the invalid fields of a spec.

    Args:
        errors: The errors of pydantic, all from one validation.
        schema: Type of the spec, by which misspelt fields are recognized. None: unknown.
    """
    placed = [(find(schema, each["loc"]), each) for each in errors]
    unions = dict.fromkeys(place.union for place, _ in placed if place.union is not None)
    chosen = {union: _members_meant(union, placed) for union in unions}
    found: dict[Location, list[str]] = {}
    for place, error in placed:
        if place.union is not None and place.label not in chosen[place.union]:
            continue
        if error["type"] == "too_short" and len(error["input"]) >= error["ctx"]["min_length"]:
            continue  # pydantic counts the valid items only; the others have their own errors
        location, message = _sentence(error, place, schema)
        if any(message in each for at, each in found.items() if at[:-1] == location[:-1]):
            message = message.partition(_FIELDS_HERE)[0]  # the fields were listed once
        messages = found.setdefault(location, [])
        if message not in messages:
            messages.append(message)
    return [FieldError(location, "; or ".join(each)) for location, each in found.items()]


def listed(
    errors: Sequence[FieldError], place: Callable[[Location], str] | None = None
) -> list[str]:
    """Return one line for each invalid field, at most `MAX_ERRORS`, and then the number of the
    others.

    Args:
        errors: The invalid fields.
        place: Returns where a field is in its file, with which its line begins; may be empty.
    """
    places = ["" if place is None else place(each.location) for each in errors[:MAX_ERRORS]]
    lines = [f"{at}: {each}" if at else str(each) for at, each in zip(places, errors, strict=False)]
    more = len(errors) - len(lines)
    return [*lines, f"and {more} more"] if more > 0 else lines


def shown(value: object) -> str:
    """Return a value as a message shows it, as in YAML, cut at 80 characters."""
    if isinstance(value, float) and not math.isfinite(value):
        text = "NaN" if math.isnan(value) else "infinity"
    else:
        text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}…"


def name_sentence(value: str) -> str:
    """Return why a text is no name, with a name that could be used instead."""
    if re.search(r"\$\{?\w|\{\{|%\w+%|<\w+>", value):
        return f"{shown(value)} is a placeholder, which is not replaced; write the name itself"
    if len(value) > _MAX_NAME and re.fullmatch(r"[a-z0-9][a-z0-9_-]*", value):
        return f"{shown(value)} has {len(value)} characters; {_NAME_RULE}"
    name = as_name(value)
    example = f"; for example {name}" if name else ""
    return f"{shown(value)} is not a valid name: {_NAME_RULE}{example}"


def as_name(text: str) -> str:
    """Return a name made from a text; empty if the text has no letter or digit that fits."""
    plain = unicodedata.normalize("NFKD", text.casefold()).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9_]+", "-", plain).strip("-_")[:_MAX_NAME].rstrip("-_")


def _members_meant(union: Location, placed: Sequence[tuple[Place, ErrorDetails]]) -> set[str]:
    """Return the labels of the members of a union that the value was probably meant as: those with
    errors below the union, else those that have no error about the kind of the value."""
    inside = [(place, error) for place, error in placed if place.union == union]
    deeper = {place.label for place, _ in inside if len(place.location) > len(union)}
    fitting = {place.label for place, error in inside if error["type"] not in _WRONG_KIND}
    return deeper or fitting or {place.label for place, _ in inside}


def _sentence(error: ErrorDetails, place: Place, schema: Any) -> tuple[Location, str]:
    """Return the location and the sentence of an error."""
    location = place.location
    kind, value, context = error["type"], error["input"], error.get("ctx", {})
    if location and location[-1] == "[key]":
        location = location[:-1]
    if kind in ("extra_forbidden", "unexpected_keyword_argument"):
        return location, _unknown_field(location, find(schema, error["loc"][:-1]).fields, schema)
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        return (*location, str(context["discriminator"]).strip("'")), _tag(context, place)
    if kind.endswith("_type") and value is None:
        return location, _empty(kind, place)
    if kind in _RULES:
        return location, _RULES[kind](value, context)
    if kind in ("model_type", "model_attributes_type", "dataclass_type"):
        return location, _without_fields(value, place)
    return location, _other(error)


def _unknown_field(location: Location, known: Sequence[str], schema: Any) -> str:
    name = str(location[-1])
    others = [] if schema is None else elsewhere(schema, name)
    others = [path for path in others if path != ".".join(map(str, location))]
    exact = [path for path in others if path.rpartition(".")[2] == name]
    near = suggestion(name, known)
    if near is not None and not exact:
        return f"unknown field; did you mean {near}?"
    if others:
        return f"unknown field here; did you mean {one_of(others[:3])}?"
    return f"unknown field{_FIELDS_HERE}{_names(known)}" if known else "unknown field"


def _tag(context: Mapping[str, Any], place: Place) -> str:
    if "tag" not in context:
        return f"required field is missing: {one_of(place.kinds)}"
    return _choice(context["tag"], _quoted(str(context["expected_tags"])))


def _without_fields(value: object, place: Place) -> str:
    if isinstance(value, bytes):
        return "the body is not JSON: its Content-Type must be application/json"
    key = "kind" if value in place.kinds else "name" if "name" in place.fields else None
    if isinstance(value, str) and key is not None:
        return f"must have fields, not be {shown(value)}; write {{{key}: {value[:_MAX_SHOWN]}}}"
    return f"must have fields ({_names(place.fields)}), not be {shown(value)}"


def _choice(value: object, known: Sequence[str]) -> str:
    near = did_you_mean(value, known) if isinstance(value, str) else ""
    quotes = _IN_QUOTES if isinstance(value, bool) else ""
    return f"must be {one_of(known)}, not {shown(value)}{near}{quotes}"


def _empty(kind: str, place: Place) -> str:
    if kind == "string_type":
        return "is empty; give it a text"
    if place.fields or kind == "dict_type":
        return "is empty; remove it or give it fields"
    wanted = {"int_type": "a whole number", "float_type": "a number", "bool_type": "true or false"}
    return f"is empty; remove it or give it {wanted.get(kind, 'a value')}"


def _text(value: object, _context: Mapping[str, Any]) -> str:
    if isinstance(value, bool):
        words = "yes, on and true" if value else "no, off and false"
        return f"must be text, not {shown(value)} (in YAML, write {words} in quotes)"
    if isinstance(value, list | dict):
        return f"must be text, not {shown(value)}"
    return f"must be text, not the {_kind_of(value)} {shown(value)}{_IN_QUOTES}"


def _kind_of(value: object) -> str:
    return "number" if isinstance(value, int | float) else type(value).__name__


def _pattern(value: object, context: Mapping[str, Any]) -> str:
    match context["pattern"]:
        case pattern if pattern == NAME_PATTERN:
            return name_sentence(str(value))
        case pattern if pattern == TRIAL_ID_PATTERN:
            return f"must be the id of a trial, for example s-7f3k2m-12, not {shown(value)}"
        case pattern if pattern == _REFERENCE_PATTERN:
            return f'has only letters, digits, "-" and "_", unlike {shown(value)}'
        case pattern:
            return f"must match {pattern}, not {shown(value)}"


def _number(value: object, _context: Mapping[str, Any]) -> str:
    percent = re.fullmatch(r"\s*(-?\d+(?:[.,]\d+)?)\s*%\s*", str(value))
    meant = f"; write {_float(percent[1]) / 100:g}" if percent else _as_number(value)
    return f"must be a number, not {shown(value)}{meant}"


def _whole_number(value: object, _context: Mapping[str, Any]) -> str:
    return f"must be a whole number, not {shown(value)}{_as_number(value)}"


def _as_number(value: object) -> str:
    """Return how the number that a text means is written; empty if it means none."""
    text = str(value).strip()
    if re.fullmatch(r"-?\d+,\d+", text):
        return f"; write {text.replace(',', '.')}"
    if match := re.fullmatch(r"(-?\d+(?:\.\d+)?)\s*[A-Za-z_]+", text):
        return f"; write {match[1]}"
    return ""


def _float(text: str) -> float:
    return float(text.replace(",", "."))


def _list(value: object, _context: Mapping[str, Any]) -> str:
    one = f"; write [{shown(value)}]" if isinstance(value, str | int | float) else ""
    return f"must be a list, not {shown(value)}{one}"


def _at_most(value: object, context: Mapping[str, Any]) -> str:
    bound = context["le"]
    percent = isinstance(value, int | float) and bound == 1 and 1 < value <= 100
    hint = f"; it is a fraction: {value}% is {value / 100:g}" if percent else ""  # type: ignore[operator]
    return f"must be at most {bound:g}, not {shown(value)}{hint}"


def _items(_value: object, context: Mapping[str, Any]) -> str:
    least = context["min_length"]
    items = "item" if least == 1 else "items"
    return f"must have at least {least} {items}, not {context['actual_length']}"


def _most_items(_value: object, context: Mapping[str, Any]) -> str:
    most = context["max_length"]
    items = "item" if most == 1 else "items"
    return f"must have at most {most} {items}, not {context['actual_length'] or 'more'}"


def _short_text(_value: object, context: Mapping[str, Any]) -> str:
    least = context["min_length"]
    return "must not be empty" if least == 1 else f"must have at least {least} characters"


def _bound(words: str, name: str) -> Callable[[object, Mapping[str, Any]], str]:
    return lambda value, context: f"must be {words} {context[name]:g}, not {shown(value)}"


def _kind(words: str) -> Callable[[object, Mapping[str, Any]], str]:
    return lambda value, _context: f"must be {words}, not {shown(value)}"


_RULES: dict[str, Callable[[Any, Mapping[str, Any]], str]] = {
    "missing": lambda _value, _context: "required field is missing",
    "missing_argument": lambda _value, _context: "required field is missing",
    "value_error": lambda _value, context: str(context["error"]),
    "literal_error": lambda value, context: _choice(value, _quoted(context["expected"])),
    "enum": lambda value, context: _choice(value, _quoted(context["expected"])),
    "string_type": _text,
    "string_pattern_mismatch": _pattern,
    "string_too_short": _short_text,
    "string_too_long": lambda value, context: (
        f"must have at most {context['max_length']} characters, not {len(value)}"
    ),
    "int_type": _whole_number,
    "int_parsing": _whole_number,
    "int_from_float": _whole_number,
    "int_parsing_size": _kind("a smaller number"),
    "float_type": _number,
    "float_parsing": _number,
    "finite_number": _kind("a finite number"),
    "bool_type": _kind("true or false"),
    "bool_parsing": _kind("true or false"),
    "greater_than_equal": _bound("at least", "ge"),
    "greater_than": _bound("greater than", "gt"),
    "less_than_equal": _at_most,
    "less_than": _bound("less than", "lt"),
    "too_short": _items,
    "too_long": _most_items,
    "tuple_type": _list,
    "list_type": _list,
    "set_type": _list,
    "dict_type": _kind("fields with values"),
    "path_type": _kind("a path"),
    "invalid_key": lambda _value, _context: (
        "is not a text, as the name of a field must be" + _IN_QUOTES
    ),
    "json_invalid": lambda _value, context: f"the body is not JSON: {context['error']}",
}
"""The sentence for each type of error of pydantic, given the value and the context of the error."""


def _other(error: ErrorDetails) -> str:
    message = error["msg"]
    return message[:1].lower() + message[1:]


def _quoted(text: str) -> list[str]:
    return re.findall(r"'([^']*)'", text) or [text]


def _names(names: Sequence[str]) -> str:
    return ", ".join(dict.fromkeys(names))
