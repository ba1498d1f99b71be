"""What the API answers with. Specs, which it is asked with, are in `searchd.spec`.

AP is COCO box AP in [0, 1]; macs are multiply-accumulates of one image; times are UTC.
"""

from datetime import datetime
from typing import Any, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from searchd.domain.detector import Detector as DetectorValue
from searchd.domain.detector import MmdetDetector
from searchd.domain.lifecycle import (
    DatasetStatus,
    FailureCause,
    PoolStatus,
    SearchStatus,
    TeacherStatus,
    TrialStatus,
)
from searchd.domain.subnet import Subnet
from searchd.domain.trial import Proposal, TrialRole
from searchd.messages.reports import FeatureLevel, PoolProgress, Progress, SanityChecks
from searchd.search.confirmation import Verdict
from searchd.spec import (
    BudgetSpec,
    DatasetSpec,
    PoolSpec,
    ResolutionText,
    SearchSpec,
    Spec,
    TargetSpec,
    TeacherSpec,
)
from searchd.store import Desired

PREFIX = "/api/v1"
"""Of every path below."""
T = TypeVar("T")


class Schema(BaseModel):
    """Base of every answer; reads the attributes of rows."""

    model_config = ConfigDict(from_attributes=True)


class FieldProblem(Schema):
    """One thing that is wrong with a request."""

    location: list[str | int]
    """Where: body, query, path or header, and then the way to the field."""
    message: str


class Problem(Schema):
    """RFC 9457 problem details; every error looks like this."""

    type: str
    """Stable: tells programs what kind of error it is."""
    title: str
    status: int
    detail: str
    errors: list[FieldProblem] = []
    """For type urn:searchd:problem:validation."""


class Page(Schema, Generic[T]):
    """Some items of a list."""

    items: list[T]
    next_page_token: str | None
    """Ask for the next page with it; None on the last one."""


class Measurement(Schema):
    """A detector on the validation split at one resolution."""

    resolution: ResolutionText
    ap: float
    ap50: float
    ap75: float
    ap_small: float
    """-1, like the two below, where the split has no object of that size."""
    ap_medium: float
    ap_large: float
    macs: float
    latency_s: float
    images_per_s: float


class Evaluation(Measurement):
    """A trial's student at one resolution."""

    score: float | None
    """H(S, r) of Joint-DetNAS, in the unit of AP."""


class Epoch(Schema):
    """One epoch of training."""

    phase: str
    """Of a pool's progressive shrinking; empty for trials."""
    epoch: int
    losses: dict[str, float]
    learning_rate: float
    duration_s: float


class File(Schema):
    """A stored file."""

    name: str
    sha256: str
    size_bytes: int
    uri: str
    """Where it lies in the artifact store."""
    deleted_at: datetime | None = None
    """Since when it is gone: collected, because nothing needed it any more."""


class Dataset(Schema):
    id: str
    name: str
    owner: str | None
    """Name of the token that created it; None if that was done without authentication."""
    status: DatasetStatus
    status_reason: str
    spec: DatasetSpec
    summary: dict[str, Any] | None
    """What the check counted; once READY."""
    created_at: datetime
    finished_at: datetime | None


class Pool(Schema):
    id: str
    name: str
    owner: str | None
    """Name of the token that created it; None if that was done without authentication."""
    status: PoolStatus
    status_reason: str
    dataset_id: str
    spec: PoolSpec
    progress: PoolProgress | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


class SubnetMeasurement(Measurement):
    """A subnet of a trained pool at one resolution."""

    subnet: Subnet
    params: int


class PoolDetails(Pool):
    """A pool with what its training learned."""

    desired: Desired
    """What the user wants: run, pause, cancel or kill."""
    supernet: File | None
    subnets: list[SubnetMeasurement]
    epochs: list[Epoch]


class Teacher(Schema):
    """A teacher. What was measured of it is there once it is READY."""

    id: str
    name: str
    owner: str | None
    """Name of the token that created it; None if that was done without authentication."""
    status: TeacherStatus
    status_reason: str
    dataset_id: str
    pool_id: str | None
    """If it is a subnet."""
    spec: TeacherSpec
    source: str
    """What it is, in words."""
    detector: DetectorValue | MmdetDetector | None
    """This project's detector, or an mmdet config."""
    kind: str | None
    """The detector's family, or the name of its mmdet config."""
    params: int | None
    measurement: Measurement | None
    """On the validation split of its data set, at the spec's resolution."""
    levels: list[FeatureLevel]
    """Of its neck, finest first."""
    weights: File | None
    created_at: datetime
    finished_at: datetime | None


class Extension(Spec):
    """More budget for a search; what is not given stays as it is."""

    max_trials: int | None = Field(default=None, ge=1)
    """Search trials in all, those of before included."""
    patience: int | None = Field(default=None, ge=1)
    max_worker_hours: float | None = Field(default=None, gt=0)
    """In all, like the two below. Null lifts a limit."""
    max_gpu_hours: float | None = Field(default=None, gt=0)
    max_wall_hours: float | None = Field(default=None, gt=0)
    target: TargetSpec | None = None


class Search(Schema):
    id: str
    name: str
    owner: str | None
    """Name of the token that created it; None if that was done without authentication."""
    status: SearchStatus
    status_reason: str
    dataset_id: str
    pool_id: str
    spec: SearchSpec
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


class SearchDetails(Search):
    """A search with where it stands."""

    desired: Desired
    """What the user wants: run, pause, cancel or kill."""
    budget: BudgetSpec
    """In force: the spec's, or what it was extended to."""
    trials: dict[TrialStatus, int]
    """How many trials are in each status, base and controls included."""
    best_trial_id: str | None
    """The search trial with the best score so far."""
    best_score: float | None


class Trial(Schema):
    id: str
    search_id: str
    name: str
    role: TrialRole
    parent_id: str | None
    change: str
    """The edit of the parent, in words."""
    teacher: str | None
    """The subnet that taught, in short; "nearest of 4" while it is not chosen."""
    chosen_teacher: Subnet | None
    """The candidate that the worker chose, where the proposal has candidates."""
    proposal: Proposal
    status: TrialStatus
    status_reason: str
    cause: FailureCause | None
    attempt: int
    progress: Progress | None
    completion: int | None
    """Position among the search's completions, from 0."""
    encoding: str | None
    """The trained backbone in the papers' text form."""
    params: int | None
    base_macs: float | None
    """Macs at the base resolution."""
    checks: SanityChecks | None
    """What was checked around its distillation."""
    warnings: list[str]
    """What of it a user should look at."""
    score: float | None
    """Best over the resolutions."""
    best: Evaluation | None
    """At the resolution with the best score."""
    pinned: bool
    """Whether a user wants its files kept, whatever comes of it."""
    evaluations: list[Evaluation]
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


class TrialDetails(Trial):
    """A trial with everything that its worker reported."""

    detector: DetectorValue | None
    epochs: list[Epoch]
    artifacts: list[File]


class LineageTrial(Schema):
    """A trial as a node of the tree of descent."""

    id: str
    name: str
    """Inside its search."""
    search_id: str
    search: str
    """Name of the search, or of the distillation that goes on from it."""
    role: TrialRole
    parent_id: str | None
    change: str
    status: TrialStatus
    score: float | None
    """Of one that was confirmed, the mean of both trainings."""
    verdict: Verdict | None
    """Of a would-be best, in a search that confirms those: whether it was accepted."""
    gain: float | None
    """Its score less its parent's; None while one of them has none."""
    within_noise: bool
    """Whether it gains less than two standard deviations of the noise; of a search that measures
    its noise."""


class Lineage(Schema):
    """Trials in the order they were proposed, those of distillations last, so that a parent comes
    before its children."""

    trials: list[LineageTrial]


class Point(Schema):
    """A detector at one resolution, in the plane of cost and accuracy."""

    trial_id: str
    trial: str
    """Name of the trial, inside its search."""
    search_id: str
    search: str
    """Name of the search, or of the distillation that goes on from it."""
    role: TrialRole
    encoding: str
    params: int
    evaluation: Evaluation


XAxis = Literal["macs", "params", "latency_s"]
YAxis = Literal["ap", "ap50", "ap75"]


class Pareto(Schema):
    """Which detectors no other detector beats in both cost and accuracy."""

    x: XAxis
    y: YAxis
    front: list[Point]
    """By ascending cost."""
    dominated: list[Point]
    """All others, in the order in which the trials ended, those of distillations last."""


class Detector(Schema):
    """A trained detector, ready to download."""

    trial_id: str
    search_id: str
    search: str
    """Name of the search or distillation."""
    lineage: list[str]
    """Ids of the trials from the base to this one, through every search and distillation."""
    encoding: str
    detector: DetectorValue
    params: int
    score: float | None
    pinned: bool
    """Whether a user wants its files kept."""
    evaluations: list[Evaluation]
    artifacts: list[File]


class Event(Schema):
    """Something that happened to a data set, pool or search."""

    number: int
    """From 1 without gaps; the id of the server-sent event."""
    subject: str
    """Id of what the event is about: the resource, or one of its trials."""
    status: str
    """The subject's status from then on."""
    message: str
    at: datetime
