"""`--filter`, `--sort` and `--limit` of every list.

What the service can filter and sort it does; the rest is done here, by any field that
`--format json` shows.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from cli.output import Format, show_list
from searchd.domain.errors import InvalidValueError
from searchd.domain.suggestions import did_you_mean

if TYPE_CHECKING:
    from pydantic import BaseModel

S = TypeVar("S", bound="BaseModel")
STATUS_HELP = "Status of the items to list; repeat it for several. All statuses by default."
_OPERATORS: Mapping[str, Callable[[Any, Any], bool]] = {
    "!=": lambda found, wanted: found != wanted,
    ">=": lambda found, wanted: found >= wanted,
    "<=": lambda found, wanted: found <= wanted,
    "=": lambda found, wanted: found == wanted,
    "~": lambda found, wanted: str(wanted).lower() in str(found).lower(),
    ">": lambda found, wanted: found > wanted,
    "<": lambda found, wanted: found < wanted,
}
_CONDITION = re.compile(rf"([\w.]+)\s*({'|'.join(_OPERATORS)})\s*(.*)", re.DOTALL)
_SORTED_BY_SERVICE = ("created_at", "name", "status")

FilterOption = Annotated[
    list[str] | None,
    typer.Option(
        "--filter",
        metavar="CONDITION",
        help="Condition on a field of --format json, such as name~first (contains), status!=failed "
        "or best.ap>=0.3; the operators are = != ~ < > <= >=. Repeat it for several conditions, "
        "which must all hold. By default all items are listed.",
    ),
]
SortOption = Annotated[
    str | None,
    typer.Option(
        "--sort",
        metavar="[-]FIELD",
        help="Field of --format json to sort by, such as name or -best.ap; with a minus, in "
        "descending order. By default the order of the service is kept.",
    ),
]
LimitOption = Annotated[
    int | None,
    typer.Option("--limit", min=1, help="Largest number of items to list. All by default."),
]


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition on one field."""

    field: str
    operator: str
    value: str

    @classmethod
    def parse(cls, text: str) -> "Condition":
        """Read a condition such as "best.ap>=0.3".

        Raises:
            InvalidValueError: It is none.
        """
        found = _CONDITION.fullmatch(text.strip())
        if found is None:
            raise InvalidValueError(
                f"--filter {text!r} is no condition; write FIELD=VALUE, with one of the operators "
                "= != ~ < > <= >= (in a shell, in quotes: 'score>0.3')"
            )
        return cls(*found.groups())

    def holds(self, item: Mapping[str, Any]) -> bool:
        """Whether it holds for an item; no order holds for a field without a value."""
        found = field_of(item, self.field)
        if found is None or self.value in ("", "null"):
            same = found is None and self.value in ("", "null")
            return same if self.operator == "=" else not same and self.operator == "!="
        return _OPERATORS[self.operator](*self._comparable(found))

    def _comparable(self, found: Any) -> tuple[Any, Any]:
        if isinstance(found, bool) or not isinstance(found, int | float) or self.operator == "~":
            shown = str(found).lower() if isinstance(found, bool) else str(found)
            return shown, self.value
        try:
            return found, float(self.value)
        except ValueError:
            raise InvalidValueError(
                f"--filter {self.field}{self.operator}{self.value}: {self.field} is a number"
            ) from None


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which items of a list to show, and in which order."""

    conditions: tuple[Condition, ...] = ()
    sort: str | None = None
    limit: int | None = None
    by_service: bool = True
    """Whether the service can filter this list by name and sort it."""

    @classmethod
    def of(
        cls,
        filters: list[str] | None,
        sort: str | None,
        limit: int | None,
        *,
        by_service: bool = True,
    ) -> "Selection":
        """Return the selection that options describe.

        Raises:
            InvalidValueError: A condition is none.
        """
        conditions = tuple(map(Condition.parse, filters or ()))
        return cls(conditions=conditions, sort=sort, limit=limit, by_service=by_service)

    @property
    def parameters(self) -> dict[str, Any]:
        """Parameters for the service, which then has less to send."""
        found: dict[str, Any] = {}
        for each in self.conditions:
            if (each.field, each.operator) == ("name", "~") and self.by_service and each.value:
                found["name"] = each.value
        if self.by_service and (self.sort or "").removeprefix("-") in _SORTED_BY_SERVICE:
            found["sort"] = self.sort
        return found

    def apply(self, items: Iterable[S]) -> list[S]:
        """Select from what the service returned for `parameters`.

        Raises:
            InvalidValueError: The items have no such field, or a value is no number.
        """
        kept = self._sorted(each for each in items if self._holds(each))
        return list(islice(kept, self.limit))

    def _holds(self, item: "BaseModel") -> bool:
        fields = item.model_dump(mode="json") if self.conditions else {}
        return all(each.holds(fields) for each in self.conditions)

    def _sorted(self, items: Iterator[S]) -> Iterable[S]:
        if self.sort is None or "sort" in self.parameters:
            return items
        field, descending = self.sort.removeprefix("-"), self.sort.startswith("-")
        found = [(field_of(each.model_dump(mode="json"), field), each) for each in items]
        known = sorted(
            (each for each in found if each[0] is not None),
            key=lambda each: each[0] if isinstance(each[0], int | float | str) else str(each[0]),
            reverse=descending,
        )
        return [each for _, each in (*known, *(each for each in found if each[0] is None))]


def field_of(item: Mapping[str, Any], path: str) -> Any:
    """Return a field such as "best.ap" of a JSON object; None if a section on the way is null.

    Raises:
        InvalidValueError: There is no such field.
    """
    found: Any = item
    for name in path.split("."):
        if found is None:
            return None
        if not isinstance(found, Mapping) or name not in found:
            raise InvalidValueError(
                f"the items have no field {path!r}{_meant(name, found)} (--format json shows all)"
            )
        found = found[name]
    return found


def _meant(name: str, section: Any) -> str:
    """Ask for the field that was probably meant: of this section, or of one inside it."""
    if not isinstance(section, Mapping):
        return ""
    for inner, fields in section.items():
        if isinstance(fields, Mapping) and name in fields:
            return f"; did you mean {inner}.{name}?"
    return did_you_mean(name, list(section))


def show_selected(
    fetch: Callable[..., Iterable[S]],
    columns: Mapping[str, Callable[[S], object]],
    selection: Selection,
    output: Format,
    **parameters: Any,
) -> None:
    """Fetch a list, select from it and print it.

    Args:
        fetch: Method of the client, which takes parameters of the service.
        columns: Cell of an item by the header of the column.
        selection: What to show.
        output: Output format.
        parameters: Further parameters of the service; an empty one is left out.
    """
    given = {name: value for name, value in parameters.items() if value}
    found = fetch(**selection.parameters, **given)
    show_list(selection.apply(found), columns, output)
