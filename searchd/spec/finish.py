"""How detectors of a finished search are improved further: each is fine-tuned, or taught by an
ordered sequence of teachers. Each becomes a distillation."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from searchd.domain.distillation_plan import Baseline, OrderAlgorithm
from searchd.domain.errors import InvalidValueError
from searchd.domain.subnet import Subnet
from searchd.spec.base import Name, ResolutionText, Spec, TrialId
from searchd.spec.distillations import FEATURE_MATCHING, DistillationSpec
from searchd.spec.search import SearchSpec
from searchd.spec.sentences import field_errors, listed
from searchd.spec.training import MethodsSpec, TrainingSpec

_KEPT = "found"
"""The name that a fine-tuning gives to the teacher that the search found."""


class FineTuneSpec(Spec):
    """Fine-tuning: the detector is trained further under the teacher that the search found for it,
    by the methods of its trial (Joint-DetNAS D, docs/papers.md 1.10)."""

    kind: Literal["fine_tune"] = "fine_tune"
    """Selects fine-tuning as the method."""
    epochs: int = Field(default=16, ge=1)
    """Number of further passes over the train split."""
    learning_rate: float = Field(default=0.01, gt=0)
    """Learning rate at the start; it decreases to zero along a cosine."""

    def submission(
        self,
        search: SearchSpec,
        name: str,
        trial: str,
        teacher: Subnet | str | None,
        methods: MethodsSpec,
    ) -> DistillationSpec:
        """Return the distillation to submit for one detector.

        Args:
            search: The search that found the detector.
            name: Name of the new distillation.
            trial: Id of the trial that trained the detector.
            teacher: Teacher of that trial: a subnet of the search's pool, or the name of a
                registered teacher.
            methods: Methods by which that trial distilled.

        Raises:
            InvalidValueError: The detector was trained without a teacher.
        """
        if teacher is None:
            raise InvalidValueError(
                f"trial {trial} was trained without a teacher, and fine_tune keeps the teacher; "
                "use the method distil"
            )
        chosen = {"pool": search.pool, "teachers": {_KEPT: teacher}, "order": (_KEPT,)}
        training = _training(search, epochs=self.epochs, learning_rate=self.learning_rate)
        given = {**chosen, "max_teachers": 1, "distillation": methods}
        return _checked(search, name, trial, {**given, "trial": training})


class DistilSpec(Spec):
    """Progressive distillation by an ordered sequence of teachers; the fields are those of a
    distillation."""

    kind: Literal["distil"] = "distil"
    """Selects progressive distillation as the method."""
    pool: Name | None = None
    """Name of the pool that subnets among the teachers are taken from. Null uses the pool of the
    search."""
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
    trial: TrainingSpec | None = None
    """How each stage is trained. Null uses the training of the search's trials, with 12 epochs."""
    teacher_resolution: ResolutionText | None = None
    """Input resolution of the teachers, for students that see smaller images at the resolutions of
    `trial` (MTPD 4.3). Null: the teachers have the resolution of the student."""
    distillation: MethodsSpec = FEATURE_MATCHING
    """Distillation methods by which every teacher teaches, except those in `teacher_methods`."""
    teacher_methods: dict[Name, MethodsSpec] = {}
    """Distillation methods for single teachers, by the name of the teacher; they replace
    `distillation` for that teacher."""

    def submission(
        self,
        search: SearchSpec,
        name: str,
        trial: str,
        _teacher: Subnet | str | None,
        _methods: MethodsSpec,
    ) -> DistillationSpec:
        """Return the distillation to submit for one detector; see `FineTuneSpec.submission`.

        Raises:
            InvalidValueError: The fields contradict each other.
        """
        values = {field: getattr(self, field) for field in type(self).model_fields}
        del values["kind"]
        values["pool"] = self.pool or search.pool
        values["trial"] = self.trial or _training(search, epochs=12)
        return _checked(search, name, trial, values)


class FinishSpec(Spec):
    """Which detectors of a search to improve further, and by which method."""

    detectors: Literal["knee", "all"] | Annotated[tuple[TrialId, ...], Field(min_length=1)] = "knee"
    """Detectors to improve. knee: the knee of the search's Pareto front of MACs and AP at the
    largest resolution (`searchd.search.pareto.knee`). all: the whole front. Or a list of ids of
    trials of the search."""
    method: Annotated[FineTuneSpec | DistilSpec, Field(discriminator="kind")] = FineTuneSpec()
    """How each detector is improved: by fine-tuning under the teacher that the search found, or by
    a sequence of teachers. `kind` selects the method."""


def _training(search: SearchSpec, **changes: object) -> TrainingSpec:
    """Return the training of the search's trials, without the L1 penalty on gammas: it prepares
    pruning (Joint-DetNAS 3.3), and nothing is pruned any more."""
    return search.trial.model_copy(update={"bn_l1": 0.0, "schedule": "cosine", **changes})


def _checked(
    search: SearchSpec, name: str, trial: str, values: Mapping[str, Any]
) -> DistillationSpec:
    shared = {
        field: getattr(search, field)
        for field in ("dataset", "score", "resources", "priority", "seed")
    }
    try:
        return DistillationSpec.model_validate(
            {"name": name, "student": {"trial": trial}, **shared, **values}
        )
    except ValidationError as error:
        reasons = "; ".join(listed(field_errors(error.errors(), DistillationSpec)))
        raise InvalidValueError(f"trial {trial} cannot be finished this way: {reasons}") from error
