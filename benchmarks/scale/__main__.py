"""Measures how the service behaves as searches grow, and writes benchmarks/RESULTS.md.

    python -m benchmarks.scale [--full] [--only SECTION ...] [--sizes "--trials 200"]

Sections that are not measured stay in the file as they were. Without --full, sizes are such that
all sections take minutes on two idle cores. Every line compares with a peer that was measured in
the same run, since times depend on the machine and on what else it does.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PACKAGES = ("sqlalchemy", "fastapi", "ray", "optuna", "psycopg")


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """One command, and how its results are shown."""

    title: str
    module: str
    short: str
    """Arguments of the short run."""
    full: str
    """Arguments of the full run."""
    lines: Callable[[Any], Iterator[str]]


def control_plane(found: Mapping[str, Mapping[str, float]]) -> Iterator[str]:
    """Show `benchmarks.control_plane`."""
    yield (
        "| database | trials | trials/s | × Optuna's storage | × bare commits | last / first "
        "window | commits | statements |"
    )
    yield "|---|---|---|---|---|---|---|---|"
    for database, rates in found.items():
        yield (
            f"| {database} | {rates['trials']:,} | {rates['per_s']:.1f} | "
            f"{rates['over_optuna']:.2f} | {rates['over_floor']:.2f} | "
            f"{rates['last_over_first']:.2f} | {rates['commits']:.1f} | "
            f"{rates['statements']:.1f} |"
        )


def http(found: Mapping[str, Mapping[str, float]]) -> Iterator[str]:
    """Show `benchmarks.scale.http`."""
    watchers = found["looks of 1,000 watchers"]["per_s"]
    health = found["health"]["per_s"]
    yield from ("| request | 1/s | × health | p50 ms | p95 ms |", "|---|---|---|---|---|")
    for what, row in found.items():
        if "p50_ms" in row:
            yield (
                f"| {what} | {row['per_s']:.1f} | {row['per_s'] / health:.2f} | "
                f"{row['p50_ms']:.0f} | {row['p95_ms']:.0f} |"
            )
    yield ""
    yield "The front over HTTP equals that of all evaluations by brute force."
    yield f"1,000 watchers of one search look at the database {watchers:.1f} times a second."


def tuning(found: Mapping[str, Mapping[str, float]]) -> Iterator[str]:
    """Show `benchmarks.scale.tuning`."""
    empty, busy = found["empty trials"], found["utilisation"]
    yield (
        f"{empty['trials']} empty trials through database, driver and Tune: "
        f"{empty['ours_per_s']:.1f} a second, {empty['ours_over_tune']:.2f} × Ray Tune alone "
        f"({empty['tune_per_s']:.1f})."
    )
    yield ""
    yield (
        f"{busy['trials']} trials of log-normal length on {busy['workers']} actors: busy "
        f"{busy['asynchronous']:.1%} of the time, in generations {busy['in generations']:.1%}."
    )


def simulation(found: list[Mapping[str, float]]) -> Iterator[str]:
    """Show `benchmarks.scale.simulation`."""
    yield "| median trial | workers | busy | busy in generations |"
    yield "|---|---|---|---|"
    for row in found:
        yield (
            f"| {row['median_s']:.0f} s | {row['workers']:,} | {row['asynchronous']:.1%} | "
            f"{row['in generations']:.1%} |"
        )


def quality(found: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Show `benchmarks.scale.quality`."""
    for landscape, searches in found.items():
        targets = list(next(iter(searches.values()))["trials to"])
        yield f"Where {landscape} over a lineage:" if "adds" in landscape else f"Where {landscape}:"
        yield ""
        heads = " | ".join(f"trials to {target} × base" for target in targets)
        yield f"| search | {heads} | best / base: median (quartiles) |"
        yield "|---|" + "---|" * (len(targets) + 1)
        for name, row in searches.items():
            reached = [row["trials to"][target] for target in targets]
            low, middle, high = row["best"]
            shown = " | ".join("-" if each is None else f"{each}" for each in reached)
            yield f"| {name} | {shown} | {middle:.3f} ({low:.3f} to {high:.3f}) |"
        yield ""


SECTIONS = {
    "control-plane": Section(
        title="Work of the control plane for one trial",
        module="benchmarks.control_plane",
        short="--trials 500",
        full="--trials 100000",
        lines=control_plane,
    ),
    "http": Section(
        title="A large search over HTTP",
        module="benchmarks.scale.http",
        short="--trials 2000 --seconds 3",
        full="--trials 50000 --seconds 20",
        lines=http,
    ),
    "tuning": Section(
        title="Trials on real Ray actors",
        module="benchmarks.scale.tuning",
        short="",
        full="--trials 1000 --trials-per-worker 20 --median-s 10",
        lines=tuning,
    ),
    "simulation": Section(
        title="Workers up to 1,024, simulated",
        module="benchmarks.scale.simulation",
        short="--trials-per-worker 3",
        full="--trials-per-worker 20",
        lines=simulation,
    ),
    "quality": Section(
        title="Search quality per trial, on an analytic landscape",
        module="benchmarks.scale.quality",
        short="--seeds 20 --trials 60",
        full="--seeds 20 --trials 400",
        lines=quality,
    ),
}


def written(section: Section, arguments: str) -> Iterator[str]:
    """Run one section and yield its part of the document."""
    command = ["-m", section.module, *arguments.split()]
    sys.stderr.write(f"python {' '.join(command)}\n")
    done = subprocess.run(
        [sys.executable, *command], stdout=subprocess.PIPE, text=True, check=True, cwd=ROOT
    )
    loads = ", ".join(f"{load:.1f}" for load in os.getloadavg())
    yield f"## {section.title}"
    yield ""
    yield f"`python {' '.join(command)}` (load of the machine after it: {loads})"
    yield ""
    yield from section.lines(json.loads(done.stdout))
    yield ""


def heading() -> Iterator[str]:
    """Yield the beginning of the document: machine and versions."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    versions = ", ".join(f"{package} {version(package)}" for package in PACKAGES)
    yield "# Results of `make bench`"
    yield ""
    yield (
        f"{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores ({platform.machine()}), "
        f"{memory:.0f} GiB, Python {platform.python_version()}, {versions}."
    )
    yield ""
    yield (
        "Compare the ratios, each of which was measured in one run; the times depend on what else "
        "the machine did, which the load shows."
    )
    yield ""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__)
    add = parser.add_argument
    add("--full", action="store_true", help="measure the full sizes, which takes hours")
    add("--only", nargs="*", choices=list(SECTIONS), help="sections to measure; default: all")
    add("--sizes", help="arguments of the measured sections instead of those of the short run")
    add("--out", type=Path, default=ROOT / "benchmarks" / "RESULTS.md", help="file to write")
    options = parser.parse_args()
    for name, section in SECTIONS.items():
        if not options.only or name in options.only:
            arguments = options.sizes or (section.full if options.full else section.short)
            replace_section(options.out, section.title, list(written(section, arguments)))
    sys.stdout.write(f"{options.out}\n")


def replace_section(file: Path, title: str, lines: Sequence[str]) -> None:
    """Replace one section of the document, or add it; sections are in the order of `SECTIONS`."""
    text = file.read_text() if file.exists() else ""
    parts = {part.partition("\n")[0]: part for part in text.split("\n## ")[1:]}
    parts[title] = "\n".join(lines).removeprefix("## ")
    ordered = [parts[each.title] for each in SECTIONS.values() if each.title in parts]
    found = "\n".join([*heading(), *(f"## {part.strip()}\n" for part in ordered)])
    file.write_text(found.rstrip("\n") + "\n")


if __name__ == "__main__":
    main()
