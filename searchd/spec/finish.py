"""What is done to detectors of a search's front once it has ended: each is fine-tuned, or taught by
an ordered sequence of teachers. Either is a distillation of its own."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from searchd.domain.distillation_plan import Baseline, OrderAlgorithm
from searchd.domain.errors import InvalidValueError
from searchd.domain.subnet import Subnet
from searchd.domain.teacher import Teaching
from searchd.spec.base import Name, ResolutionText, Spec, TrialId
from searchd.spec.distillations import FEATURE_MATCHING, DistillationSpec
from searchd.spec.search import SearchSpec
from searchd.spec.training import MethodsSpec, TrainingSpec

_KEPT = "found"
"""What a fine-tuning calls the teacher that the search found."""


class FineTuneSpec(Spec):
    """Plain fine-tuning: trained on under the teacher that the search found for it, by the search's
    methods (Joint-DetNAS D, docs/papers.md 1.10)."""

    kind: Literal["fine_tune"] = "fine_tune"
    epochs: int = Field(default=16, ge=1)
    learning_rate: float = Field(default=0.01, gt=0)
    """At the beginning; it falls along a cosine."""

    def submission(
        self, search: SearchSpec, name: str, trial: str, teacher: Teaching | None
    ) -> DistillationSpec:
        """What is submitted for one detector.

        Args:
            search: That found it.
            name: Of the distillation.
            trial: The detector's id.
            teacher: The trial's.

        Raises:
            InvalidValueError: It was found without a teacher.
        """
        if not isinstance(teacher, Subnet):
            raise InvalidValueError(
                f"trial {trial} was trained without a teacher, and fine_tune keeps the teacher; "
                "use the method distil"
            )
        chosen = {"pool": search.pool, "teachers": {_KEPT: teacher}, "order": (_KEPT,)}
        training = _training(search, epochs=self.epochs, learning_rate=self.learning_rate)
        given = {**chosen, "max_teachers": 1, "distillation": search.distillation}
        return _checked(search, name, trial, {**given, "trial": training})


class DistilSpec(Spec):
    """An ordered sequence of teachers; the fields are those of a distillation."""

    kind: Literal["distil"] = "distil"
    pool: Name | None = None
    """None: the search's."""
    teachers: dict[Name, Subnet | Name] = {}
    num_sampled_teachers: int | None = Field(default=None, ge=1)
    order: OrderAlgorithm | tuple[Name, ...] = OrderAlgorithm.BACKWARD_GREEDY
    max_teachers: int = Field(default=2, ge=1)
    normalize: Literal["none", "target_var"] = "none"
    study: bool = False
    baselines: tuple[Baseline, ...] = ()
    trial: TrainingSpec | None = None
    """Of each stage; None: 12 epochs of what the search's trials are trained by."""
    teacher_resolution: ResolutionText | None = None
    distillation: MethodsSpec = FEATURE_MATCHING
    teacher_methods: dict[Name, MethodsSpec] = {}

    def submission(
        self, search: SearchSpec, name: str, trial: str, _teacher: Teaching | None
    ) -> DistillationSpec:
        """What is submitted for one detector; see `FineTuneSpec.submission`.

        Raises:
            InvalidValueError: The fields do not fit together.
        """
        values = {field: getattr(self, field) for field in type(self).model_fields}
        del values["kind"]
        values["pool"] = self.pool or search.pool
        values["trial"] = self.trial or _training(search, epochs=12)
        return _checked(search, name, trial, values)


class FinishSpec(Spec):
    """Which detectors, and what is done to each."""

    detectors: Literal["knee", "all"] | Annotated[tuple[TrialId, ...], Field(min_length=1)] = "knee"
    """Of the search's trials with the Pareto front of MACs and AP at the largest resolution: its
    knee (`searchd.search.pareto.knee`), all of it; or any of its trials, by id."""
    method: Annotated[FineTuneSpec | DistilSpec, Field(discriminator="kind")] = FineTuneSpec()


def _training(search: SearchSpec, **changes: object) -> TrainingSpec:
    """As the search's trials. Gammas are made small for pruning (Joint-DetNAS 3.3); nothing is
    pruned any more."""
    return search.trial.model_copy(update={"bn_l1": 0.0, "schedule": "cosine", **changes})


def _checked(
    search: SearchSpec, name: str, trial: str, values: Mapping[str, Any]
) -> DistillationSpec:
    shared = {field: getattr(search, field) for field in ("dataset", "score", "resources", "seed")}
    try:
        return DistillationSpec.model_validate(
            {"name": name, "student": {"trial": trial}, **shared, **values}
        )
    except ValidationError as error:
        reasons = "; ".join(each["msg"] for each in error.errors())
        raise InvalidValueError(f"trial {trial} cannot be finished this way: {reasons}") from error
