"""The table of gains: from the results in a folder to `gains.json`, and from that to the page.

`gains.json` has the APs of every row and the paired differences with their intervals. It is small
and committed; `docs/gains.md` is exactly what `page` makes of it. Imports no detector.
"""

import json
import statistics
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.fidelity_table import fidelity_lines
from benchmarks.gain_choices import JUDGING_SEEDS, choice_lines
from benchmarks.gain_goals import CONTRASTS, goals
from benchmarks.gain_settings import (
    DATA,
    LENGTHS,
    NONE,
    ROWS,
    SECTIONS,
    SEEDS,
    STUDENT_EPOCHS,
    TEACHER_EPOCHS,
    TEACHERS,
    Row,
)
from searchd.domain.detector import Family
from searchd.search.intervals import difference

FILE = Path(__file__).with_name("gains.json")
PAGE = Path(__file__).parents[1] / "docs" / "gains.md"
PLOT = PAGE.parent / "images" / "gains.png"
PLOTTED = "shapes-96"
"""The data set of the plot."""

Results = Mapping[str, Any]
"""Content of `gains.json`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """AP of one row minus that of another one on test images, both in [0, 1]."""

    first: str
    second: str
    by_seed: Mapping[str, float]
    """Of the seeds that both rows have."""
    low: float
    """Lower end of the 95 % interval of the mean over these seeds."""
    high: float

    @property
    def mean(self) -> float:
        return statistics.mean(self.by_seed.values())

    @property
    def verdict(self) -> str:
        """Whether the interval excludes zero, in a word."""
        return "gains" if self.low > 0 else "loses" if self.high < 0 else "unclear"


def compared(
    first: str, second: str, results: Mapping[str, Mapping[str, Results]]
) -> Difference | None:
    """Compare two rows on the seeds that both have.

    The interval is of the mean over seeds: each resample of the test images is the same for all
    detectors, so the differences are averaged resample by resample.

    Args:
        first: Name of a row.
        second: Name of the row that is subtracted.
        results: Results with "test" and "resampled", by row and seed.

    Returns:
        None if there is no such seed.
    """
    one, other = results.get(first, {}), results.get(second, {})
    seeds = [seed for seed in one if seed in other]
    if not seeds:
        return None
    resampled = [
        np.mean([of_row[seed]["resampled"] for seed in seeds], axis=0).tolist()
        for of_row in (one, other)
    ]
    found = difference(*resampled)
    assert found is not None  # test images have objects
    return Difference(
        first=first,
        second=second,
        by_seed={seed: round(one[seed]["test"] - other[seed]["test"], 5) for seed in seeds},
        low=round(found.low, 5),
        high=round(found.high, 5),
    )


def collect(folder: Path) -> dict[str, Any]:
    """Return what the results in a folder are for `gains.json`."""
    found = {name: _of_data(folder / name) for name in DATA}
    rows = [json.loads(path.read_text()) for path in sorted(folder.glob("fidelity/*.json"))]
    return {
        "data": {name: of_data for name, of_data in found.items() if of_data["rows"]},
        "fidelity": sorted(rows, key=lambda row: int(row["number"])),
    }


def _of_data(folder: Path) -> dict[str, Any]:
    results = {name: _of_row(folder, name) for name in ROWS}
    results = {name: of_row for name, of_row in results.items() if of_row}
    names = [*(f"teacher {name}" for name in TEACHERS)]
    names += [f"{family}, seed {seed}" for family in STUDENT_EPOCHS for seed in SEEDS]
    detectors = {name: _read(folder / f"{name}.json") for name in names}
    differences = [compared(first, second, results) for first, second in _pairs()]
    judging = {
        name: {seed: each for seed, each in of_row.items() if int(seed) in JUDGING_SEEDS}
        for name, of_row in results.items()
    }
    judged = [compared(row.name, NONE, judging) for row in SECTIONS["alternatives"][1]]
    return {
        "detectors": {name: _short(found) for name, found in detectors.items() if found},
        "rows": {
            name: {seed: _short(found) for seed, found in of_row.items()}
            for name, of_row in results.items()
        },
        "differences": [asdict(found) for found in differences if found],
        "judged": [asdict(found) for found in judged if found],
    }


def _pairs() -> list[tuple[str, str]]:
    pairs = [(row.name, row.against) for row in ROWS.values() if row.against is not None]
    pairs += [pair for contrast in CONTRASTS for pair in contrast.pairs]
    return list(dict.fromkeys(pairs))


def _of_row(folder: Path, name: str) -> dict[str, Results]:
    found = {str(seed): _read(folder / f"{name}, seed {seed}.json") for seed in SEEDS}
    return {seed: result for seed, result in found.items() if result is not None}


def _read(path: Path) -> dict[str, Any] | None:
    return dict(json.loads(path.read_text())) if path.exists() else None


def _short(result: Results) -> dict[str, Any]:
    kept = ("validation", "test", "seconds", "order", "trials", "macs")
    return {key: result[key] for key in kept if key in result}


def page(results: Results) -> str:
    """Return the page that shows the results, in Markdown."""
    lines = [*_head()]
    if PLOTTED in results["data"]:
        lines += ["", f"![Gains of the methods on {PLOTTED}](images/{PLOT.name})"]
    for name in DATA:
        lines += ["", f"## {name}", "", *_data_lines(results["data"].get(name))]
    lines += ["", "## Goals", "", *_goal_lines(results)]
    lines += ["", "## Fidelity of the short proxy", "", *fidelity_lines(results["fidelity"])]
    return "\n".join(lines) + "\n"


def _head() -> Iterator[str]:
    (stage, rate), (trial, slow) = LENGTHS["stage"], LENGTHS["trial"]
    epochs = ", ".join(f"{family} {each}" for family, each in STUDENT_EPOCHS.items())
    yield "# Gains"
    yield ""
    yield (
        "What each method, order and policy gains, on data that chose nothing. Made by "
        "`python -m benchmarks.gain --table` from `benchmarks/gains.json`; do not edit. Settings "
        "and rows are registered in `benchmarks/gain_settings.py`."
    )
    yield ""
    yield (
        f"Students are half-trained (6-channel ResNet-18; epochs: {epochs}), then trained by one "
        f"row: a stage of {stage} epochs at {rate:g}, or trials of {trial} at {slow:g}. Rows of a "
        "seed start from the same weights and see the same batches; methods, options and weights "
        f"are the shipped defaults unless the row says so, but CKD's queue, which counts batches: "
        "it holds 4,096 embeddings. Teachers are Faster R-CNNs, "
        f"{TEACHER_EPOCHS} epochs; L is used unless a row names another one. "
        "Everything is AP on the test split in percent. "
        "*Gain* is the mean over seeds of the paired difference from the row *against*, with "
        "its smallest and largest seed and a 95 % interval: a bootstrap over the test images, "
        "paired and averaged over seeds. The interval covers the choice of test images; how much "
        "another seed changes is what the seeds show. A row *gains* or *loses* if the interval "
        "excludes zero."
    )


_APART = (
    "Rows with * were trained on a machine of another kind, whose rounding leads to other weights. "
    "Their gains are over rows that were trained there too, so they do not follow from the APs "
    "shown."
)


def _data_lines(found: Results | None) -> Iterator[str]:
    if found is None:
        yield "Not run."
        return
    yield from _detector_lines(found["detectors"])
    apart = found.get("apart", ())
    if apart:
        yield ""
        yield _APART
    differences = _differences(found)
    for title, rows in SECTIONS.values():
        yield ""
        yield f"### {title}"
        yield ""
        if any(row.name in found["rows"] for row in rows):
            yield from _table(rows, found["rows"], differences, apart)
        else:
            yield f"Not run: {'; '.join(f'`{row.name}`' for row in rows)}."
    yield from choice_lines(found)


def _detector_lines(detectors: Mapping[str, Results]) -> Iterator[str]:
    shown = "; ".join(f"{name} {100 * found['test']:.1f}" for name, found in detectors.items())
    yield f"Before the rows: {shown}."


def _table(
    rows: Sequence[Row],
    results: Mapping[str, Mapping[str, Results]],
    differences: Mapping[tuple[str, str], Difference],
    apart: Collection[str],
) -> Iterator[str]:
    seeds = " | ".join(f"seed {seed}" for seed in SEEDS)
    yield f"| row | {seeds} | against | gain | seeds' range | 95 % interval | |"
    yield f"|---{'|---' * len(SEEDS)}|---|---|---|---|---|"
    for row in rows:
        name = f"{row.name}{'*' if row.name in apart else ''}"
        yield _table_line(name, row, results.get(row.name, {}), differences)


def _table_line(
    name: str,
    row: Row,
    of_row: Mapping[str, Results],
    differences: Mapping[tuple[str, str], Difference],
) -> str:
    aps = " | ".join(_ap(of_row.get(str(seed))) for seed in SEEDS)
    against = row.against or ""
    found = differences.get((row.name, against))
    if found is None:
        verdict = "" if of_row else "not run"
        return f"| {name} | {aps} | {against} | | | | {verdict} |"
    values = found.by_seed.values()
    return (
        f"| {name} | {aps} | {against} | {points(found.mean)} | "
        f"{points(min(values))} .. {points(max(values))} | "
        f"{points(found.low)} .. {points(found.high)} | {found.verdict} |"
    )


def _ap(result: Results | None) -> str:
    return "-" if result is None else f"{100 * result['test']:.1f}"


def points(value: float) -> str:
    """Return a difference of APs in points, with its sign; -0.0 is just below zero."""
    return f"{100 * value:+.1f}"


def _differences(found: Results) -> dict[tuple[str, str], Difference]:
    read = [Difference(**each) for each in found["differences"]]
    return {(each.first, each.second): each for each in read}


def _goal_lines(results: Results) -> Iterator[str]:
    yield (
        '">" holds if the interval is above zero, "≥" if the mean is not below zero, in each '
        "comparison that the line names."
    )
    for name, found in results["data"].items():
        yield ""
        yield f"On {name}:"
        yield ""
        for goal in goals(_differences(found)):
            yield f"- {goal.text}: **{goal.status}**. {goal.figures}".rstrip()


def plot(results: Results, path: Path) -> None:
    """Draw the gains of the methods on `PLOTTED` with their intervals, largest first, as PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    found = [
        each
        for each in _differences(results["data"][PLOTTED]).values()
        if each.second == ROWS["none"].name and ROWS[each.first].family is Family.FASTER_RCNN
    ]
    found.sort(key=lambda each: each.mean)
    figure = Figure(figsize=(8, 1 + 0.25 * len(found)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for place, each in enumerate(found):
        axes.plot([100 * each.low, 100 * each.high], [place, place], color="tab:blue")
        axes.plot(
            [100 * value for value in each.by_seed.values()],
            [place] * len(each.by_seed),
            ".",
            color="tab:gray",
        )
        axes.plot(100 * each.mean, place, "o", color="tab:blue")
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_yticks(range(len(found)), [each.first for each in found])
    axes.set_xlabel(f"gain in AP on test images of {PLOTTED} (points): mean, interval, seeds")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100)
