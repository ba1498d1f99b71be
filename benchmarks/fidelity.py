"""How well the score of a short trial ranks architectures that are trained to the end.

    python -m benchmarks.fidelity [--folder DIR]

Draws different architectures from a trained base on shapes-96 by the search's own edits, trains
each as a trial, scores it on validation images, and trains it on. One architecture at a time; each
result is a file in the folder, repeating the command resumes, and several processes can share it.
`python -m benchmarks.gain --table` writes the rows and Kendall's tau to `docs/gains.md`.
"""

import argparse
import random
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import torch

from benchmarks.fidelity_table import DATA, FINISHING_EPOCHS, NUM_ARCHITECTURES, SHORT_EPOCHS
from benchmarks.gain_bench import Workbench, lock, say, store, training_spec
from benchmarks.gain_search import base_of, drawn_action, edited, macs_of
from benchmarks.gain_settings import LENGTHS
from detection.build import Student, load_student
from detection.morphism import NothingToDo
from detection.training import Training
from searchd.domain.actions import describe
from searchd.domain.encoding import encode
from searchd.domain.score import score

SEED, MAX_EDITS = 0, 4
"""The seed of the base and of all draws, and the largest number of edits."""


def draw(base: Student, number: int) -> tuple[Student, tuple[str, ...]]:
    """Return an architecture with inherited weights, and its edits; number 0 is the base."""
    rng = random.Random(f"{SEED}/{number}")
    found, edits = base, []
    for _ in range(0 if number == 0 else rng.randint(1, MAX_EDITS)):
        action = drawn_action(found, rng)
        try:
            found = edited(found, action, rng.getrandbits(31))
        except NothingToDo:
            continue
        edits.append(describe(action))
    return found, tuple(edits)


def different(base: Student, number: int) -> Iterator[int]:
    """Yield the numbers of this many architectures, without those that were drawn before: the same
    one again would count as a pair that both scores rank alike."""
    seen: set[str] = set()
    for candidate in count():
        found, _ = draw(base, candidate)
        name = encode(found.detector.architecture)
        if name not in seen:
            seen.add(name)
            yield candidate
        if len(seen) == number:
            return


def run(bench: Workbench, base: Student, number: int) -> dict[str, Any]:
    """Train one architecture and return its row."""
    started = time.monotonic()
    found, edits = draw(base, number)
    macs = macs_of(bench, found) / macs_of(bench, base)
    model = load_student(found)
    rate = LENGTHS["trial"][1]
    _train(bench, model, SHORT_EPOCHS, rate, SEED + 100)
    short = bench.validation_ap(model)
    _train(bench, model, FINISHING_EPOCHS, rate, SEED + 200)
    measured = bench.measured(model)
    return {
        "number": number,
        "edits": ", ".join(edits) or "none",
        "macs": round(macs, 4),
        "short": round(_score(bench, short, macs), 5),
        "finished": round(_score(bench, measured["validation"], macs), 5),
        "test": measured["test"],
        "seconds": round(time.monotonic() - started),
    }


def _train(bench: Workbench, model: Any, epochs: int, rate: float, seed: int) -> None:
    training = Training(model, bench.train, training_spec(bench.data, epochs, rate), seed=seed)
    for _ in training.run():
        pass


def _score(bench: Workbench, ap: float, macs: float) -> float:
    size = bench.data.resolution
    return score(ap=max(0.0, ap), macs=macs, base_macs=1.0, resolution=size, base_resolution=size)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--folder", type=Path, default=Path("gain"), help="folder of `benchmarks.gain`")
    add(
        "--architectures",
        type=int,
        default=NUM_ARCHITECTURES,
        help="number of architectures to train, the base included",
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    bench = Workbench(DATA, options.folder)
    base = base_of(bench, SEED)
    for number in different(base, options.architectures):
        path = options.folder / "fidelity" / f"{number}.json"
        with lock(path.with_suffix(".lock"), wait=False) as mine:
            if mine and not path.exists():
                store(path, found := run(bench, base, number))
                say(f"architecture {number}: {found}")


if __name__ == "__main__":
    main()
