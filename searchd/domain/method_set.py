"""The distillation methods of one trial of a search that also searches its methods, and the edits
that change them. Standard library only.

Options of methods are not searched: the spec has them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from searchd.domain.distillation_methods import CATALOGUE, MethodName
from searchd.domain.errors import InvalidValueError

_ORDER = {name: position for position, name in enumerate(CATALOGUE)}


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightedMethod:
    """A distillation method and the weight of its loss.

    Raises:
        InvalidValueError: The weight is not above 0, or is given for a method without a loss, or is
            missing for one that has a loss.
    """

    name: MethodName
    weight: float | None
    """Factor of its loss, above 0. None: it has no loss."""

    def __post_init__(self) -> None:
        has_loss = CATALOGUE[self.name].has_loss
        if (self.weight is not None) != has_loss or (self.weight is not None and self.weight <= 0):
            wanted = "a weight above 0" if has_loss else "no weight, since it has no loss"
            raise InvalidValueError(f"{self.name} needs {wanted}, got weight={self.weight}")

    def __str__(self) -> str:
        return self.name if self.weight is None else f"{self.name} {self.weight:g}"


@dataclass(frozen=True, slots=True, kw_only=True)
class MethodSet:
    """The methods by which a trial distils. Sets with the same methods and weights are equal.

    Raises:
        InvalidValueError: A method is named twice, or none has a loss.
    """

    methods: tuple[WeightedMethod, ...]
    """The methods, in the order of the catalogue, however they were given."""

    def __post_init__(self) -> None:
        ordered = sorted(self.methods, key=lambda each: _ORDER[each.name])
        object.__setattr__(self, "methods", tuple(ordered))
        if len(self.weights) < len(self.methods):
            raise InvalidValueError(f"methods must be named once each, got {self}")
        if not self.num_losses:
            raise InvalidValueError(f"one of the methods must have a loss, got ({self})")

    @property
    def weights(self) -> Mapping[MethodName, float | None]:
        """The weight of each method, by its name."""
        return {each.name: each.weight for each in self.methods}

    @property
    def num_losses(self) -> int:
        """Number of the methods that have a loss."""
        return sum(each.weight is not None for each in self.methods)

    def __str__(self) -> str:
        return ", ".join(map(str, self.methods))


@dataclass(frozen=True, slots=True, kw_only=True)
class MutateMethods:
    """Leave the student unedited and train it under the parent's teacher by other methods than its
    parent: with one more, with one less, with another one instead, or with another weight of one,
    which is the method instead of itself.

    Raises:
        InvalidValueError: Nothing is added or removed.
    """

    added: WeightedMethod | None = None
    """The method that the parent does not have, or not with this weight. None: one is removed."""
    removed: MethodName | None = None
    """The method that the parent has. None: one is added."""
    kind: Literal["mutate_methods"] = "mutate_methods"

    def __post_init__(self) -> None:
        if self.added is None and self.removed is None:
            raise InvalidValueError("a mutation of the methods adds or removes one")

    @property
    def scales(self) -> bool:
        """Whether only the weight of a method changes."""
        return self.added is not None and self.added.name == self.removed

    def applied_to(self, methods: MethodSet) -> MethodSet:
        """Return the methods after the edit.

        Raises:
            InvalidValueError: A method that is removed is not there, one that is added is there
                already, or no method with a loss would be left.
        """
        kept = tuple(each for each in methods.methods if each.name != self.removed)
        if self.removed is not None and len(kept) == len(methods.methods):
            raise InvalidValueError(f"{self.removed} is not one of the methods {methods}")
        return MethodSet(methods=(*kept, *(() if self.added is None else (self.added,))))

    def __str__(self) -> str:
        if self.added is None:
            return f"methods: remove {self.removed}"
        if self.removed is None:
            return f"methods: add {self.added}"
        if self.scales:
            return f"methods: {self.removed} with weight {self.added.weight:g}"
        return f"methods: {self.added} instead of {self.removed}"
