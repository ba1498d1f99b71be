"""The responses of the API about trials and the detectors that they trained."""

from datetime import datetime
from typing import Literal

from api.schemas import notebook
from api.schemas.base import Epoch, File, Measurement, Schema
from api.schemas.breakdowns import Breakdown
from searchd.domain.accuracy import ApKind
from searchd.domain.detector import Detector as DetectorValue
from searchd.domain.lifecycle import FailureCause, TrialStatus
from searchd.domain.subnet import Subnet
from searchd.domain.trial import FinalSplit, Proposal, TrialRole
from searchd.messages.reports import Progress, SanityChecks
from searchd.search.confirmation import Verdict


class Evaluation(Measurement):
    """A measurement of the student of a trial, with its score."""

    score: float | None
    """Score H(S, r) of Joint-DetNAS, in the unit of AP; null if the trial has no score."""
    cost: float | None = None
    """Cost that the run counts instead of multiply-accumulates: parameters, or predicted seconds of
    one batch on its device; null if it counts multiply-accumulates."""
    device_latency_s: float | None = None
    """Median seconds of one batch on the device of the run; null if not measured there."""
    device_p95_s: float | None = None
    """Seconds that 95 % of the batches on the device needed at most; null if not measured there."""


class Trial(Schema):
    """A trial: one student, trained under one teacher and scored."""

    id: str
    """Id of the trial: the id of its run, followed by its name."""
    search_id: str
    """Id of the run of the trial: a search or a distillation."""
    name: str
    """Name of the trial within its run, for example "base" or "12"."""
    role: TrialRole
    """Role of the trial: base, search, finish, control, macs-control, noise or confirm."""
    parent_id: str | None
    """Id of the trial whose student this one starts from; null for a base."""
    change: str
    """Edit of the parent that made this student, in words."""
    teacher: str | None
    """Teacher in short form; "nearest of 4" until one is chosen; null without a teacher."""
    chosen_teacher: Subnet | None
    """Candidate that the worker chose as the teacher; null if the proposal has no candidates."""
    methods: str | None
    """Distillation methods with their weights in short form, in a search that searches them, for
    example "classification 3, cwd 2.5"; null in others, and without a teacher."""
    proposal: Proposal
    """Proposal of the search strategy for this trial."""
    status: TrialStatus
    """State of the trial, for example running, succeeded or failed."""
    status_reason: str
    """Why the trial has this status, in words."""
    cause: FailureCause | None
    """Kind of failure, for programs; null unless an attempt failed."""
    attempt: int
    """Number of the latest attempt to run the trial."""
    progress: Progress | None
    """Epoch and losses of the running training; null before it starts."""
    completion: int | None
    """Position among the completed trials of the run, from 0; null before completion."""
    encoding: str | None
    """Backbone of the student in the papers' text form; null before the edit was made."""
    params: int | None
    """Number of parameters of the whole detector; null before the edit was made."""
    base_macs: float | None
    """Multiply-accumulates of one image at the base resolution of the score."""
    base_cost: float | None
    """Cost at the base resolution that the run counts instead; null if it counts
    multiply-accumulates."""
    checks: SanityChecks | None
    """Results of the sanity checks of the distillation."""
    warnings: list[str]
    """Warnings about the trial that a user should look at."""
    score: float | None
    """Best score over the resolutions, in the unit of AP; null before the evaluation."""
    best: Evaluation | None
    """Evaluation at the resolution with the best score; null before the evaluation."""
    pinned: bool
    """Whether a user pinned the trial, so that its files are kept."""
    evaluations: list[Evaluation]
    """Evaluations of the student, one for each resolution."""
    created_at: datetime
    """Time when the trial was proposed, in UTC."""
    started_at: datetime | None
    """Time when the trial first started, in UTC; null before."""
    finished_at: datetime | None
    """Time when the trial ended, in UTC; null before."""


class TrialDetails(Trial):
    """A trial with everything that its worker reported."""

    detector: DetectorValue | None
    """Detector of the student without its weights; null before the edit was made."""
    epochs: list[Epoch]
    """Metrics of every training epoch."""
    artifacts: list[File]
    """Stored files of the trial, for example student and adapters."""


class LineageTrial(Schema):
    """A trial as a node of the lineage tree."""

    id: str
    """Id of the trial: the id of its run, followed by its name."""
    name: str
    """Name of the trial within its run, for example "base" or "12"."""
    search_id: str
    """Id of the run of the trial: a search or a distillation."""
    search: str
    """Name of the search, or of the distillation that continues from it."""
    role: TrialRole
    """Role of the trial: base, search, finish, control, macs-control, noise or confirm."""
    parent_id: str | None
    """Id of the trial whose student this one starts from; null for a base."""
    change: str
    """Edit of the parent that made this student, in words."""
    status: TrialStatus
    """State of the trial, for example running, succeeded or failed."""
    score: float | None
    """Score in the unit of AP; the mean of both trainings if the trial was confirmed."""
    verdict: Verdict | None
    """Whether a trial with the best score so far was accepted; null if none was to be confirmed."""
    gain: float | None
    """Score minus the score of the parent; null while one of them has no score."""
    within_noise: bool
    """Whether the gain is below two standard deviations of the noise; false if the search does not
    measure its noise."""
    num_children: int = 0
    """Number of trials that start from the student of this one."""


class Lineage(Schema):
    """The trials in the order they were proposed, those of distillations last. Every parent comes
    before its children."""

    trials: list[LineageTrial]
    """Trials of the lineage tree, parents before children."""
    next_page_token: str | None = None
    """Value of the parameter `page_token` that returns the next page; null on the last page."""


class SplitAp(Schema):
    """AP of a detector on one split, measured after the search."""

    split: FinalSplit
    """Split of the figures: test, or validation, by which the search selects."""
    num_images: int
    """Number of images of the split."""
    accuracy: ApKind
    """Which AP it is: box_ap or mask_ap, by which the run ranks."""
    ap: float
    """COCO AP in [0, 1] on the split."""
    low: float | None
    """Lower end of the 95 % bootstrap interval over images; null if the split has no objects."""
    high: float | None
    """Upper end of the 95 % bootstrap interval over images; null if the split has no objects."""


class Point(Schema):
    """A detector at one resolution, as a point of cost and accuracy."""

    trial_id: str
    """Id of the trial that trained the detector."""
    trial: str
    """Name of the trial within its run, for example "base" or "12"."""
    search_id: str
    """Id of the run of the trial: a search or a distillation."""
    search: str
    """Name of the search, or of the distillation that continues from it."""
    role: TrialRole
    """Role of the trial: base, search, finish, control, macs-control, noise or confirm."""
    encoding: str
    """Backbone of the detector in the papers' text form."""
    params: int
    """Number of parameters of the whole detector."""
    evaluation: Evaluation
    """Evaluation of the detector on the validation split, at the resolution of this point."""
    test: SplitAp | None
    """AP on the test split, measured after the search; null if this point was not measured."""


XAxis = Literal["macs", "params", "latency_s", "cost"]
YAxis = Literal["ap", "ap50", "ap75", "mask_ap", "mask_ap50"]


class Pareto(Schema):
    """The Pareto front: the detectors that no other detector beats in both cost and accuracy."""

    x: XAxis
    """Cost of the front: macs, params, latency_s, or cost, which is what the search counts."""
    y: YAxis
    """Accuracy of the front: ap, ap50 or ap75 of boxes, mask_ap or mask_ap50."""
    split: Literal["validation"] = "validation"
    """Split that the accuracy of the front was measured on, by which the search selects."""
    front: list[Point]
    """Points of the Pareto front, by ascending cost."""
    dominated: list[Point]
    """Other points, in the order in which the trials ended, those of distillations last: all of
    them, or as many as requested, spread evenly over the trials."""

    def _repr_html_(self) -> str:
        """The front as a plot, in a notebook."""
        points = [
            (getattr(each.evaluation, self.x, each.params), getattr(each.evaluation, self.y), each)
            for each in self.front
        ]
        return notebook.scatter(
            [
                (x, 100 * y, f"{each.trial_id} at {each.evaluation.resolution}")
                for x, y, each in points
            ],
            x_label=f"{self.x} of one image",
            y_label=f"{self.y} in percent ({self.split})",
        )


class Detector(Schema):
    """A trained detector, ready to download."""

    trial_id: str
    """Id of the trial that trained the detector."""
    search_id: str
    """Id of the run of the trial: a search or a distillation."""
    search: str
    """Name of the search or distillation that trained the detector."""
    lineage: list[str]
    """Ids of the trials from the base to this one, through every search and distillation."""
    licence: str | None = None
    """Licence of the weights that the base started from, as its spec names it; null if unknown."""
    encoding: str
    """Backbone of the detector in the papers' text form."""
    detector: DetectorValue
    """Detector without its weights: architecture, head and number of classes."""
    params: int
    """Number of parameters of the whole detector."""
    score: float | None
    """Best score over the resolutions, in the unit of AP; null if it was not scored."""
    pinned: bool
    """Whether a user pinned the trial, so that its files are kept."""
    evaluations: list[Evaluation]
    """Evaluations of the detector, one for each resolution."""
    breakdowns: list[Breakdown] = []
    """AP by class and by kind of error, for each resolution; empty for detectors of earlier
    versions."""
    artifacts: list[File]
    """Stored files of the detector, for example student and adapters."""
