"""Weight, adapter start and normalisation of the feature losses, and of Joint-DetNAS's three.

    python -m benchmarks.method_weights [--folder DIR] [--seeds 0 1 2] [--group NAME ...]

Each arm trains a half-trained student for one short trial under a clearly better teacher, on the
same batches; only methods, weights, `start` and `normalise` differ. Arms are compared on seed
`CHOOSING_SEED` by the validation split, and the choice is judged on the other seeds by the test
split, which chose nothing. Each arm is a JSON file in the folder: repeating the command resumes.
Prints a table of all arms that are done.
"""

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.paired_runs import detector
from detection.build import build_detector
from detection.data.coco import CocoSplit
from detection.data.shapes import make_shapes
from detection.distillation.distiller import Distiller, pair_of
from detection.measurement.evaluation import evaluate
from detection.training import Training
from searchd.domain.detector import Detector, Family
from searchd.domain.distillation_methods import MethodName
from searchd.domain.resolution import Resolution
from searchd.spec import DatasetSpec, MethodSpec, SplitSpec, TrainingSpec

# --- Settings, registered before the first run -------------------------------------------------

CHOOSING_SEED = 0
"""Seed whose validation AP chooses among the arms. Seeds 1 and 2 judge."""
SIZE, DIFFICULTY = 96, 0.5
"""Image side in pixels, and difficulty of `shapes`: the hard variant."""
TRAIN_SEED, TEST_SEED = 11, 12
"""Seeds of the data. Train and validation images are drawn by the first, test images by the
second."""
TRAIN_IMAGES, VALIDATION_IMAGES, TEST_IMAGES = 256, 128, 384
TEACHER_EPOCHS, STUDENT_EPOCHS = 40, 24
"""Training of the teacher, and of a student before it is taught (half-trained)."""
LENGTHS = {"trial": (3, 0.01), "stage": (8, 0.02)}
"""Epochs and learning rate of an arm: as a trial of the demo, and as a stage of a distillation."""
TEACHER = replace(detector(Family.FASTER_RCNN, 16), neck_channels=32)
STUDENTS = {
    family: replace(detector(family, 6), neck_channels=16)
    for family in (Family.FASTER_RCNN, Family.RETINANET)
}
BATCH_SIZE, RATE, MAX_GRAD_NORM = 8, 0.05, 5.0
"""As in the demo. The rate is that of teacher and student."""

SHIPPED, FITTED = {"start": "random", "normalise": "none"}, {"start": "least_squares"}
RAW = FITTED | {"normalise": "none"}
SCALED = FITTED | {"normalise": "teacher_variance"}
Arm = tuple[tuple[MethodName, float, Mapping[str, str]], ...]


def _feature(name: MethodName, weights: Mapping[str, tuple[float, ...]]) -> dict[str, Arm]:
    kinds = {"random": SHIPPED, "fitted": RAW, "fitted, scaled": SCALED}
    return {
        f"{name} {weight:g} {kind}": ((name, weight, kinds[kind]),)
        for kind, each in weights.items()
        for weight in each
    }


def _joint(feature: float, scores: float, options: Mapping[str, str]) -> Arm:
    return (
        (MethodName.PROPOSAL_FEATURE, feature, options),
        (MethodName.CLASSIFICATION, scores, {}),
        (MethodName.CLASS_AWARE_LOCALISATION, scores, {}),
    )


GROUPS: dict[str, dict[str, Arm]] = {
    "none": {"no teacher": ()},
    "feature_matching": _feature(
        MethodName.FEATURE_MATCHING,
        {"random": (0.5, 0.8, 5), "fitted": (0.8, 5), "fitted, scaled": (0.3, 1, 3)},
    ),
    "joint": {
        "joint 0.1, 0.3, 0.3 random": _joint(0.1, 0.3, SHIPPED),
        "joint 0.1, 0.3, 0.3 fitted": _joint(0.1, 0.3, RAW),
        "joint 1, 1, 1 random": _joint(1, 1, SHIPPED),
        "joint 1, 1, 1 fitted": _joint(1, 1, RAW),
        "joint 5, 1, 1 fitted": _joint(5, 1, RAW),
        "joint 1, 1, 1 fitted, scaled": _joint(1, 1, SCALED),
    },
    "proposal_feature": _feature(
        MethodName.PROPOSAL_FEATURE,
        {"random": (0.1, 1), "fitted": (0.1, 1, 5), "fitted, scaled": (0.3, 1, 3)},
    ),
    "feature_imitation": _feature(
        MethodName.FEATURE_IMITATION,
        {"random": (1,), "fitted": (0.3, 1), "fitted, scaled": (0.03, 0.1)},
    ),
}
JUDGED = (
    "no teacher",
    "feature_matching 0.8 random",
    "feature_matching 5 fitted",
    "feature_matching 1 fitted, scaled",
    "joint 0.1, 0.3, 0.3 random",
    "joint 1, 1, 1 fitted",
    "joint 1, 1, 1 fitted, scaled",
    "joint 1, 1, 1 random",
    "proposal_feature 1 random",
    "proposal_feature 1 fitted",
    "proposal_feature 1 fitted, scaled",
    "feature_imitation 1 random",
    "feature_imitation 1 fitted",
    "feature_imitation 0.1 fitted, scaled",
)
"""Arms that the other seeds train too, in this order; --judge adds more."""

# -----------------------------------------------------------------------------------------------


def _training(epochs: int, rate: float) -> TrainingSpec:
    return TrainingSpec(
        epochs=epochs,
        batch_size=BATCH_SIZE,
        learning_rate=rate,
        schedule="cosine",
        max_grad_norm=MAX_GRAD_NORM,
        warmup_iterations=60 if rate == RATE else 0,
        resolutions=(Resolution(SIZE, SIZE),),
    )


class Benchmark:
    """The data, the teacher, the students and the results, all in one folder."""

    def __init__(self, folder: Path, family: Family = Family.FASTER_RCNN) -> None:
        self.folder, self._student = folder, STUDENTS[family]
        self.prefix = "" if family is Family.FASTER_RCNN else f"{family} "
        data = self._shapes("data", TRAIN_SEED, TRAIN_IMAGES, VALIDATION_IMAGES)
        self.train = CocoSplit(data.train)
        test = self._shapes("test", TEST_SEED, 1, TEST_IMAGES)
        self.splits: dict[str, SplitSpec] = {
            "validation": data.validation,
            "test": test.validation,
        }

    def _shapes(self, name: str, seed: int, train: int, validation: int) -> DatasetSpec:
        folder = self.folder / name
        spec = folder / "spec.json"
        if spec.exists():
            return DatasetSpec.model_validate_json(spec.read_text())
        drawn = make_shapes(
            folder,
            seed=seed,
            num_train=train,
            num_validation=validation,
            image_size=SIZE,
            difficulty=DIFFICULTY,
        )
        spec.write_text(drawn.model_dump_json())
        return drawn

    def trained(self, name: str, detector: Detector, epochs: int, seed: int) -> Any:
        """Return a detector that is trained once, without a teacher, and then stored."""
        weights = self.folder / f"{name}.pt"
        torch.manual_seed(seed)
        model = build_detector(detector)
        if weights.exists():
            model.load_state_dict(torch.load(weights, weights_only=True))
            return model
        started = time.monotonic()
        for _ in Training(model, self.train, _training(epochs, RATE), seed=seed).run():
            pass
        found = self._measured(model) | {"seconds": round(time.monotonic() - started)}
        _store(self.folder / f"{name}.json", found)
        torch.save(model.state_dict(), weights)
        _say(f"{name}: {found}")
        return model

    def run(self, name: str, arm: Arm, seed: int, length: str) -> None:
        """Train an arm, unless it has a result."""
        out = self.folder / f"{self.prefix}{length} {name}, seed {seed}.json"
        if out.exists():
            return
        started = time.monotonic()
        model = self.student(seed)
        distiller = None
        if arm:
            torch.manual_seed(seed)
            teacher = self.teacher()
            methods = tuple(
                MethodSpec(name=method, weight=weight, options=dict(options))
                for method, weight, options in arm
            )
            distiller = Distiller(methods, teacher, pair_of(model, teacher, self.train))
        spec = _training(*LENGTHS[length])
        training = Training(model, self.train, spec, seed=seed + 100, distiller=distiller)
        for _ in training.run():
            pass
        found = self._measured(model) | {
            "arm": name,
            "seed": seed,
            "losses": training.epochs[-1].losses,
            "seconds": round(time.monotonic() - started),
        }
        _store(out, found)
        _say(f"{name}, seed {seed}: {found['validation']:.1%} {found['test']:.1%}")

    def teacher(self) -> Any:
        return self.trained("teacher", TEACHER, TEACHER_EPOCHS, CHOOSING_SEED)

    def student(self, seed: int) -> Any:
        return self.trained(f"{self.prefix}student-{seed}", self._student, STUDENT_EPOCHS, seed)

    def results(self, length: str) -> dict[str, dict[int, dict[str, Any]]]:
        """Return what was measured, by arm and seed."""
        found: dict[str, dict[int, dict[str, Any]]] = {}
        for file in sorted(self.folder.glob(f"{self.prefix}{length} *.json")):
            result = json.loads(file.read_text())
            found.setdefault(result["arm"], {})[result["seed"]] = result
        return found

    def _measured(self, model: Any) -> dict[str, Any]:
        size = Resolution(SIZE, SIZE)
        return {
            name: evaluate(model, CocoSplit(split), size).ap for name, split in self.splits.items()
        }


def table(benchmark: Benchmark, length: str) -> Iterator[str]:
    """Yield the results as a Markdown table, in the order of the arms."""
    results = benchmark.results(length)
    for name in ("teacher", *(f"{benchmark.prefix}student-{seed}" for seed in (0, 1, 2))):
        card = benchmark.folder / f"{name}.json"
        if card.exists():
            found = json.loads(card.read_text())
            yield f"{name}: validation {found['validation']:.1%}, test {found['test']:.1%}"
    yield ""
    yield "| arm | 0, validation | 0, test | 1, test | 2, test | mean gain |"
    yield "|---|---|---|---|---|---|"
    plain = results.get("no teacher", {})
    for name in (name for group in GROUPS.values() for name in group):
        of_arm = results.get(name, {})
        cells = [_cell(of_arm.get(0), "validation")]
        cells += [_cell(of_arm.get(seed), "test") for seed in (0, 1, 2)]
        gains = [of_arm[s]["test"] - plain[s]["test"] for s in (1, 2) if s in of_arm and s in plain]
        mean = f"{100 * statistics.mean(gains):+.1f}" if gains else "-"
        yield f"| {name} | {' | '.join(cells)} | {mean} |"
    yield "Columns are seeds. The mean gain is on test, over what was run of seeds 1 and 2."


def _cell(result: Mapping[str, Any] | None, split: str) -> str:
    return "-" if result is None else f"{100 * result[split]:.1f}"


def _store(path: Path, value: Mapping[str, Any]) -> None:
    part = path.with_suffix(f".{os.getpid()}")
    part.write_text(json.dumps(value, indent=1))
    part.rename(path)


def _say(line: str) -> None:
    sys.stdout.write(f"{time.strftime('%H:%M:%S')} {line}\n")
    sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--folder", type=Path, default=Path("method-weights"), help="folder for data and results")
    add(
        "--seeds",
        type=int,
        nargs="+",
        default=[0, 1, 2],
        help="seeds that each arm trains",
    )
    add(
        "--group",
        nargs="+",
        choices=list(GROUPS),
        default=list(GROUPS),
        help="groups of arms",
    )
    family = Family.FASTER_RCNN
    add(
        "--student",
        type=Family,
        choices=list(STUDENTS),
        default=family,
        help="student's family",
    )
    add("--arms", nargs="+", help="arms to train, in this order; default: by group")
    add(
        "--length",
        choices=list(LENGTHS),
        default="trial",
        help="length of every training",
    )
    add("--judge", nargs="*", default=[], help="further arms for the seeds that judge")
    add("--prepare", action="store_true", help="train only the teacher and the students")
    add("--table", action="store_true", help="train nothing; print what is done")
    options = parser.parse_args()
    torch.set_num_threads(1)
    benchmark = Benchmark(options.folder, options.student)
    if options.prepare:
        for seed in options.seeds:
            benchmark.student(seed)
        benchmark.teacher()
    elif not options.table:
        arms = {name: arm for group in options.group for name, arm in GROUPS[group].items()}
        for seed in options.seeds:
            chosen = list(arms) if seed == CHOOSING_SEED else [*JUDGED, *options.judge]
            for name in options.arms or (name for name in chosen if name in arms):
                benchmark.run(name, arms[name], seed, options.length)
    for line in table(benchmark, options.length):
        sys.stdout.write(f"{line}\n")


if __name__ == "__main__":
    main()
