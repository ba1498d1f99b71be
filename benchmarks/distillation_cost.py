"""The cost of each distillation method: the time of a distilled step over that of a plain step.

    python -m benchmarks.distillation_cost [--student FAMILY] [--teacher FAMILY] [--rounds 5]
        [--only NAME ...]

Both sides take real steps of `detection.training` on the same images of `shapes` in one thread.
Rounds alternate, since the speed of the machine drifts, and the median of the ratios of all rounds
is reported. A distilled step includes the forward pass of the teacher, which methods share, so the
last lines are combinations. Prints JSON.
"""

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from benchmarks.gain_bench import make_classifier
from benchmarks.paired_runs import arms, detector
from benchmarks.training_step import ratios
from detection.build import build_detector
from detection.data.coco import CocoSplit
from detection.data.crops import CropSplit
from detection.data.shapes import make_shapes
from detection.distillation.distiller import Distiller, pair_of
from detection.training import Training
from searchd.domain.detector import Family
from searchd.domain.resolution import Resolution
from searchd.spec import MethodSpec, TrainingSpec

SIZE = Resolution(96, 96)
STUDENT_CHANNELS, TEACHER_CHANNELS = 16, 32
SPEC = TrainingSpec(epochs=10_000, batch_size=8, resolutions=(SIZE,))


def steps(
    split: CocoSplit, family: Family, taught_by: Family, methods: Sequence[MethodSpec] | None
) -> Callable[[], object]:
    """Return a function that takes one training step, without a teacher if `methods` is None."""
    torch.manual_seed(0)
    model = build_detector(detector(family, STUDENT_CHANNELS))
    distiller = None
    if methods is not None:
        teacher = build_detector(detector(taught_by, TEACHER_CHANNELS))
        distiller = Distiller(methods, teacher, pair_of(model, teacher, split))
    run = Training(model, split, SPEC, seed=0, distiller=distiller).run()
    return lambda: next(run)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--student",
        type=Family,
        choices=list(Family),
        default=Family.FASTER_RCNN,
        help="detector family of the student",
    )
    parser.add_argument(
        "--teacher",
        type=Family,
        choices=list(Family),
        default=Family.FASTER_RCNN,
        help="detector family of the teacher",
    )
    parser.add_argument("--rounds", type=int, default=5, help="number of rounds per method")
    parser.add_argument("--only", nargs="*", help="names of the methods to measure; default: all")
    options = parser.parse_args()
    torch.set_num_threads(1)
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        split = CocoSplit(make_shapes(Path(folder), num_train=64, num_validation=4).train)
        classifier = make_classifier(CropSplit(split), Path(folder) / "classifier", epochs=1)
        chosen = arms(
            detector(options.student, STUDENT_CHANNELS),
            detector(options.teacher, TEACHER_CHANNELS),
            classifier,
            num_iterations=0,  # without warm-up: the complete method is measured
        )
        plain = steps(split, options.student, options.teacher, None)
        for name, methods in chosen.items():
            if options.only and name not in options.only:
                continue
            sys.stderr.write(f"{name} ...\n")
            taught = steps(split, options.student, options.teacher, methods)
            measured = ratios(taught, plain, options.rounds)
            found[name] = round(statistics.median(measured), 2)
    sys.stdout.write(json.dumps({"student": options.student, "step_over_plain": found}, indent=2))
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
