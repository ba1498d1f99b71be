"""The response of the API with all trials of a search in columns: item i of every list belongs to
the same trial, or to the same evaluation. Figures have six significant digits."""

from api.schemas.base import Schema
from searchd.domain.lifecycle import FailureCause, TrialStatus
from searchd.domain.trial import TrialRole


class ShownProgress(Schema):
    """How far a running trial is."""

    stage: str
    """Current step of the trial, for example check, train or evaluate."""
    epoch: int
    """Current epoch, from 1; 0 before training."""
    num_epochs: int
    """Number of epochs of the trial."""
    iteration: int
    """Number of iterations done in this epoch."""
    num_iterations: int
    """Number of iterations of an epoch."""
    losses: dict[str, float]
    """Mean of each loss term over the current epoch so far."""


class TrialsInColumns(Schema):
    """The trials in the order they were proposed."""

    name: list[str]
    """Names of the trials within the search; an id is the id of the search, "-" and the name."""
    role: list[TrialRole]
    """Roles of the trials: base, search, finish, control, macs-control, noise or confirm."""
    parent: list[str | None]
    """Names of the trials that each starts from; null for a base."""
    action: list[str]
    """Kinds of the edits, for example prune_layer or mutate_teacher."""
    change: list[str]
    """Edits of the parents in words."""
    teacher: list[str | None]
    """Teachers in short form, registered ones by name; null without a teacher."""
    methods: list[str | None]
    """Distillation methods with their weights in short form; null without a teacher. Empty unless
    the search searches them."""
    teacher_ap: list[float | None]
    """APs of the teachers as measured before the trials; null if not measured."""
    status: list[TrialStatus]
    """States of the trials, for example running, succeeded or failed."""
    reason: list[str | None]
    """Why the trials have their status, in words; null for trials that succeeded."""
    cause: list[FailureCause | None]
    """Kinds of failure, for programs; null unless an attempt failed."""
    completion: list[int | None]
    """Positions among the completed trials, from 0; null before completion."""
    score: list[float | None]
    """Best scores over the resolutions, in the unit of AP; null before the evaluation."""
    params: list[int | None]
    """Numbers of parameters of the whole detectors; null before the edit was made."""
    progress: list[ShownProgress | None]
    """Epoch and losses of the trials that run; null for all others."""
    busy_s: list[float]
    """Seconds that workers have spent on the trials, over all attempts."""


class EvaluationsInColumns(Schema):
    """The evaluations of the listed trials, at every resolution."""

    trial: list[int]
    """Positions in the lists of trials of the trial that each evaluation belongs to, from 0."""
    resolution: list[int]
    """Positions in `resolutions` of the input resolution of each evaluation, from 0."""
    score: list[float | None]
    """Scores H(S, r), in the unit of AP; null if the trial has no score."""
    ap: list[float]
    """COCO box APs in [0, 1]."""
    ap50: list[float]
    """COCO box APs in [0, 1] at the IoU threshold .50."""
    ap75: list[float]
    """COCO box APs in [0, 1] at the IoU threshold .75."""
    mask_ap: list[float | None]
    """COCO mask APs in [0, 1]; null of detectors that find boxes alone. Empty if all do."""
    macs: list[float]
    """Multiply-accumulates of one image at the resolution."""
    latency_s: list[float]
    """Median times of one forward pass at batch size 1, in seconds."""
    cost: list[float | None]
    """Costs that the search counts instead of multiply-accumulates: parameters, or predicted
    seconds of one batch on its device. Empty if it counts multiply-accumulates."""
    device_latency_s: list[float | None]
    """Median seconds of one batch on the device of the search; null if not measured there. Empty
    if none was."""
    class_ap: list[float | None]
    """COCO box APs of the class that `class_name` asked for, in [0, 1]; -1 if the split has no
    object of it; null if it was not measured. Empty if none was."""


class SearchInColumns(Schema):
    """The trials of a search and their evaluations."""

    event: int
    """Number of the last event that this response includes: the value of `since` for the next."""
    resolutions: list[str]
    """Input resolutions of the evaluations, "WxH" in pixels."""
    classes: list[str]
    """Classes whose APs were measured, values of `class_name`; may be empty with `since`."""
    trials: TrialsInColumns
    """The listed trials: all, or those that changed."""
    evaluations: EvaluationsInColumns
    """The evaluations of the listed trials."""
