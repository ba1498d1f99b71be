"""Checks everything that needs a GPU, in at most eight minutes: `make test-gpu`.

    python scripts/gpu_check.py [--device cuda] [--seconds 480] [--out gpu-results]

Each part is a command with a limit of its own and leaves its output in a file, so that a part that
fails or takes too long costs the others nothing. `--device cpu` tries the script without a GPU, at
small sizes.
"""

import argparse
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Part:
    """One command."""

    name: str
    command: Sequence[str]
    limit_s: float
    """Seconds after which it is ended."""


def parts_of(device: str) -> list[Part]:
    """Return the parts, the most important first."""
    pytest = ["-m", "pytest", "-m", "gpu", "-q", "-p", "no:cacheprovider", "--durations=5"]
    bench = ["-m", "benchmarks.training_step", "--device", device]
    bench += ["--setting", "r50" if device == "cuda" else "small"]
    variants = ["plain", "distilled", "bound", "plain_channels_last", "plain_bf16"]
    variants += ["distilled_bf16", "plain_fp16"] if device == "cuda" else []
    packed = ["1", "2", "4", "8"] if device == "cuda" else ["1", "2"]
    return [
        Part(
            name="tests", command=[*pytest, "tests/gpu/test_training_on_the_device.py"], limit_s=100
        ),
        Part(
            name="benchmark",
            command=[*bench, "--rounds", "3", "--only", *variants],
            limit_s=120,
        ),
        Part(
            name="service",
            command=[*pytest, "tests/gpu/test_service_on_the_device.py"],
            limit_s=150,
        ),
        Part(
            name="packed",
            command=[*bench, "--rounds", "1", "--only", "plain", "--packed", *packed],
            limit_s=70,
        ),
        Part(name="profile", command=[*bench, "--profile"], limit_s=40),
    ]


def run(part: Part, device: str, out: Path, limit_s: float) -> str:
    """Run a part and return how it ended: "passed", "failed" or "too slow"."""
    environment = {**os.environ, "SEARCHD_TEST_DEVICE": device}
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a shell's job in the background
        signal.signal(signal.SIGINT, signal.default_int_handler)  # parts would inherit it
    with (out / f"{part.name}.txt").open("w") as file:
        process = subprocess.Popen(
            [sys.executable, *part.command],
            stdout=file,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )
        try:
            return "passed" if process.wait(limit_s) == 0 else "failed"
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGINT)  # pytest then ends the service that it started
            return "too slow"
        finally:
            _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End what a part has left after a few seconds of grace."""
    try:
        process.wait(20)
        os.killpg(process.pid, signal.SIGKILL)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass  # nothing is left


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--seconds", type=float, default=480, help="limit of all parts together")
    parser.add_argument("--factor", type=float, default=1, help="factor of the limit of each part")
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("gpu-results"),
        help="folder for the output of each part, a text file each; default: gpu-results",
    )
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    ends = time.monotonic() + options.seconds
    found: dict[str, str] = {}
    for part in parts_of(options.device):
        limit_s = min(options.factor * part.limit_s, ends - time.monotonic() - 10)
        started = time.monotonic()
        found[part.name] = (
            run(part, options.device, options.out, limit_s) if limit_s > 5 else "no time left"
        )
        spent_s = time.monotonic() - started
        sys.stdout.write(f"{part.name:10} {found[part.name]:12} {spent_s:6.0f} s\n")
        sys.stdout.flush()
    sys.stdout.write(f"output: {options.out}\n")
    sys.exit(0 if set(found.values()) == {"passed"} else 1)


if __name__ == "__main__":
    main()
