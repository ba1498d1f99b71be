"""How long commands take to start, as a multiple of the interpreter's own start in the same run.

python -m benchmarks.cli_start [--rounds 9]

Starts a service on an empty database, in this process, for the commands that call one. Commands
take turns, so that other work on the machine slows all of them alike; the medians of each are
shown: wall time, and CPU time, which is what a command would take on an idle machine. A first round
is not counted: it compiles the sources, as an installation does.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

from tests.api.service import serve

COMMANDS: dict[str, Sequence[str]] = {
    "interpreter": ("-c", "pass"),
    "searchd --help": ("-m", "cli.main", "--help"),
    "searchd search --help": ("-m", "cli.main", "search", "--help"),
    "searchd search list": ("-m", "cli.main", "search", "list"),
    "searchd dataset list": ("-m", "cli.main", "dataset", "list"),
}


def measure(url: str, rounds: int) -> dict[str, tuple[float, float]]:
    """Return the median seconds of each command: by the clock, and of CPU time.

    Args:
        url: URL of a running service.
        rounds: Number of starts of each command.
    """
    environment = {**os.environ, "SEARCHD_URL": url}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in COMMANDS}
    for _ in range(rounds + 1):
        for name, arguments in COMMANDS.items():
            found[name].append(_start(arguments, environment))
    return {
        name: (median(wall for wall, _ in starts[1:]), median(cpu for _, cpu in starts[1:]))
        for name, starts in found.items()
    }


def _start(arguments: Sequence[str], environment: Mapping[str, str]) -> tuple[float, float]:
    begun, cpu_before = time.perf_counter(), _cpu_of_children()
    subprocess.run([sys.executable, *arguments], env=environment, check=True, capture_output=True)
    return time.perf_counter() - begun, _cpu_of_children() - cpu_before


def _cpu_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=9, help="Number of starts of each command.")
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as folder, serve(Path(folder)) as service:
        found = measure(service.url, rounds)
    for name, (wall, cpu) in found.items():
        ratio, shown = wall / found["interpreter"][0], f"{1000 * wall:6.0f} ms"
        cpu_shown = f"{1000 * cpu:6.0f} ms of CPU"
        sys.stdout.write(f"{name:24} {shown}  {ratio:5.1f} x interpreter  {cpu_shown}\n")
    sys.stdout.write(f"load average: {os.getloadavg()[0]:.1f}\n")


if __name__ == "__main__":
    main()
