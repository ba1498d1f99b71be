"""Collects the results of a trial's sanity checks; see `searchd.messages.reports.SanityChecks`."""

from dataclasses import dataclass, replace
from typing import Any

from searchd.messages.reports import SanityChecks


@dataclass
class Checks:
    """The results so far. They are reported even if the trial fails."""

    found: SanityChecks = SanityChecks()

    def record(self, **values: Any) -> None:
        """Set fields of `SanityChecks`."""
        self.found = replace(self.found, **values)

    def record_score(self, epoch: int, score: float) -> None:
        """Add the score at the end of an epoch, by which the trial may be stopped early."""
        self.record(epoch_scores=(*self.found.epoch_scores, (epoch, score)))
        if epoch == 1:
            self.record(first_epoch_score=score)


def zero_ap_reason(num_detections: int) -> str:
    """Return the reason why an AP of exactly zero is suspicious, as a sentence."""
    detail = (
        "no object was detected"
        if num_detections == 0
        else f"none of {num_detections} detections matches an object"
    )
    return f"AP is exactly zero at every resolution after the last epoch: {detail}"
