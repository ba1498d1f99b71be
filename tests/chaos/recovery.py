"""How long the service took to get over each fault, against what is promised."""

import logging
import os
from dataclasses import dataclass

STRICT = "SEARCHD_CHAOS_STRICT"
"""Variable that `make chaos` sets: the bounds hold as they are, on a machine with nothing else to
do. Elsewhere other tests may run at the same time."""
SLACK = 3.0

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Recovery:
    """One measured recovery."""

    fault: str
    until: str
    took_s: float
    bound_s: float


RECOVERIES: list[Recovery] = []
"""Of this test run; printed at its end."""


def recovered(fault: str, until: str, took_s: float, *, bound_s: float) -> None:
    """Note a recovery, and hold it against its bound.

    Args:
        fault: What was done, in words.
        until: What was waited for.
        took_s: Seconds from the one to the other.
        bound_s: Seconds that docs/operations.md promises.
    """
    RECOVERIES.append(Recovery(fault, until, took_s, bound_s))
    log.info("%s: %s after %.1f s (at most %.0f s)", fault, until, took_s, bound_s)
    allowed_s = bound_s if STRICT in os.environ else SLACK * bound_s
    assert took_s <= allowed_s, f"{fault}: {until} after {took_s:.1f} s; allowed: {allowed_s:g} s"
