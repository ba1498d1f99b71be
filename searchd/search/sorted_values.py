"""A sorted sequence as a value: adding or removing an entry gives another one in O(log n). Pure.

The entries are in a weight-balanced binary tree (Hirai and Yamamoto 2011), whose nodes are shared
by all the sequences that were made from each other.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Generic, NamedTuple, TypeVar, overload

T = TypeVar("T")
_DELTA, _RATIO = 3, 2
"""The parameters of the balance: a subtree has at most `_DELTA` times the weight of its sibling."""


class _Node(NamedTuple, Generic[T]):
    key: Any
    value: T
    left: "_Node[T] | None"
    right: "_Node[T] | None"
    size: int


class SortedValues(Sequence[T]):
    """Values in ascending order of their keys. Keys are different from each other."""

    __slots__ = ("_root",)

    def __init__(self, root: _Node[T] | None = None) -> None:
        self._root = root

    def added(self, key: Any, value: T) -> "SortedValues[T]":
        """Return the sequence with a value; one with this key is replaced."""
        return SortedValues(_added(self._root, key, value))

    def removed(self, key: Any) -> "SortedValues[T]":
        """Return the sequence without the value of this key; unchanged if there is none."""
        return SortedValues(_removed(self._root, key))

    def __len__(self) -> int:
        return _size(self._root)

    def __iter__(self) -> Iterator[T]:
        above: list[_Node[T]] = []
        node = self._root
        while node is not None or above:
            while node is not None:
                above.append(node)
                node = node.left
            node = above.pop()
            yield node.value
            node = node.right

    @overload
    def __getitem__(self, index: int) -> T: ...

    @overload
    def __getitem__(self, index: slice) -> list[T]: ...

    def __getitem__(self, index: int | slice) -> T | list[T]:
        if isinstance(index, slice):
            return [self[each] for each in range(*index.indices(len(self)))]
        position = index + len(self) if index < 0 else index
        if not 0 <= position < len(self):
            raise IndexError(f"{index} of {len(self)} values")
        return _at(self._root, position)


def _size(node: _Node[T] | None) -> int:
    return 0 if node is None else node.size


def _made(key: Any, value: T, left: _Node[T] | None, right: _Node[T] | None) -> _Node[T]:
    return _Node(key, value, left, right, _size(left) + _size(right) + 1)


def _at(node: _Node[T] | None, position: int) -> T:
    assert node is not None  # the caller has checked the position
    before = _size(node.left)
    if position < before:
        return _at(node.left, position)
    if position > before:
        return _at(node.right, position - before - 1)
    return node.value


def _added(node: _Node[T] | None, key: Any, value: T) -> _Node[T]:
    if node is None:
        return _Node(key, value, None, None, 1)
    if key < node.key:
        return _balanced(node.key, node.value, _added(node.left, key, value), node.right)
    if node.key < key:
        return _balanced(node.key, node.value, node.left, _added(node.right, key, value))
    return _Node(key, value, node.left, node.right, node.size)


def _removed(node: _Node[T] | None, key: Any) -> _Node[T] | None:
    if node is None:
        return None
    if key < node.key:
        return _balanced(node.key, node.value, _removed(node.left, key), node.right)
    if node.key < key:
        return _balanced(node.key, node.value, node.left, _removed(node.right, key))
    if node.left is None or node.right is None:
        return node.right if node.left is None else node.left
    first = node.right
    while first.left is not None:
        first = first.left
    return _balanced(first.key, first.value, node.left, _removed(node.right, first.key))


def _balanced(key: Any, value: T, left: _Node[T] | None, right: _Node[T] | None) -> _Node[T]:
    """Return a node whose subtrees differ by at most one entry from balanced ones."""
    if right is not None and _is_heavy(right, left):
        return _turned_left(key, value, left, right)
    if left is not None and _is_heavy(left, right):
        return _turned_right(key, value, left, right)
    return _made(key, value, left, right)


def _is_heavy(node: _Node[T], sibling: _Node[T] | None) -> bool:
    return node.size + 1 > _DELTA * (_size(sibling) + 1)


def _is_inner_light(inner: _Node[T] | None, outer: _Node[T] | None) -> bool:
    return _size(inner) + 1 < _RATIO * (_size(outer) + 1)


def _turned_left(key: Any, value: T, left: _Node[T] | None, right: _Node[T]) -> _Node[T]:
    inner = right.left
    if inner is None or _is_inner_light(inner, right.right):
        return _made(right.key, right.value, _made(key, value, left, inner), right.right)
    return _made(
        inner.key,
        inner.value,
        _made(key, value, left, inner.left),
        _made(right.key, right.value, inner.right, right.right),
    )


def _turned_right(key: Any, value: T, left: _Node[T], right: _Node[T] | None) -> _Node[T]:
    inner = left.right
    if inner is None or _is_inner_light(inner, left.left):
        return _made(left.key, left.value, left.left, _made(key, value, inner, right))
    return _made(
        inner.key,
        inner.value,
        _made(left.key, left.value, left.left, inner.left),
        _made(key, value, inner.right, right),
    )
