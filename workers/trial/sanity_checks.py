"""The sanity checks of a trial as they come in; see `searchd.domain.trial.SanityChecks`."""

from dataclasses import dataclass, replace
from typing import Any

from searchd.messages.reports import SanityChecks


@dataclass
class Checks:
    """What has been checked so far; outlives a failure of the trial."""

    found: SanityChecks = SanityChecks()

    def note(self, **values: Any) -> None:
        """Take down fields of `SanityChecks`."""
        self.found = replace(self.found, **values)


def why_zero(num_detections: int) -> str:
    """In words, why an AP of exactly zero is suspicious."""
    what = (
        "not one object was detected"
        if num_detections == 0
        else f"none of {num_detections} detections matches an object"
    )
    return f"AP is exactly zero at every resolution after the last epoch: {what}"
