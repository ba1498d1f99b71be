"""Records what passes through mmdet's own methods, without changing them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, eq=False)
class Call:
    """One recorded call."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    result: Any


@contextmanager
def recorded_calls(owner: Any, method: str) -> Iterator[list[Call]]:
    """Record the calls of `owner.method` inside the context, without changing them.

    Lists among the arguments are copied before the call: ATSS's targets replace their items.
    Nothing is recorded if the owner is None.
    """
    calls: list[Call] = []
    if owner is None:
        yield calls
        return
    original: Callable[..., Any] = getattr(owner, method)
    replaced = vars(owner).get(method)  # mixed precision replaces methods too

    def recorded(*args: Any, **kwargs: Any) -> Any:
        given = tuple(map(with_own_items, args))
        result = original(*args, **kwargs)
        calls.append(Call(given, kwargs, result))
        return result

    setattr(owner, method, recorded)
    try:
        yield calls
    finally:
        delattr(owner, method)  # so that the class's method is found again
        if replaced is not None:
            setattr(owner, method, replaced)


def with_own_items(argument: Any) -> Any:
    """Return a list as a new list of the same items, and anything else as it is."""
    return [*argument] if isinstance(argument, list) else argument
