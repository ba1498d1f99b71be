"""What the API answers about distillations. APs are COCO box AP in [0, 1] at the largest of the
distillation's resolutions."""

from datetime import datetime

from api.schemas.resources import Schema
from searchd.domain.distillation_plan import Baseline
from searchd.domain.lifecycle import SearchStatus, TrialStatus
from searchd.spec import DistillationSpec, ResolutionText
from searchd.store import Desired


class Distillation(Schema):
    id: str
    name: str
    owner: str | None
    """Name of the token that created it; None if that was done without authentication."""
    status: SearchStatus
    status_reason: str
    dataset_id: str
    pool_id: str | None
    """None if no teacher is a subnet."""
    origin_id: str | None
    """The trial whose student is taught; None: a base of its own."""
    spec: DistillationSpec
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


class Candidate(Schema):
    """One of those that may teach."""

    name: str
    """As the order has it."""
    source: str
    """What it is, in words."""
    ap: float | None
    """None before it was measured, and where the order was given and nothing was."""


class ChosenTeacher(Schema):
    """One teacher of the order, and why it is there."""

    teacher: str
    cost: float | None
    """Adaptation cost of the step to it, from the student or the teacher before; None where nothing
    was measured."""
    reason: str


class Stage(Schema):
    """One stage: what the student has been taught by when it ends."""

    path: str
    """Teachers in words, this stage's last: "small > large"."""
    parent: str | None
    """Path of the stage that it goes on from; None: the student as given."""
    teacher: str | None
    """None: trained without one."""
    trial_id: str | None
    """None while its parent has not succeeded."""
    status: TrialStatus | None
    ap: float | None


class RankedOrder(Schema):
    """An order of a study."""

    order: list[str]
    ap: float
    rank: int
    """1 + the number of orders with a strictly higher AP."""


class Comparison(Schema):
    """How the student is after the order, and after what that is compared with."""

    base: float | None
    """AP before the first teacher."""
    order: float | None
    """AP after the order."""
    baselines: dict[Baseline, float | None]
    """AP after each baseline, all trained as long as the order."""
    rank: int | None
    """The order's among `orders`."""
    orders: list[RankedOrder]
    """Of a study: every order that was trained to its end, best first."""


class DistillationDetails(Distillation):
    """A distillation with its plan and how far that has come."""

    desired: Desired
    """What the user wants of it."""
    trials: dict[TrialStatus, int]
    """How many trials are in each status, the base included."""
    resolution: ResolutionText
    """At which every AP here is measured."""
    teachers: list[Candidate]
    order: list[ChosenTeacher]
    """First teacher first; empty until it is chosen."""
    costs: dict[str, dict[str, float]]
    """costs[A][B]: adaptation cost C(A, B) among the teachers and "student"; empty where the order
    was given."""
    stages: list[Stage]
    """All that is trained, parents first; each sequence's beginning once."""
    comparison: Comparison | None
    """None until the teachers are chosen."""
