"""The data, teachers and students of the table of gains, and how they are measured and stored.

Everything is in one folder: a detector's result is a JSON file, its weights are beside it, and what
is stored is not trained again. Several processes can share the folder.
"""

import fcntl
import json
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from benchmarks.gain_settings import (
    BATCH_SIZE,
    CLASSIFIER_EPOCHS,
    DATA,
    MAX_GRAD_NORM,
    RATE,
    STUDENT_EPOCHS,
    TEACHER_EPOCHS,
    TEST_SEED,
    TRAIN_SEED,
    WARMUP,
    Data,
    student,
    teacher,
)
from detection.adaptation.cost import adaptation_costs
from detection.adaptation.neck_levels import Pair
from detection.build import build_detector
from detection.crop_classifier import save
from detection.crop_classifier_training import ClassifierTraining
from detection.data.coco import CocoSplit
from detection.data.crops import CropSplit
from detection.data.shapes import make_shapes
from detection.data.views import FixedViews
from detection.measurement.bootstrap import resampled_ap
from detection.measurement.evaluation import predict, score
from detection.measurement.matches import match
from detection.training import Training
from searchd.domain.detector import Detector, Family
from searchd.domain.distillation_plan import STUDENT_NAME
from searchd.spec import DatasetSpec, SplitSpec, TrainingSpec
from searchd.spec.classifier import ClassifierSpec

LEARNERS = ("S", "M", "L")
"""Teachers among which orders and policies choose."""


@contextmanager
def lock(path: Path, *, wait: bool) -> Iterator[bool]:
    """Hold a lock, which ends with the process.

    Args:
        path: The lock's file, which stays.
        wait: Whether to wait for another process that holds it.

    Yields:
        Whether this process holds it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
        else:
            yield True


def store(path: Path, value: Any) -> None:
    """Write a JSON file, whole or not at all."""
    part = path.with_suffix(f".{os.getpid()}")
    part.write_text(json.dumps(value))
    part.rename(path)


def say(line: str) -> None:
    """Print a line with the time."""
    sys.stdout.write(f"{time.strftime('%H:%M:%S')} {line}\n")
    sys.stdout.flush()


def training_spec(data: Data, epochs: int, rate: float) -> TrainingSpec:
    """Return the settings of a training; those at `RATE` start from random weights."""
    return TrainingSpec(
        epochs=epochs,
        batch_size=BATCH_SIZE,
        learning_rate=rate,
        schedule="cosine",
        max_grad_norm=MAX_GRAD_NORM,
        warmup_iterations=WARMUP if rate == RATE else 0,
        resolutions=(data.resolution,),
    )


def splits(name: str, folder: Path, bccd: Path | None) -> Mapping[str, SplitSpec]:
    """Return the splits of a data set, which is drawn into the folder unless it is given.

    Raises:
        SystemExit: The data set is not drawn, and its folder was not given.
    """
    data = DATA[name]
    if data.num_train is not None:
        with lock(folder / "data.lock", wait=True):
            return _shapes(folder, data, data.num_train)
    if bccd is None:
        raise SystemExit(f"{name} is not drawn: give the folder of its COCO files by --bccd FOLDER")
    files = {"train": "train", "validation": "val", "test": "test"}
    return {
        split: SplitSpec(annotations=bccd / f"{file}.json", images=bccd / file)
        for split, file in files.items()
    }


def _shapes(folder: Path, data: Data, num_train: int) -> Mapping[str, SplitSpec]:
    drawn = _drawn(folder / "data", TRAIN_SEED, num_train, data.num_validation, data)
    test = _drawn(folder / "test", TEST_SEED, 1, data.num_test, data)
    return {"train": drawn.train, "validation": drawn.validation, "test": test.validation}


def _drawn(folder: Path, seed: int, train: int, validation: int, data: Data) -> DatasetSpec:
    spec = folder / "spec.json"
    if not spec.exists():
        drawn = make_shapes(
            folder.absolute(),
            seed=seed,
            num_train=train,
            num_validation=validation,
            image_size=data.resolution.width,
            num_classes=data.num_classes,
            difficulty=data.difficulty,
        )
        spec.write_text(drawn.model_dump_json())
    return DatasetSpec.model_validate_json(spec.read_text())


class Workbench:
    """One data set with its teachers, students and results.

    Attributes:
        data: The settings of the data set.
        folder: Where everything is stored.
        splits: train, validation and test.
    """

    def __init__(self, name: str, folder: Path, bccd: Path | None = None) -> None:
        """
        Args:
            name: The data set, a key of `DATA`.
            folder: Folder of all data sets.
            bccd: Folder of BCCD's COCO files; None unless it is used.

        Raises:
            SystemExit: See `splits`.
        """
        self.data, self.folder = DATA[name], folder / name
        self.folder.mkdir(parents=True, exist_ok=True)
        found = splits(name, self.folder, bccd)
        self.splits = {split: CocoSplit(spec) for split, spec in found.items()}

    @property
    def train(self) -> CocoSplit:
        return self.splits["train"]

    def teacher(self, name: str) -> Any:
        """Return a teacher, which is trained once, with seed 0."""
        found = teacher(name, self.data)
        return self.trained(f"teacher {name}", found, TEACHER_EPOCHS, 0)

    def student(self, family: Family, seed: int) -> Any:
        """Return a half-trained student, which is trained once."""
        found = student(family, self.data)
        return self.trained(f"{family}, seed {seed}", found, STUDENT_EPOCHS[family], seed)

    def trained(self, name: str, detector: Detector, epochs: int, seed: int) -> Any:
        """Return a detector that is trained once, without a teacher, and then stored."""
        torch.manual_seed(seed)
        model = build_detector(detector)
        with lock(self.folder / f"{name}.lock", wait=True):
            weights = self.folder / f"{name}.pt"
            if weights.exists():
                model.load_state_dict(torch.load(weights, weights_only=True))
                return model
            started = time.monotonic()
            training = Training(
                model, self.train, training_spec(self.data, epochs, RATE), seed=seed
            )
            for _ in training.run():
                pass
            self.stored(name, model, {}, started)
            torch.save(model.state_dict(), weights)
        return model

    def stored(
        self, name: str, model: Any, found: Mapping[str, Any], started: float
    ) -> dict[str, Any]:
        """Measure a detector, store the result and return it."""
        seconds = round(time.monotonic() - started)
        result = {**self.measured(model), **found, "seconds": seconds}
        store(self.folder / f"{name}.json", result)
        say(f"{self.folder.name} {name}: {result['test']:.1%} in {result['seconds']} s")
        return result

    def measured(self, model: Any) -> dict[str, Any]:
        """Return AP of validation and test images, and AP of each resample of the test images."""
        found = {split: self.detections(model, split) for split in ("validation", "test")}
        result: dict[str, Any] = {
            split: round(score(self.splits[split], each).ap, 5) for split, each in found.items()
        }
        resampled = resampled_ap(match(self.splits["test"], found["test"]))
        return result | {"resampled": [round(float(ap), 5) for ap in resampled]}

    def detections(self, model: Any, split: str) -> list[dict[str, Any]]:
        """Return the detections on all images of a split."""
        batches = predict(model, self.splits[split], self.data.resolution)
        return [detection for batch in batches for detection in batch]

    def validation_ap(self, model: Any) -> float:
        """Return AP of the validation images."""
        return score(self.splits["validation"], self.detections(model, "validation")).ap

    def classifier(self) -> str:
        """Return the folder of DICOD's crop classifier, which is trained once."""
        folder = self.folder / "classifier"
        with lock(self.folder / "classifier.lock", wait=True):
            if not folder.exists():
                make_classifier(CropSplit(self.train), folder, epochs=CLASSIFIER_EPOCHS)
        return str(folder)

    def costs(self, seed: int) -> dict[str, dict[str, float]]:
        """Return the adaptation costs among the teachers and from a student, measured once."""
        path = self.folder / f"costs, seed {seed}.json"
        if not path.exists():
            models = {name: self.teacher(name) for name in LEARNERS}
            models[STUDENT_NAME] = self.student(Family.FASTER_RCNN, seed)
            targets = [(a, b) for a in models for b in LEARNERS if a != b]
            store(path, self.costs_of(models, targets))
        return dict(json.loads(path.read_text()))

    def costs_of(
        self, models: Mapping[str, Any], pairs: Sequence[Pair]
    ) -> dict[str, dict[str, float]]:
        """Return adaptation costs as shares of the teacher's variance, costs[A][B]."""
        views = [
            FixedViews(
                split=self.splits[split],
                resolutions=dict.fromkeys(models, self.data.resolution),
                batch_size=BATCH_SIZE,
            )
            for split in ("train", "validation")
        ]
        return adaptation_costs(models, *views, pairs=pairs, normalize="target_var")


def make_classifier(crops: CropSplit, folder: Path, *, epochs: int) -> str:
    """Train a small crop classifier for DICOD's methods, and store it in the folder."""
    spec = ClassifierSpec(
        backbone="resnet18",
        base_channels=8,
        input_size=32,
        epochs=epochs,
        milestones=(),
        learning_rate=0.05,
        batch_size=32,
    )
    training = ClassifierTraining(spec, crops)
    for _ in training.run():
        pass
    save(training.classifier, str(folder), accuracy=None)
    return str(folder)
