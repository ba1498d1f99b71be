"""The distillation methods of a search: the same for all trials, or searched with the students and
the teachers."""

from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from searchd.domain.distillation_methods import (
    CATALOGUE,
    JOINT_DETNAS,
    MethodName,
    default_weight,
)
from searchd.domain.errors import InvalidFieldError
from searchd.domain.method_fit import Traits, misfit
from searchd.domain.method_set import MethodSet, WeightedMethod
from searchd.search.method_genes import MethodGenes
from searchd.search.strategies.pair_steps import PairSettings
from searchd.spec.base import Spec
from searchd.spec.strategies import StrategySpec
from searchd.spec.training import MethodSpec, MethodsSpec

LEFT_OUT = frozenset(
    {
        MethodName.HEAD_TRANSFER,  # lost AP in trainings as short as a trial (docs/gains.md)
        MethodName.MGD,  # lost AP with its published weight (docs/gains.md)
        MethodName.DICOD_CLASSIFICATION,  # needs a crop classifier
        MethodName.DICOD_LOCALISATION,
    }
)
"""Methods that trials have only if the spec names them."""
_PREFERRED = (*JOINT_DETNAS, MethodName.FEATURE_MATCHING)
"""The methods among which trial 0 has the first that fit, where the spec names none."""


class MethodSearchSpec(Spec):
    """A search of the distillation methods: a trial that leaves its student unedited may add,
    remove or exchange one method of its parent, or change the weight of one."""

    methods: tuple[MethodSpec, ...] | None = None
    """Methods that trials may have besides those of trial 0, each at most once, with their own
    weights and options. Null: every method that fits student and teachers, except head_transfer and
    mgd, which lost AP where they were measured, and DICOD's, which need a crop classifier."""
    factors: tuple[Annotated[float, Field(gt=0)], ...] = (0.25, 0.5, 1.0, 2.0, 4.0)
    """Weights that a method may have, as multiples of its own; 1 must be among them. [1] leaves
    weights as they are."""
    max_methods: int = Field(default=4, ge=1)
    """Largest number of methods with a loss in a trial; each makes a training step longer."""
    probability: float = Field(default=0.5, gt=0, le=1)
    """Probability, above 0 and at most 1, that a trial that does not edit the student changes its
    methods instead of its teacher. Ignored where all trials have the same teacher: they change
    their methods."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        _check_named_once("search.methods", self.methods or ())
        if 1 not in self.factors or len(set(self.factors)) < len(self.factors):
            given = ", ".join(f"{factor:g}" for factor in self.factors)
            raise ValueError(f"factors must be different, and 1 among them, got {given}")
        return self


class SearchMethodsSpec(MethodsSpec):
    """The distillation methods of a search. All trials have `methods`, by default the three of
    Joint-DetNAS, each with its default weight; with `search`, trial 0 has them and later trials
    change them. `distillation: search` is short for `distillation: {search: {}}`."""

    search: MethodSearchSpec | None = None
    """Whether the methods are searched, with the students and the teachers. With it, `methods` may
    be empty or left out: trial 0 then has those of Joint-DetNAS that fit, else feature_matching.
    Null: all trials have `methods`."""

    @model_validator(mode="before")
    @classmethod
    def _leave_the_start_open(cls, data: object) -> object:
        """Without `methods`, those of trial 0 follow from what fits the teachers."""
        if isinstance(data, dict) and data.get("search") is not None:
            return {"methods": (), **data}
        return data

    @model_validator(mode="after")
    def _check_search(self) -> Self:
        if self.search is None:
            return self
        _check_start(self.methods, self.search.max_methods)
        if self.search.methods is None:
            return self
        further = [each for each in self.search.methods if each not in self.methods]
        _check_named_once("methods and search.methods", (*self.methods, *further))
        search = self.search.model_copy(update={"methods": tuple(further)})
        object.__setattr__(self, "search", search)
        return self

    @property
    def every_method(self) -> tuple[MethodSpec, ...]:
        """The methods that a trial may have, as far as they are chosen."""
        searched = None if self.search is None else self.search.methods
        return (*self.methods, *(searched or ()))

    @property
    def options(self) -> dict[MethodName, Any]:
        """The options of each method that a trial may have, by the method's name."""
        return {method.name: method.parsed_options for method in self.every_method}

    def of_trial(self, methods: MethodSet | None) -> MethodsSpec:
        """Return the methods of a trial with their options.

        Args:
            methods: The methods that its proposal has. None: those of all trials.
        """
        if methods is None:
            return MethodsSpec(methods=self.methods, teacher_ap_floor=self.teacher_ap_floor)
        known = {method.name: method for method in self.every_method}
        found = (
            known[each.name].model_copy(update={"weight": each.weight}) for each in methods.methods
        )
        return MethodsSpec(methods=tuple(found), teacher_ap_floor=self.teacher_ap_floor)

    def genes(self, *, two_stage: bool) -> MethodGenes | None:
        """Return the genes of trials, once all methods are chosen; None if none are searched.

        Args:
            two_stage: Whether students are two-stage detectors, which decides default weights.
        """
        if self.search is None:
            return None
        weighted = {each.name: _weighted(each, two_stage) for each in self.every_method}
        return MethodGenes(
            start=MethodSet(methods=tuple(weighted[each.name] for each in self.methods)),
            allowed=tuple(weighted.values()),
            factors=self.search.factors,
            max_methods=self.search.max_methods,
            probability=self.search.probability,
        )


def _read(value: object) -> object:
    if isinstance(value, MethodsSpec) and not isinstance(value, SearchMethodsSpec):
        return {"methods": value.methods, "teacher_ap_floor": value.teacher_ap_floor}
    if isinstance(value, str) and value != "search":
        raise ValueError(f"give search, or an object with methods, got {value!r}")
    return {"search": {}} if value == "search" else value


SearchMethods = Annotated[
    SearchMethodsSpec,
    BeforeValidator(_read, json_schema_input_type=Literal["search"] | SearchMethodsSpec),
]
"""The distillation methods of a search; "search" is short for {"search": {}}."""


def check_method_search(
    distillation: SearchMethodsSpec, strategy: StrategySpec, num_lines: int
) -> None:
    """Check that a strategy can search methods.

    Args:
        distillation: The methods of the search.
        strategy: The strategy of the search.
        num_lines: Number of teachers among which a lineage may change and which have adapters of
            their own; all subnets of a pool count as one.

    Raises:
        ValueError: It cannot, or a method would have no effect.
    """
    if distillation.search is None:
        return
    if not isinstance(strategy, PairSettings):
        raise ValueError(
            f"distillation.search: a {strategy.kind} does not choose among trials by their scores, "
            "so that no methods are searched; leave it out, or use joint_detnas or random"
        )
    searched = [each.name for each in distillation.search.methods or ()]
    if num_lines > 1 and MethodName.INHERITING in searched:
        raise ValueError(
            "distillation.search.methods: inheriting acts only under the first teacher of a "
            "lineage, and this search has several; name it in distillation.methods, or leave it out"
        )


def chosen(
    distillation: SearchMethodsSpec, student: Traits, teachers: Sequence[Traits], num_lines: int
) -> SearchMethodsSpec:
    """Return the methods of a search with those chosen that its spec leaves open.

    Args:
        distillation: The methods as submitted.
        student: Traits of the student.
        teachers: Traits of every teacher.
        num_lines: See `check_method_search`.

    Raises:
        InvalidFieldError: No method is left for trial 0, or nothing is left to search.
    """
    search, known = distillation.search, distillation.options
    if search is None:
        return distillation
    further = search.methods
    if further is None:
        names = [each for each in _fitting(student, teachers, num_lines) if each not in known]
        further = tuple(MethodSpec(name=name) for name in names)
    start = distillation.methods or _start(further, search.max_methods)
    left = tuple(each for each in further if each not in start)
    search = search.model_copy(update={"methods": left})
    found = distillation.model_copy(update={"methods": start, "search": search})
    _check_choice(found, student)
    return found


def _fitting(student: Traits, teachers: Sequence[Traits], num_lines: int) -> list[MethodName]:
    """Return the methods that fit the student and every teacher and that trials may have unless the
    spec says otherwise."""
    return [
        name
        for name in MethodName
        if name not in LEFT_OUT
        and (num_lines == 1 or name is not MethodName.INHERITING)
        and not any(misfit(name, student, teacher) for teacher in teachers)
    ]


def _start(allowed: Sequence[MethodSpec], max_methods: int) -> tuple[MethodSpec, ...]:
    """Return the methods of trial 0 of a search that names none."""
    by_name = {method.name: method for method in allowed}
    joint = [by_name[name] for name in JOINT_DETNAS if name in by_name]
    if joint:
        return tuple(joint[:max_methods])
    order = sorted(by_name, key=lambda name: name not in _PREFERRED)
    return tuple(by_name[name] for name in order if CATALOGUE[name].has_loss)[:1]


def _check_start(methods: Sequence[MethodSpec], most: int) -> None:
    """Check the methods of trial 0 of a search that names them."""
    num = sum(CATALOGUE[method.name].has_loss for method in methods)
    if methods and not num:
        raise ValueError("methods: none of them has a loss, so that trial 0 would learn nothing")
    if num > most:
        raise ValueError(f"methods: {num} have a loss, more than search.max_methods={most}")


def _check_choice(found: SearchMethodsSpec, student: Traits) -> None:
    if not found.methods:
        reason = "no method with a loss fits, or is named in search.methods, for trial 0; name one"
        raise InvalidFieldError(("distillation.methods", reason))
    genes = found.genes(two_stage=student.family.two_stage)
    if genes is not None and not genes.legal(genes.start):
        reason = "there is nothing to search: name further methods, or more than one factor"
        raise InvalidFieldError(("distillation.search", reason))


def _check_named_once(where: str, methods: Iterable[MethodSpec]) -> None:
    names = [method.name for method in methods]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"{where} must name each method once, got {', '.join(twice)} twice")


def _weighted(method: MethodSpec, two_stage: bool) -> WeightedMethod:
    if not CATALOGUE[method.name].has_loss:
        return WeightedMethod(name=method.name, weight=None)
    weight = method.weight or default_weight(method.name, two_stage=two_stage)
    return WeightedMethod(name=method.name, weight=weight)
