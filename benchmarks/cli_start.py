"""How long commands take to start, as a multiple of the interpreter's own start in the same run.

python -m benchmarks.cli_start [--rounds 9]

Starts a service on an empty database, in this process, for the commands that call one. Commands
take turns, so that other work on the machine slows all of them alike; the median of each is shown.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
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


def measure(url: str, rounds: int) -> dict[str, float]:
    """Return the median seconds of each command.

    Args:
        url: URL of a running service.
        rounds: Number of starts of each command.
    """
    environment = {**os.environ, "SEARCHD_URL": url}
    found: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(rounds):
        for name, arguments in COMMANDS.items():
            begun = time.perf_counter()
            subprocess.run(
                [sys.executable, *arguments], env=environment, check=True, capture_output=True
            )
            found[name].append(time.perf_counter() - begun)
    return {name: median(seconds) for name, seconds in found.items()}


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=9, help="Number of starts of each command.")
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as folder, serve(Path(folder)) as service:
        found = measure(service.url, rounds)
    for name, seconds in found.items():
        ratio = seconds / found["interpreter"]
        sys.stdout.write(f"{name:24} {1000 * seconds:6.0f} ms  {ratio:5.1f} x interpreter\n")


if __name__ == "__main__":
    main()
