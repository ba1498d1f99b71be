"""A distillation: a student, and an ordered sequence of teachers (MTPD)."""

from math import perm
from typing import Literal, Self

from pydantic import Field, model_validator

from searchd.domain.distillation_methods import MethodName
from searchd.domain.distillation_plan import (
    STUDENT_NAME,
    Baseline,
    OrderAlgorithm,
    sample_teachers,
    sampled_names,
)
from searchd.domain.method_fit import check_average, check_fit
from searchd.domain.subnet import Subnet
from searchd.spec.base import Name, ResolutionText, Spec, TrialId
from searchd.spec.pool import PoolSpec
from searchd.spec.search import BaseSpec, ScoreSpec, traits_of
from searchd.spec.training import HeadSpec, MethodSpec, MethodsSpec, ResourcesSpec, TrainingSpec

FEATURE_MATCHING = MethodsSpec(methods=(MethodSpec(name=MethodName.FEATURE_MATCHING),))
"""What a distillation uses unless told otherwise (MTPD 3.1)."""
_RESERVED = (STUDENT_NAME, *Baseline)
_MAX_STAGES = 1000


class StudentSpec(Spec):
    """The student: a finished trial's, which is taken as it is, or a base detector, which is
    trained first (or loaded)."""

    trial: TrialId | None = None
    base: BaseSpec | None = None
    head: HeadSpec = HeadSpec()
    """Of a base; a trial's student has its own."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.trial is None) == (self.base is None):
            raise ValueError("give exactly one of trial and base")
        if self.trial is not None and self.head != HeadSpec():
            raise ValueError("head belongs to a base; the student of a trial has its own")
        return self


class DistillationSpec(Spec):
    """Progressive distillation: a student is taught by a sequence of teachers, one after another
    (MTPD 3.2 and 4.1, docs/papers.md 2). Each stage is a trial that goes on from the student of the
    one before, with the learning rate from its start and, for another teacher, new adapters."""

    name: Name
    dataset: Name
    student: StudentSpec
    pool: Name | None = None
    """Where subnets are from."""
    teachers: dict[Name, Subnet | Name] = {}
    """Who may teach, by the names that `order` uses: genes of a subnet of the pool, or the name of
    a registered teacher. Or:"""
    num_sampled_teachers: int | None = Field(default=None, ge=1)
    """The pool's "largest" and "smallest" subnets, then random ones, "sampled-1" and so on."""
    order: OrderAlgorithm | tuple[Name, ...] = OrderAlgorithm.BACKWARD_GREEDY
    """How the order is chosen, by adaptation costs and the teachers' APs; or the order itself, for
    which nothing is measured."""
    max_teachers: int = Field(default=2, ge=1)
    """Longest order."""
    normalize: Literal["none", "target_var"] = "none"
    """Unit of the adaptation costs; see `detection.adaptation.cost.Normalisation`."""
    study: bool = False
    """Whether every ordered subset of up to `max_teachers` is trained, and the order is ranked
    among them (MTPD 4.1). Sequences that begin alike share their first stages."""
    baselines: tuple[Baseline, ...] = ()
    """What else is trained, for as many stages as the order has."""
    trial: TrainingSpec = TrainingSpec(epochs=12)
    """Of each stage. 3 epochs are the paper's mini-budget for studies, 12 its standard."""
    teacher_resolution: ResolutionText | None = None
    """The size at which teachers see the images while the student sees them at `trial`'s, for
    low-resolution students (MTPD 4.3); None: the same size."""
    distillation: MethodsSpec = FEATURE_MATCHING
    teacher_methods: dict[Name, MethodsSpec] = {}
    """Instead of `distillation`, for teachers by name."""
    score: ScoreSpec = ScoreSpec()
    resources: ResourcesSpec = ResourcesSpec()
    seed: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _check(self) -> Self:
        self._check_teachers()
        self._check_order()
        self._check_number()
        self._check_methods()
        return self

    def _check_teachers(self) -> None:
        if bool(self.teachers) == (self.num_sampled_teachers is not None):
            raise ValueError("give exactly one of teachers and num_sampled_teachers")
        if len(set(self.teachers.values())) < len(self.teachers):
            raise ValueError(f"two of the teachers {', '.join(self.teachers)} are the same")
        reserved = [name for name in self.teachers if name in _RESERVED]
        if reserved:
            raise ValueError(f"no teacher may be called {reserved[0]}: the name is reserved")
        if self.needs_pool and self.pool is None:
            raise ValueError("teachers that are subnets, or sampled, need a pool")
        if len(set(self.baselines)) < len(self.baselines):
            raise ValueError(f"baselines must all be different, got {', '.join(self.baselines)}")

    def _check_order(self) -> None:
        order, known = self.order, self.teacher_names
        if isinstance(order, OrderAlgorithm):
            return
        unknown = [name for name in order if name not in known]
        if unknown or not order or len(set(order)) < len(order):
            raise ValueError(
                f"order={list(order)} must name at least one teacher, each once, of "
                f"{', '.join(known)}"
            )
        if len(order) > self.max_teachers:
            raise ValueError(
                f"order names {len(order)} teachers, but max_teachers={self.max_teachers}"
            )

    def _check_number(self) -> None:
        if self.most_stages > _MAX_STAGES:
            raise ValueError(
                f"the distillation may need {self.most_stages} stages, more than {_MAX_STAGES}; "
                "use fewer teachers, a smaller max_teachers, or no study"
            )

    def _check_methods(self) -> None:
        unknown = sorted(self.teacher_methods.keys() - set(self.teacher_names))
        if unknown:
            raise ValueError(
                f"teacher_methods name {', '.join(unknown)}, but the teachers are "
                f"{', '.join(self.teacher_names)}"
            )
        for teacher in self.teacher_names:
            names = {method.name for method in self.methods_of(teacher).methods}
            alone = len(self.teacher_names) == 1
            if not names or (names == {MethodName.INHERITING} and not alone):
                raise ValueError(
                    f"teacher {teacher} needs a distillation method; {MethodName.INHERITING} acts "
                    "at the first teacher only"
                )
        if Baseline.AVERAGE_FEATURES in self.baselines:
            check_average(self.distillation.options)

    @property
    def base(self) -> BaseSpec | None:
        """None if the student is a trial's."""
        return self.student.base

    @property
    def head(self) -> HeadSpec:
        """Of the base."""
        return self.student.head

    @property
    def needs_pool(self) -> bool:
        """Whether a teacher is a subnet."""
        return self.num_sampled_teachers is not None or any(
            isinstance(teacher, Subnet) for teacher in self.teachers.values()
        )

    @property
    def teacher_names(self) -> list[str]:
        """What the teachers are called."""
        if self.num_sampled_teachers is None:
            return list(self.teachers)
        return sampled_names(self.num_sampled_teachers)

    @property
    def most_stages(self) -> int:
        """As many stages as there can be; an algorithm may choose a shorter order."""
        num = len(self.teacher_names)
        longest = min(self.max_teachers, num)
        if not isinstance(self.order, OrderAlgorithm):
            longest = len(self.order)
        orders = longest
        if self.study:
            sizes = range(1, min(self.max_teachers, num) + 1)
            orders = sum(perm(num, size) for size in sizes)
        # The first stage of the direct baseline may be one of the orders'.
        return orders + longest * len(self.baselines)

    @property
    def fewest_stages(self) -> int:
        """As many stages as there are at least, if none fails: an algorithm may choose an order of
        one teacher, which `direct` is then itself, and which has no simultaneous baseline."""
        longest = min(self.max_teachers, len(self.teacher_names))
        shortest = 1 if isinstance(self.order, OrderAlgorithm) else len(self.order)
        orders = shortest
        if self.study:
            orders = sum(perm(len(self.teacher_names), size) for size in range(1, longest + 1))
        if shortest == 1:
            return orders + (Baseline.NO_TEACHER in self.baselines)
        shared = self.study and Baseline.DIRECT in self.baselines  # the first stage of `direct`
        return orders + shortest * len(self.baselines) - shared

    def methods_of(self, teacher: str) -> MethodsSpec:
        """What a teacher teaches by."""
        return self.teacher_methods.get(teacher, self.distillation)


def subnets_of(spec: DistillationSpec, pool: PoolSpec) -> dict[str, Subnet]:
    """The teachers that are subnets of the pool, by name.

    Raises:
        InvalidValueError: One is not in the pool, or it has not so many.
    """
    space = pool.space.space
    if spec.num_sampled_teachers is not None:
        return sample_teachers(space, spec.num_sampled_teachers, spec.seed)
    found = {name: each for name, each in spec.teachers.items() if isinstance(each, Subnet)}
    for subnet in found.values():
        space.check(subnet)
    return found


def check_subnets(spec: DistillationSpec, pool: PoolSpec, head: HeadSpec) -> None:
    """See that the teachers are in the pool, and that the methods fit them.

    Args:
        spec: What was submitted.
        pool: Of the subnets.
        head: The student's.

    Raises:
        InvalidValueError: One is not, or one does not; the message names both sides.
    """
    teacher = traits_of(pool.head, neck_channels=pool.space.neck_channels)
    for name in subnets_of(spec, pool):
        check_fit(spec.methods_of(name).options, traits_of(head), teacher)
