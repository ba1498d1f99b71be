"""The question of the API whether the weights that a run starts from can be used, and the answer of
`detection.base_check`."""

from pydantic import JsonValue

from searchd.spec.base import Spec
from searchd.spec.pool import PoolSpec
from searchd.spec.search import BaseSpec


class Request(Spec):
    """A base with the fields of its head that were given, or a pool."""

    base: BaseSpec | None = None
    head: dict[str, JsonValue] = {}
    pool: PoolSpec | None = None


class Answer(Spec):
    """The result of a check."""

    problem: str | None = None
    """A sentence that says why the weights cannot be used; None if they can."""
    head: dict[str, JsonValue] | None = None
    """The head of the base, by field; None for a pool."""
