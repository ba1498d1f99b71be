"""The responses of the API about distillations. APs are COCO box AP in [0, 1] at the largest
resolution of the distillation."""

from datetime import datetime

from api.schemas.base import Schema
from api.schemas.trials import SplitAp
from searchd.domain.distillation_plan import Baseline
from searchd.domain.lifecycle import Desired, SearchStatus, TrialStatus
from searchd.domain.trial import FinalSplit, Scalar
from searchd.search.verdict import Conclusion
from searchd.spec import DistillationSpec, ResolutionText


class Distillation(Schema):
    """A distillation."""

    id: str
    """Id of the distillation, assigned by the service."""
    name: str
    """Name of the distillation, chosen by the user."""
    owner: str | None
    """Name of the token that created the distillation; null without authentication."""
    status: SearchStatus
    """State of the distillation, for example queued, running or succeeded."""
    status_reason: str
    """Why the distillation has this status, in words."""
    dataset_id: str
    """Id of the data set that the student is trained on."""
    pool_id: str | None
    """Id of the pool that subnets among the teachers are from; null if no teacher is a subnet."""
    origin_id: str | None
    """Id of the trial whose student is taught; null if the student is a base detector."""
    spec: DistillationSpec
    """Spec that was submitted for the distillation."""
    created_at: datetime
    """Time when the distillation was submitted, in UTC."""
    started_at: datetime | None
    """Time when the distillation first started, in UTC; null before."""
    finished_at: datetime | None
    """Time when the distillation ended, in UTC; null before."""
    archived_at: datetime | None
    """Time when a user archived the distillation, in UTC; null while it is listed."""


class Candidate(Schema):
    """A candidate teacher."""

    name: str
    """Name of the teacher within the distillation, as the order has it."""
    source: str
    """Origin of the teacher in words: a subnet, or a registered teacher."""
    ap: float | None
    """AP of the teacher; null before it was measured, or if the order was given."""


class ChosenTeacher(Schema):
    """One teacher of the order, and why it was chosen."""

    teacher: str
    """Name of the chosen teacher within the distillation."""
    cost: float | None
    """Adaptation cost to this teacher, from the student or from the teacher before it; null if it
    was not measured."""
    reason: str
    """Why this teacher was chosen, in words."""


class Stage(Schema):
    """One stage: the training of the student by one teacher, after those before it."""

    path: str
    """Names of the teachers up to this stage, for example "small > large"."""
    parent: str | None
    """Path of the stage that this one continues; null if it starts from the given student."""
    teacher: str | None
    """Name of the teacher of this stage; null if it is trained without a teacher."""
    value: Scalar | None
    """Value of the sweep that this stage is trained with; null as submitted."""
    trial_id: str | None
    """Id of the trial that trains the stage; null until the previous stage has succeeded."""
    status: TrialStatus | None
    """State of the trial that trains the stage; null before there is one."""
    ap: float | None
    """AP of the student after this stage; null before it was measured."""


class RankedOrder(Schema):
    """One order of a study, with its rank."""

    order: list[str]
    """Names of the teachers, first teacher first."""
    ap: float
    """AP of the student after the last teacher of the order."""
    rank: int
    """Rank of the order: 1 plus the number of orders with a strictly higher AP."""


class Comparison(Schema):
    """The student after the order, compared with the baselines and with the other orders."""

    base: float | None
    """AP of the student before the first teacher; null before it was measured."""
    order: float | None
    """AP of the student after the order; null before it was measured."""
    baselines: dict[Baseline, float | None]
    """AP of the student after each baseline, each trained for as many stages as the order."""
    rank: int | None
    """Rank of the order among `orders`; null without a study."""
    orders: list[RankedOrder]
    """Orders of the study that were trained to their end, best first; empty without a study."""
    cost_and_gain: float | None
    """Kendall's tau of adaptation cost and gain in AP over the stages of a study, in [-1, 1]: far
    from 0, the costs predict what a teacher brings. Null without a study, and for fewer than two
    stages."""


class SweptDifference(Schema):
    """A student against that of the order as submitted, as a paired difference over the same
    images."""

    split: FinalSplit
    """Split of the images: test if both were measured on it, else validation."""
    ap: float
    """AP of the student minus AP after the order as submitted, in [-1, 1]."""
    low: float | None
    """Lower end of the 95 % bootstrap interval of the difference; null without objects."""
    high: float | None
    """Upper end of the 95 % bootstrap interval of the difference; null without objects."""
    conclusion: Conclusion
    """What the interval shows: better, worse, undecided, or unknown without an interval."""


class SweptStudent(Schema):
    """The student after the order with one value of the sweep, or after a baseline."""

    value: Scalar | None
    """Value of the setting; null for a baseline, or where the spec has null, its default."""
    baseline: Baseline | None
    """Baseline that trained the student, with the value that was submitted; null otherwise."""
    as_submitted: bool
    """Whether this is the order with the value that the spec itself has."""
    trial_id: str | None
    """Id of the trial of the last stage; null until there is one."""
    ap: float | None
    """AP of the student on the validation split, as its trial measured it; null before."""
    validation: SplitAp | None
    """AP on the validation split with its interval; null until all values are trained."""
    test: SplitAp | None
    """AP on the test split with its interval; null before, or without a test split."""
    difference: SweptDifference | None
    """Difference to the order as submitted; null for that order, and before both are measured."""


class Sweep(Schema):
    """The students of a sweep, to be compared."""

    field: str
    """Setting that is swept, as a dotted path in the spec."""
    students: list[SweptStudent]
    """The order with each value, in the order of the spec, then the baselines."""
    best: Scalar | None
    """Value with the highest AP on validation, among several the first; null before one is known,
    and where it is the null of the spec."""


class DistillationDetails(Distillation):
    """A distillation with its plan and its progress."""

    desired: Desired
    """State that the user requested: run, pause, cancel or kill."""
    trials: dict[TrialStatus, int]
    """Number of trials in each status, the base included."""
    resolution: ResolutionText
    """Resolution at which every AP of this response is measured, "WxH" in pixels."""
    teachers: list[Candidate]
    """Candidate teachers, chosen or not."""
    order: list[ChosenTeacher]
    """Chosen teachers, first teacher first; empty until they are chosen."""
    costs: dict[str, dict[str, float]]
    """Adaptation costs among the teachers and "student": costs[A][B] is C(A, B). Empty if the order
    was given."""
    stages: list[Stage]
    """Stages to be trained, parents first. Orders that begin alike share their first stages."""
    comparison: Comparison | None
    """Comparison of the order with its baselines; null until the teachers are chosen."""
    sweep: Sweep | None
    """Comparison of the values of the sweep; null without a sweep, and until the teachers are
    chosen."""
