"""The responses of the API about what a search gained."""

from typing import Literal

from api.schemas.base import Schema
from api.schemas.trials import SplitAp
from searchd.domain.accuracy import ApKind
from searchd.domain.lifecycle import SearchStatus
from searchd.domain.trial import FinalSplit
from searchd.search.verdict import Conclusion
from searchd.spec import ResolutionText

Compared = Literal["base", "best", "finished", "control", "equal_macs_control", "front"]


class ReportedDetector(Schema):
    """A detector of the report at one resolution."""

    label: Compared
    """What the detector is in the comparison: base, best, another finished detector, a control, or
    a point of the front."""
    trial_id: str
    """Id of the trial that trained the detector."""
    trial: str
    """Name of the trial within its search."""
    resolution: ResolutionText
    """Input resolution of the figures, "WxH" in pixels."""
    is_own_best: bool
    """Whether the detector has its best validation score at this resolution."""
    params: int
    """Number of parameters of the whole detector."""
    macs: float
    """Multiply-accumulates of one image at this resolution."""
    latency_s: float
    """Median time of one forward pass at batch size 1, in seconds."""
    device_latency_s: float | None
    """Median seconds of one batch, measured on the device of the search; null if not measured."""
    validation_ap: float
    """AP in [0, 1] on the validation split, as its trial reported it and the search saw it."""
    measured: SplitAp | None
    """AP on the split of the report; null if it was not measured after the search."""


class ReportedLatency(Schema):
    """MACs and latency of a detector of the search."""

    trial: str
    """Name of the trial within its search."""
    macs: float
    """Multiply-accumulates of one image."""
    latency_s: float
    """Seconds of the detector by the source of the comparison."""
    device_latency_s: float | None
    """Median seconds measured on the device of the search; null if it was not measured there."""


class ReportedLatencies(Schema):
    """MACs against latency of a search's detectors."""

    source: str
    """Where the latencies are from, in words: predicted for a device, or measured in torch."""
    resolution: ResolutionText
    """Input resolution of the figures, "WxH" in pixels; the largest of the trials."""
    tau: float | None
    """Kendall's tau of MACs and latency, in [-1, 1]: 1 if they order the detectors alike; null with
    fewer than two different detectors."""
    prediction_error: float | None
    """Median absolute relative error of the predictions for the detectors that were measured on the
    device; null if none was."""
    detectors: list[ReportedLatency]
    """Base, search trials and finished detectors, in the order in which they ended."""


class ReportedDifference(Schema):
    """The best detector against a reference, as a paired difference over the same images."""

    reference: Compared
    """Reference that the best detector is compared with."""
    reference_trial: str
    """Name of the trial that trained the reference."""
    at: Literal["equal_resolution", "reference_resolution", "own_best"]
    """Resolutions that are compared: both at the best one of the best detector, or of the reference
    if that is another, or each at its own."""
    resolution: str
    """Resolution of the best detector, "WxH" in pixels."""
    reference_resolution: str
    """Resolution of the reference, "WxH" in pixels."""
    ap: float
    """AP of the best minus AP of the reference, in [-1, 1]."""
    low: float | None
    """Lower end of the 95 % bootstrap interval of the difference; null if it was not measured."""
    high: float | None
    """Upper end of the 95 % bootstrap interval of the difference; null if it was not measured."""
    macs_ratio: float
    """Multiply-accumulates of the best over those of the reference."""
    conclusion: Conclusion
    """What the interval shows: better, worse, undecided, or unknown without an interval."""


class Report(Schema):
    """What a search gained, in plain words and in figures."""

    search_id: str
    """Id of the reported search, assigned by the service."""
    search: str
    """Name of the reported search."""
    status: SearchStatus
    """State of the search; before it succeeded, the report is provisional."""
    split: FinalSplit
    """Split of the figures: test if it was measured, else validation."""
    accuracy: ApKind
    """Which AP the figures are: box_ap or mask_ap, by which the search ranks."""
    num_images: int | None
    """Number of images of the split; null if nothing was measured after the search."""
    verdict: str
    """What the search gained against base and controls, in plain words."""
    notes: list[str]
    """What limits the verdict and what to change, one item each."""
    expected_optimism: float
    """Estimate of how much too high the best score is because it was selected, in the unit of AP;
    an upper estimate if the search did not measure its noise."""
    compared_teachers: int
    """Number of trials whose teacher's AP was compared with the student's before the trial."""
    better_teachers: int
    """Number of those trials whose teacher had the higher AP."""
    finished_tau: float | None
    """Kendall's tau in [-1, 1] of the scores of the finished detectors and of the trials that they
    were finished from: 1 if the trials ranked them alike. Null with fewer than three."""
    detectors: list[ReportedDetector]
    """Base, best, other finished detectors and controls, each at its best resolution and at that of
    the best."""
    front: list[ReportedDetector]
    """Measured detectors of the Pareto front of AP on validation against what the search counts as
    cost: multiply-accumulates, parameters or latency."""
    differences: list[ReportedDifference]
    """Paired differences of the best detector and each reference."""
    latencies: ReportedLatencies | None
    """MACs against latency of the detectors of the search; null without a scored trial."""
