"""The genes of a search that also searches its distillation methods: which edits of a trial's
methods are legal, and how one is drawn. Pure.

They are drawn like the actions on a student: the kind of edit uniformly among the kinds that have a
legal place, then its place uniformly among those. A weight is drawn like a gene of a teacher,
uniformly from its other values.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from searchd.domain.distillation_methods import MethodName
from searchd.domain.method_set import MethodSet, MutateMethods, WeightedMethod

STAYS = frozenset({MethodName.INHERITING})
"""Methods that are never removed: they act once in a lineage, and record that beside the adapters,
so that one which came back would act once more and undo what the student has learned since."""


class MethodEdit(StrEnum):
    """A kind of edit of a trial's methods.

    Attributes:
        ADD: One more method, with its own weight.
        REMOVE: One method less.
        SWAP: Another method instead of one, with its own weight.
        SCALE: Another weight of a method.
    """

    ADD = "add"
    REMOVE = "remove"
    SWAP = "swap"
    SCALE = "scale"


@dataclass(frozen=True, slots=True, kw_only=True)
class MethodGenes:
    """The methods that the trials of a search may have, and their weights."""

    start: MethodSet
    """The methods of trial 0, all of which are `allowed`."""
    allowed: tuple[WeightedMethod, ...]
    """The methods that trials may have, with their own weights."""
    factors: tuple[float, ...]
    """The weights that a method may have, as multiples of its own."""
    max_methods: int
    """The largest number of methods with a loss."""
    probability: float
    """Probability, from 0 to 1, that a trial that does not edit the student mutates its methods
    instead of its teacher."""

    def draw(self, methods: MethodSet, rng: random.Random) -> MutateMethods | None:
        """Draw an edit of a trial's methods; None if none is legal."""
        legal = self.legal(methods)
        return rng.choice(legal[rng.choice(list(legal))]) if legal else None

    def legal(self, methods: MethodSet) -> dict[MethodEdit, list[MutateMethods]]:
        """Return the legal edits of a trial's methods by their kind; kinds without any are left
        out."""
        found: dict[MethodEdit, list[MutateMethods]] = {}
        for kind, edit in self._edits(methods):
            if self._is_legal(edit, methods):
                found.setdefault(kind, []).append(edit)
        return found

    def _edits(self, methods: MethodSet) -> Iterator[tuple[MethodEdit, MutateMethods]]:
        new = [each for each in self.allowed if each.name not in methods.weights]
        for added in new:
            yield MethodEdit.ADD, MutateMethods(added=added)
        for removed in methods.weights:
            yield MethodEdit.REMOVE, MutateMethods(removed=removed)
            for added in new:
                yield MethodEdit.SWAP, MutateMethods(added=added, removed=removed)
        for scaled in self._scaled(methods):
            yield MethodEdit.SCALE, MutateMethods(added=scaled, removed=scaled.name)

    def _scaled(self, methods: MethodSet) -> Iterator[WeightedMethod]:
        """Yield each method that has a loss with each other weight that it may have."""
        for own in self.allowed:
            now = methods.weights.get(own.name)
            if own.weight is None or now is None:
                continue
            for weight in (factor * own.weight for factor in self.factors):
                if weight != now:
                    yield WeightedMethod(name=own.name, weight=weight)

    def _is_legal(self, edit: MutateMethods, methods: MethodSet) -> bool:
        if edit.removed in STAYS:
            return False
        added = () if edit.added is None else (edit.added,)
        kept = (each for each in methods.methods if each.name != edit.removed)
        num_losses = sum(each.weight is not None for each in (*kept, *added))
        return 1 <= num_losses <= self.max_methods
