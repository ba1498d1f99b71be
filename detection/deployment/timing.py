"""Measures how long an exported detector takes for one image."""

import platform
import statistics
import time
from dataclasses import dataclass
from pathlib import Path

from detection.deployment.exported import Pixels, Runner

WARM_UP = 10
"""Number of passes before the measured ones."""
NUM_TIMED = 100
"""Number of measured passes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Seconds for one image, from the input tensor to boxes."""

    median_s: float
    p95_s: float
    """95 % of the passes needed at most this."""
    num_timed: int
    """Number of measured passes."""


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
    times = sorted(_timed(runner, pixels) for _ in range(num_timed))
    return Timing(
        median_s=statistics.median(times),
        p95_s=times[min(num_timed - 1, int(0.95 * num_timed))],
        num_timed=num_timed,
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
