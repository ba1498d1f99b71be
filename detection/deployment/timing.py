"""Measures how long an exported detector takes for one image."""

import platform
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from detection.deployment.exported import Pixels, Runner

WARM_UP = 10
"""Number of passes before the measured ones."""
NUM_TIMED = 100
"""Number of measured passes."""
ROUNDS = 5
"""Number of turns that the passes are divided into where detectors are compared."""
_WARM_UP_OF_TURN = 2


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
    for _ in range(warm_up):
        runner.detect(pixels)
    return _summary([_timed(runner, pixels) for _ in range(num_timed)])


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
            found += [_timed(runner, pixels) for _ in range(NUM_TIMED // ROUNDS)]
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
    return f"{_processor()}, {threads}"


def _timed(runner: Runner, pixels: Pixels) -> float:
    started = time.perf_counter()
    runner.detect(pixels)
    return time.perf_counter() - started


def _processor() -> str:
    """Return the name of the processor; its architecture where the system does not tell."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
