"""The measured recovery times after each fault, compared with their bounds."""

import logging
import os
from dataclasses import dataclass

STRICT = "SEARCHD_CHAOS_STRICT"
"""Environment variable that `make chaos` sets: the bounds are checked without slack, since nothing
else runs on the machine. Otherwise other tests may run at the same time."""
SLACK = 3.0
"""Factor by which bounds are relaxed unless `STRICT` is set."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Recovery:
    """A measured recovery; see `recovered`."""

    fault: str
    until: str
    took_s: float
    bound_s: float


RECOVERIES: list[Recovery] = []
"""The recoveries of this test run, printed at its end."""


def recovered(fault: str, until: str, took_s: float, *, bound_s: float) -> None:
    """Record a recovery and check it against its bound.

    Args:
        fault: Description of the fault.
        until: Description of what the test waited for.
        took_s: Seconds from the fault until then.
        bound_s: Largest number of seconds according to docs/operations.md.
    """
    RECOVERIES.append(Recovery(fault, until, took_s, bound_s))
    log.info("%s: %s after %.1f s (at most %.0f s)", fault, until, took_s, bound_s)
    allowed_s = bound_s if STRICT in os.environ else SLACK * bound_s
    assert took_s <= allowed_s, f"{fault}: {until} after {took_s:.1f} s; allowed: {allowed_s:g} s"
