"""An append-only sequence as a value, whose items are found by a key. Pure."""

from collections.abc import Hashable, Sequence
from typing import TypeVar, overload

T = TypeVar("T")


class Log(Sequence[T]):
    """Items in the order in which they were appended, the first of each key found in O(1).

    A log and those made from it share one list: each sees the beginning of it that it has. Only
    what is appended to a log that has been continued already is copied.
    """

    __slots__ = ("_items", "_length", "_positions")

    def __init__(self) -> None:
        self._items: list[T] = []
        self._positions: dict[Hashable, int] = {}
        self._length = 0

    def appended(self, key: Hashable, item: T) -> "Log[T]":
        """Return the log with one more item."""
        longer = self if len(self._items) == self._length else self._copy()
        made: Log[T] = Log()
        made._items, made._positions = longer._items, longer._positions
        made._items.append(item)
        made._positions.setdefault(key, self._length)
        made._length = self._length + 1
        return made

    def position(self, key: Hashable) -> int | None:
        """Return the position of the first item with this key; None if there is none."""
        found = self._positions.get(key)
        return None if found is None or found >= self._length else found

    def find(self, key: Hashable) -> T | None:
        """Return the first item with this key; None if there is none."""
        found = self.position(key)
        return None if found is None else self._items[found]

    def __len__(self) -> int:
        return self._length

    @overload
    def __getitem__(self, index: int) -> T: ...

    @overload
    def __getitem__(self, index: slice) -> list[T]: ...

    def __getitem__(self, index: int | slice) -> T | list[T]:
        if isinstance(index, slice):
            return [self._items[each] for each in range(*index.indices(self._length))]
        position = index + self._length if index < 0 else index
        if not 0 <= position < self._length:
            raise IndexError(f"{index} of {self._length} items")
        return self._items[position]

    def _copy(self) -> "Log[T]":
        made: Log[T] = Log()
        made._items = self._items[: self._length]
        kept = self._positions.items()
        made._positions = {key: at for key, at in kept if at < self._length}
        return made
