"""Measures how long an exported detector takes for one image."""

import platform
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from detection.deployment.exported import Pixels, Runner

WARM_UP = 10
"""Number of passes before the measured ones."""
NUM_TIMED = 100
"""Number of measured passes."""
ROUNDS = 5
"""Number of turns that the passes are divided into where detectors are compared."""
_WARM_UP_OF_TURN = 2
QUIET_SPREAD = 0.25
"""Largest spread of a measurement on a quiet machine. On an idle CPU it is 0.02 to 0.1."""
ATTEMPTS = 3
"""Largest number of measurements while the machine is not quiet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Seconds for one image, from the input tensor to boxes."""

    median_s: float
    p95_s: float
    """95 % of the passes needed at most this."""
    num_timed: int
    """Number of measured passes."""
    images_per_s: float
    """Images in a second, one after another: the passes over the sum of their times."""

    @property
    def spread(self) -> float:
        """How much longer than the median the slow passes took: p95 over median, less 1."""
        return self.p95_s / self.median_s - 1

    @property
    def is_quiet(self) -> bool:
        """Whether nothing else seems to have kept the machine busy."""
        return self.spread <= QUIET_SPREAD


def measure_quietly(
    run: Callable[[], object], *, num_timed: int = NUM_TIMED, warm_up: int = WARM_UP
) -> Timing:
    """Time a function, again while the machine is not quiet, at most `ATTEMPTS` times.

    Args:
        run: What is timed; it returns when the result is there.
        num_timed: Number of measured calls, at least 1.
        warm_up: Number of calls before them.

    Returns:
        The first quiet measurement, or else the fastest: other work only makes it slower.
    """
    found: list[Timing] = []
    while len(found) < ATTEMPTS:
        found.append(_measure(run, num_timed, warm_up))
        if found[-1].is_quiet:
            return found[-1]
    return min(found, key=lambda timing: timing.median_s)


def measure(
    runner: Runner, pixels: Pixels, *, num_timed: int = NUM_TIMED, warm_up: int = WARM_UP
) -> Timing:
    """Time single passes, one after another.

    Args:
        runner: The detector.
        pixels: The input of every pass.
        num_timed: Number of measured passes, at least 1.
        warm_up: Number of passes before them.
    """
    return _measure(lambda: runner.detect(pixels), num_timed, warm_up)


def _measure(run: Callable[[], object], num_timed: int, warm_up: int) -> Timing:
    for _ in range(warm_up):
        run()
    return _summary([_timed(run) for _ in range(num_timed)])


def compare(
    runners: Sequence[tuple[Runner, Pixels]],
    *,
    rounds: int = ROUNDS,
    advance: Callable[[], None] = lambda: None,
) -> list[Timing]:
    """Time detectors in turns, so that other load on the machine meets all of them alike.

    Args:
        runners: Each detector with the input of its passes.
        rounds: Number of turns of each detector. A turn is 2 passes to warm up, and 20 measured.
        advance: Called after each turn.
    """
    times: list[list[float]] = [[] for _ in runners]
    for _ in range(rounds):
        for (runner, pixels), found in zip(runners, times, strict=True):
            for _ in range(_WARM_UP_OF_TURN):
                runner.detect(pixels)
            found += [_timed(partial(runner.detect, pixels)) for _ in range(NUM_TIMED // ROUNDS)]
            advance()
    return [_summary(found) for found in times]


def _summary(times: list[float]) -> Timing:
    ordered, number = sorted(times), len(times)
    return Timing(
        median_s=statistics.median(ordered),
        p95_s=ordered[min(number - 1, int(0.95 * number))],
        num_timed=number,
        images_per_s=number / sum(ordered),
    )


def device_name(num_threads: int) -> str:
    """Return this machine's processor and a number of threads, in words."""
    threads = "1 thread" if num_threads == 1 else f"{num_threads} threads"
    return f"{processor()}, {threads}"


def _timed(run: Callable[[], object]) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def processor() -> str:
    """Return the name of the processor; its architecture where the system does not tell."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
