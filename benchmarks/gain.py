"""The table of gains: every method, order of teachers and policy, on data that chose nothing.

    python -m benchmarks.gain [--folder DIR] [--data NAME ...] [--bccd DIR] [--section NAME ...]

Trains the rows that `benchmarks/gain_settings.py` registers, one row of one seed at a time, the
most telling first. Each result is a file in the folder: repeating the command resumes, and
several processes can share the folder. `--table` trains nothing: it collects the results into
`benchmarks/gains.json` and writes from that file `docs/gains.md`, its plot, and what a forecast
tells of short trials (`searchd/search/short_trials.json`).
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

from benchmarks.fidelity_table import shipped
from benchmarks.gain_merge import merged
from benchmarks.gain_settings import DATA, PLAN, ROWS, SECTIONS, SEEDS, Row
from benchmarks.gain_table import FILE, PAGE, PLOT, PLOTTED, collect, page, plot

BENCHMARK = Path(__file__).parents[1] / "searchd" / "search" / "short_trials.json"
"""What a forecast tells of the fidelity of short trials."""


def planned(options: argparse.Namespace) -> Iterator[tuple[str, Row, int]]:
    """Yield data set, row and seed of everything to train, in order."""
    for data, section in PLAN:
        if data in options.data and section in options.section:
            for row in SECTIONS[section][1]:
                if options.rows is None or row.name in options.rows:
                    yield from ((data, row, seed) for seed in options.seeds)


def train(options: argparse.Namespace) -> None:
    """Train what is planned and not stored."""
    import torch  # here, so that the table needs no detector

    from benchmarks.gain_bench import Workbench
    from benchmarks.gain_runs import Trainer

    torch.set_num_threads(1)
    benches: dict[str, Workbench] = {}
    for data, row, seed in planned(options):
        if data not in benches:
            benches[data] = Workbench(data, options.folder, options.bccd)
        Trainer(benches[data], seed).run(row)


def write(folder: Path) -> None:
    """Write `gains.json` from the folder's results, and page and plot from `gains.json`."""
    stored = json.loads(FILE.read_text())
    results = merged(stored, collect(folder))
    FILE.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n")
    PAGE.write_text(page(results))
    if (found := shipped(results["fidelity"])) is not None:
        BENCHMARK.write_text(json.dumps(found, indent=1) + "\n")
    if PLOTTED in results["data"]:
        plot(results, PLOT)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--folder", type=Path, default=Path("gain"), help="folder for data, weights and results")
    add("--bccd", type=Path, help="folder with train.json, val.json, test.json and images of BCCD")
    add(
        "--data",
        nargs="+",
        choices=list(DATA),
        help="data sets to train on; bccd needs --bccd; default: all, bccd if it is given",
    )
    sections = list(SECTIONS)
    add(
        "--section",
        nargs="+",
        choices=sections,
        default=sections,
        help="sections of the table whose rows are trained; default: all",
    )
    add("--rows", nargs="+", choices=list(ROWS), metavar="ROW", help="rows to train; default: all")
    add(
        "--seeds",
        type=int,
        nargs="+",
        choices=SEEDS,
        default=list(SEEDS),
        help="seeds of the students that are trained; default: all",
    )
    add("--table", action="store_true", help="train nothing; write table and plot of what is done")
    options = parser.parse_args()
    options.data = options.data or [name for name in DATA if name != "bccd" or options.bccd]
    if options.table:
        write(options.folder)
    else:
        train(options)


if __name__ == "__main__":
    main()
