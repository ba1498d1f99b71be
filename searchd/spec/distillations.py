"""A distillation: a student that an ordered sequence of teachers teaches (MTPD)."""

from math import perm
from typing import Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from searchd.domain.distillation_methods import MethodName
from searchd.domain.distillation_plan import (
    STUDENT_NAME,
    Baseline,
    OrderAlgorithm,
    sampled_names,
)
from searchd.domain.method_fit import check_average, check_grid
from searchd.domain.sinks import SinkKind
from searchd.domain.subnet import Subnet
from searchd.domain.trial import Scalar, Train, TrainSwept
from searchd.spec.base import Name, ResolutionText, Spec, TrialId
from searchd.spec.score import ScoreSpec
from searchd.spec.search import BaseSpec
from searchd.spec.sentences import field_errors, shown
from searchd.spec.sweep import SweepSpec, refusal, value_at, with_value
from searchd.spec.training import (
    HeadSpec,
    MethodSpec,
    MethodsSpec,
    Priority,
    ResourcesSpec,
    TrainingSpec,
    check_precision,
)

FEATURE_MATCHING = MethodsSpec(methods=(MethodSpec(name=MethodName.FEATURE_MATCHING),))
"""The default methods of a distillation (MTPD 3.1)."""
_RESERVED = (STUDENT_NAME, *Baseline)
_MAX_STAGES = 1000


class StudentSpec(Spec):
    """The student of a distillation: the student of a finished trial as it is, or a base detector
    that is trained or loaded first. Give exactly one of `trial` and `base`."""

    trial: TrialId | None = None
    """Id of the finished trial whose trained student is distilled further, without retraining."""
    base: BaseSpec | None = None
    """Base detector that is trained from scratch, or loaded, before the first stage."""
    head: HeadSpec = HeadSpec()
    """Head of the base detector. Not allowed with `trial`, whose student has its own head. With
    `base.mmdet` or `base.export`, fields that are left out follow the loaded detector."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.trial is None) == (self.base is None):
            raise ValueError("give exactly one of trial and base")
        if self.trial is not None and self.head != HeadSpec():
            raise ValueError("head belongs to a base; the student of a trial has its own")
        return self


class DistillationSpec(Spec):
    """Progressive distillation: a sequence of teachers teaches a student, one after another
    (MTPD 3.2 and 4.1, docs/papers.md 2). Each stage is a trial that starts from the student of the
    previous stage, restarts the learning rate schedule and, for a new teacher, has new adapters."""

    name: Name
    """Name of the distillation; no other distillation may have it."""
    dataset: Name
    """Name of the data set that the student is trained and evaluated on."""
    student: StudentSpec
    """Detector that the teachers improve: the student of a trial, or a base detector."""
    pool: Name | None = None
    """Name of the pool that subnets among the teachers are taken from. Null if no teacher is a
    subnet."""
    teachers: dict[Name, Subnet | Name] = {}
    """Candidate teachers, by the names that `order` uses. Each is the genes of a subnet of the
    pool, or the name of a registered teacher. Give either `teachers` or `num_sampled_teachers`."""
    num_sampled_teachers: int | None = Field(default=None, ge=1)
    """Number of subnets of the pool to use as candidate teachers: first the "largest", then the
    "smallest", then random ones called "sampled-1", "sampled-2" and so on."""
    order: OrderAlgorithm | tuple[Name, ...] = OrderAlgorithm.BACKWARD_GREEDY
    """Algorithm that chooses teachers and their order, by adaptation costs and the APs of the
    teachers; or the list of teacher names itself, for which nothing is measured."""
    max_teachers: int = Field(default=2, ge=1)
    """Largest number of teachers in the order, one stage each."""
    normalize: Literal["none", "target_var"] = "none"
    """Normalisation of the adaptation costs. none: mean squared error. target_var: divided by the
    variance of the target features (`detection.adaptation.cost.Normalisation`)."""
    study: bool = False
    """Whether to train every ordered subset of up to `max_teachers` teachers as well, and rank the
    chosen order among them (MTPD 4.1). Orders that begin alike share their first stages."""
    baselines: tuple[Baseline, ...] = ()
    """Baselines to train for as many stages as the order has: direct (the last teacher alone),
    no_teacher, mean_of_losses, average_features (all teachers at once)."""
    trial: TrainingSpec = TrainingSpec(epochs=12)
    """How each stage is trained. The paper uses 12 epochs, and 3 for studies on a small budget."""
    teacher_resolution: ResolutionText | None = None
    """Input resolution of the teachers, for students that see smaller images at the resolutions of
    `trial` (MTPD 4.3). Null: the teachers have the resolution of the student."""
    distillation: MethodsSpec = FEATURE_MATCHING
    """Distillation methods by which every teacher teaches, except those in `teacher_methods`."""
    teacher_methods: dict[Name, MethodsSpec] = {}
    """Distillation methods for single teachers, by the name of the teacher; they replace
    `distillation` for that teacher."""
    sweep: SweepSpec | None = None
    """Other values of one setting, such as the weight of a method, with each of which the order is
    trained as well, for comparison. Null: it is trained once, as submitted."""
    score: ScoreSpec = ScoreSpec()
    """Exponents, base resolution and cost of the score that every student gets. A student of a
    search needs the cost and the device of that search, or `cost: macs`."""
    resources: ResourcesSpec = ResourcesSpec()
    """CPUs and GPUs that each stage reserves, and how many stages run at once."""
    priority: Priority = 0
    """Among the queued searches and distillations of one owner, those with a higher priority start
    first; of equals, the oldest does. Owners take turns whatever their priorities. What runs
    already is not interrupted. From -1000 to 1000."""
    sinks: tuple[SinkKind, ...] | None = None
    """Sinks that record the stages too: tensorboard, mlflow, wandb. Null: those that the operator
    has set for all runs. Where they write is a setting of the service, not of a spec."""
    seed: int = Field(default=0, ge=0)
    """Seed of every random draw: sampled teachers, initial weights, data order, augmentation."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        self._check_precision()
        self._check_teachers()
        self._check_order()
        self._check_methods()
        self._check_sweep()
        self._check_number()
        return self

    def _check_precision(self) -> None:
        found = {"trial": self.trial}
        if self.base is not None:
            found["student.base.training"] = self.base.training
        gpus, gpus_field = self.resources.gpus_per_trial, "resources.gpus_per_trial"
        for field, training in found.items():
            check_precision(training, gpus, field=field, gpus_field=gpus_field)

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
        most = self.most_stages + len(self.swept) * self.longest_order
        if most > _MAX_STAGES:
            fewer = ", fewer values of the sweep" if self.sweep else ""
            raise ValueError(
                f"the distillation may need {most} stages, more than {_MAX_STAGES}; "
                f"use fewer teachers{fewer}, a smaller max_teachers, or no study"
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
            check_grid(names, self.trial.resolutions, self.teacher_resolution)
        if Baseline.AVERAGE_FEATURES in self.baselines:
            check_average(self.distillation.options)

    def _check_sweep(self) -> None:
        if self.sweep is None:
            return
        if self.study:
            raise ValueError(
                "a study compares orders, a sweep the values of one setting; give one of study and "
                "sweep"
            )
        field = self.sweep.field
        try:
            self._check_sweep_acts(field)
            value_at(self._document, field)
        except ValueError as error:
            raise refusal(str(error), field, "field") from error
        values: list[Scalar | None] = []
        for index, value in enumerate(self.sweep.values):
            found = self._checked_value(index, value)
            if found in values:
                raise refusal(f"{shown(found)} is given twice", value, "values", index)
            values.append(found)
        object.__setattr__(self, "sweep", self.sweep.model_copy(update={"values": tuple(values)}))

    def _check_sweep_acts(self, field: str) -> None:
        """Check that the order is trained by the swept setting, as far as the order is known."""
        group, teacher = field.split(".")[:2]
        is_given = not isinstance(self.order, OrderAlgorithm)
        names = self.order if is_given else self.teacher_names
        if group == "distillation" and self.teacher_methods.keys() >= set(names):
            raise ValueError(
                f"{field} trains no stage, since teacher_methods replace distillation for all of "
                f"{', '.join(names)}; sweep teacher_methods.NAME.methods"
            )
        if group == "teacher_methods" and (not is_given or teacher not in names):
            raise ValueError(
                f"{field} trains no stage unless {teacher} is in the order; name the teachers in "
                "`order`"
            )

    def _checked_value(self, index: int, value: Scalar) -> Scalar | None:
        """Return a value of the sweep as the setting has it, if it can be trained with."""
        assert self.sweep is not None  # it has this value
        try:
            return value_at(self.with_value(value)._document, self.sweep.field)
        except ValidationError as error:
            problems = field_errors(error.errors(), type(self))
            message = "; ".join(map(str, problems))
            raise refusal(message, value, "values", index) from error

    @property
    def _document(self) -> dict[str, Any]:
        return self.model_dump(mode="json", exclude={"sweep"})

    def with_value(self, value: Scalar) -> Self:
        """The distillation with another value of the swept setting, and without the sweep.

        Raises:
            ValidationError: The setting cannot have this value.
        """
        assert self.sweep is not None  # otherwise no setting is swept
        return type(self).model_validate(with_value(self._document, self.sweep.field, value))

    @property
    def compared_values(self) -> tuple[tuple[Scalar | None, Train | TrainSwept], ...]:
        """The values of the sweep in the order of the spec, each with the change that trains it.
        The order as submitted trains the value that the spec itself has; if the sweep does not
        repeat that value, it comes first. None: the spec has null. Empty without a sweep."""
        if self.sweep is None:
            return ()
        field, values = self.sweep.field, self.sweep.values
        own = value_at(self._document, field)
        found = tuple(
            (value, Train() if value == own else TrainSwept(field=field, value=value))
            for value in values
        )
        return found if own in values else ((own, Train()), *found)

    @property
    def swept(self) -> tuple[TrainSwept, ...]:
        """With what the order is trained besides the order as submitted."""
        return tuple(change for _, change in self.compared_values if isinstance(change, TrainSwept))

    @property
    def variants(self) -> tuple[Self, ...]:
        """The distillation as submitted, and with each other value of its sweep."""
        return (self, *(self.with_value(change.value) for change in self.swept))

    @property
    def base(self) -> BaseSpec | None:
        """The base detector, or None if the student comes from a trial."""
        return self.student.base

    @property
    def head(self) -> HeadSpec:
        """The head of the base detector."""
        return self.student.head

    @property
    def registered(self) -> tuple[str, ...]:
        """The names of the registered teachers."""
        return tuple(each for each in self.teachers.values() if not isinstance(each, Subnet))

    @property
    def needs_pool(self) -> bool:
        """Whether at least one teacher is a subnet of a pool."""
        return self.num_sampled_teachers is not None or any(
            isinstance(teacher, Subnet) for teacher in self.teachers.values()
        )

    @property
    def teacher_names(self) -> list[str]:
        """The names of the candidate teachers."""
        if self.num_sampled_teachers is None:
            return list(self.teachers)
        return sampled_names(self.num_sampled_teachers)

    @property
    def longest_order(self) -> int:
        """The largest possible number of teachers in the order."""
        if not isinstance(self.order, OrderAlgorithm):
            return len(self.order)
        return min(self.max_teachers, len(self.teacher_names))

    @property
    def shortest_order(self) -> int:
        """The smallest possible number of teachers in the order."""
        return 1 if isinstance(self.order, OrderAlgorithm) else len(self.order)

    @property
    def most_stages(self) -> int:
        """The largest possible number of stages, without those of the sweep; an algorithm may
        choose a shorter order."""
        orders = self._studied if self.study else self.longest_order
        # The first stage of the direct baseline may also be the first stage of an order.
        return orders + self.longest_order * len(self.baselines)

    @property
    def fewest_stages(self) -> int:
        """The smallest possible number of stages if none fails, without those of the sweep. An
        algorithm may choose an order of one teacher: it equals the baseline `direct`, and has no
        simultaneous baselines."""
        shortest = self.shortest_order
        orders = self._studied if self.study else shortest
        if shortest == 1:
            return orders + (Baseline.NO_TEACHER in self.baselines)
        shared = self.study and Baseline.DIRECT in self.baselines  # the first stage of `direct`
        return orders + shortest * len(self.baselines) - shared

    @property
    def _studied(self) -> int:
        """The number of stages of all orders of a study."""
        num = len(self.teacher_names)
        return sum(perm(num, size) for size in range(1, min(self.max_teachers, num) + 1))

    def methods_of(self, teacher: str) -> MethodsSpec:
        """The methods by which a teacher teaches."""
        return self.teacher_methods.get(teacher, self.distillation)

    def every_methods_of(self, teacher: str) -> tuple[MethodsSpec, ...]:
        """The methods by which a teacher teaches, and those by which it teaches together with the
        others, if a baseline does that."""
        together = any(baseline.definition is not None for baseline in self.baselines)
        return (self.methods_of(teacher), *((self.distillation,) if together else ()))
