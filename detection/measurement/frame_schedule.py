"""Which frames of a stream a detector takes, and which of its outputs is the newest at each frame
(docs/papers.md 9). Pure functions of times.

Times are in frames: a frame arrives at its number, so that arrivals are exact at any frame rate.
"""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

SAME = 1e-9
"""Times that differ by less than this are the same; sums of durations are rounded."""


@dataclass(frozen=True, slots=True)
class Run:
    """One pass of the detector."""

    frame: int
    """Index of the frame that it takes."""
    finished: float
    """Time at which its output is there."""


def detector_runs(arrivals: Sequence[float], durations: Iterator[float]) -> list[Run]:
    """Return the runs of a detector that is never idle while there is a frame that it has not had.

    When it is free it takes the newest frame that has arrived; older ones are skipped. If it has
    had that one, it waits for the next. The stream ends one frame after its last one arrived.

    Args:
        arrivals: Times at which frames arrive, ascending; not empty.
        durations: Time of each run, at least 0, without end.
    """
    runs: list[Run] = []
    free, taken, end = 0.0, -1, arrivals[-1] + 1 - SAME
    while taken + 1 < len(arrivals) and free < end:
        started = max(free, arrivals[taken + 1])
        taken, free = _newest(arrivals, started), started + next(durations)
        runs.append(Run(taken, free))
    return runs


def streaming_outputs(finished: Sequence[float], arrivals: Sequence[float]) -> list[int | None]:
    """Return the newest output that is there when each frame arrives.

    Args:
        finished: Times at which outputs are there, ascending.
        arrivals: Times at which frames arrive.

    Returns:
        Index of an output for each frame; None before the first output.
    """
    newest = (_newest(finished, arrival) for arrival in arrivals)
    return [None if index < 0 else index for index in newest]


def judged_frames(
    arrivals: Sequence[float], durations: Iterator[float]
) -> tuple[list[int | None], int]:
    """Return the frame whose output is judged at the time of each frame, None before the first
    output; and the number of runs. For the arguments see `detector_runs`."""
    runs = detector_runs(arrivals, durations)
    outputs = streaming_outputs([run.finished for run in runs], arrivals)
    return [None if index is None else runs[index].frame for index in outputs], len(runs)


def _newest(times: Sequence[float], now: float) -> int:
    """Return the index of the last time that is not after now; -1 if there is none."""
    return bisect_right(times, now + SAME) - 1
