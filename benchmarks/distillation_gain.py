"""The gain of each distillation method on `shapes`: AP of students that differ in it alone.

    python -m benchmarks.distillation_gain [--student faster_rcnn] [--seeds 0] [--device cpu] ...

One teacher per run. Every arm trains the student from the same random weights, on the same batches,
for the same number of iterations, with the published weights of its methods; only the methods
differ. Results are appended to a file in --folder, and repeating the command skips the arms in it.
Prints a table of the mean AP and, with several seeds, its standard deviation.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

from benchmarks.paired_runs import arms, detector, make_classifier
from detection.build import build_detector
from detection.data.coco import CocoSplit
from detection.data.crops import CropSplit
from detection.data.shapes import make_shapes
from detection.distillation.distiller import Distiller, pair_of
from detection.measurement.evaluation import evaluate
from detection.training import Training
from searchd.domain.detector import Family
from searchd.domain.resolution import Resolution
from searchd.spec import DatasetSpec, MethodSpec, TrainingSpec

STUDENT_CHANNELS, TEACHER_CHANNELS = 6, 18
PLAIN = "no distillation"


def training_spec(options: argparse.Namespace, epochs: int) -> TrainingSpec:
    return TrainingSpec(
        epochs=epochs,
        batch_size=8,
        learning_rate=options.learning_rate,
        max_grad_norm=options.max_grad_norm,
        warmup_iterations=60,
        resolutions=(Resolution(options.size, options.size),),
    )


def train_teacher(options: argparse.Namespace, data: DatasetSpec) -> dict[str, float]:
    """Train the teacher, store its weights in the folder, and return its AP. A stored teacher is
    not trained again."""
    weights, card = options.folder / "teacher.pt", options.folder / "teacher.json"
    if not card.exists():
        torch.manual_seed(0)
        model = build_detector(detector(Family.FASTER_RCNN, TEACHER_CHANNELS))
        found = _train(model, data, training_spec(options, options.teacher_epochs), 0, options, ())
        torch.save(model.cpu().state_dict(), weights)
        card.write_text(json.dumps(found))
    found = json.loads(card.read_text())
    return dict(found)


def run_arm(
    options: argparse.Namespace, data: DatasetSpec, methods: Sequence[MethodSpec], seed: int
) -> dict[str, float]:
    """Train a student by these methods and return its AP."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    model = build_detector(detector(options.student, STUDENT_CHANNELS))
    return _train(model, data, training_spec(options, options.epochs), seed, options, methods)


def _train(
    model: Any,
    data: DatasetSpec,
    spec: TrainingSpec,
    seed: int,
    options: argparse.Namespace,
    methods: Sequence[MethodSpec],
) -> dict[str, float]:
    split = CocoSplit(data.train)
    distiller = None
    if methods:
        teacher = build_detector(detector(Family.FASTER_RCNN, TEACHER_CHANNELS))
        teacher.load_state_dict(torch.load(options.folder / "teacher.pt", weights_only=True))
        distiller = Distiller(methods, teacher, pair_of(model, teacher, split))
    started = time.monotonic()
    training = Training(model, split, spec, seed=seed, distiller=distiller, device=options.device)
    for _ in training.run():
        pass
    seconds = time.monotonic() - started
    size = Resolution(options.size, options.size)
    found = evaluate(model, CocoSplit(data.validation), size, device=options.device)
    return {"ap": found.ap, "ap50": found.ap50, "ap75": found.ap75, "seconds": round(seconds, 1)}


def main() -> None:
    options = _parse()
    options.folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    data = make_shapes(
        options.folder / "shapes",
        num_train=options.images,
        num_validation=128,
        image_size=options.size,
    )
    sys.stderr.write("teacher ...\n")
    teacher = train_teacher(options, data)
    classifier = options.folder / "classifier"
    if not classifier.exists():
        make_classifier(CropSplit(CocoSplit(data.train)), classifier, epochs=20)
    iterations = options.epochs * options.images // 8
    chosen: dict[str, tuple[MethodSpec, ...]] = {
        PLAIN: (),
        **arms(
            detector(options.student, STUDENT_CHANNELS),
            detector(Family.FASTER_RCNN, TEACHER_CHANNELS),
            str(classifier),
            iterations,
        ),
    }
    results = _run_all(options, data, chosen)
    sys.stdout.write(table(options, teacher, results) + "\n")


def _run_all(
    options: argparse.Namespace, data: DatasetSpec, chosen: dict[str, tuple[MethodSpec, ...]]
) -> dict[str, dict[int, dict[str, float]]]:
    out = options.folder / f"{options.student}.jsonl"
    results: dict[str, dict[int, dict[str, float]]] = {name: {} for name in chosen}
    for line in out.read_text().splitlines() if out.exists() else ():
        record = json.loads(line)
        results.setdefault(record["arm"], {})[record["seed"]] = record["result"]
    with ProcessPoolExecutor(options.workers, mp_context=get_context("spawn")) as executor:
        runs = {
            executor.submit(run_arm, options, data, methods, seed): (name, seed)
            for seed in options.seeds
            for name, methods in chosen.items()
            if seed not in results[name]
        }
        for run in as_completed(runs):
            name, seed = runs[run]
            results[name][seed] = run.result()
            sys.stderr.write(f"{name}, seed {seed}: {results[name][seed]}\n")
            with out.open("a") as lines:
                record = {"arm": name, "seed": seed, "result": results[name][seed]}
                lines.write(json.dumps(record) + "\n")
    return results


def table(
    options: argparse.Namespace,
    teacher: dict[str, float],
    results: dict[str, dict[int, dict[str, float]]],
) -> str:
    """Return the results as a Markdown table, in the order of the arms."""
    plain = _mean(results[PLAIN], "ap")
    lines = [
        f"Student {options.student}, {options.size} px, {options.epochs} epochs of "
        f"{options.images} images, seeds {' '.join(map(str, options.seeds))}; teacher AP "
        f"{100 * teacher['ap']:.1f}.",
        "",
        "| distilled by | AP % | gain | AP50 % | AP75 % |",
        "|---|---|---|---|---|",
    ]
    for name, seeds in results.items():
        aps = [100 * result["ap"] for result in seeds.values()]
        spread = f" ± {statistics.stdev(aps):.1f}" if len(aps) > 1 else ""
        gain = 100 * (_mean(seeds, "ap") - plain)
        lines.append(
            f"| {name} | {statistics.mean(aps):.1f}{spread} | {gain:+.1f} | "
            f"{100 * _mean(seeds, 'ap50'):.1f} | {100 * _mean(seeds, 'ap75'):.1f} |"
        )
    return "\n".join(lines)


def _mean(seeds: dict[int, dict[str, float]], metric: str) -> float:
    return statistics.mean(result[metric] for result in seeds.values())


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    family, folder = Family.FASTER_RCNN, Path("distillation-gain")
    add(
        "--student",
        type=Family,
        choices=list(Family),
        default=family,
        help="detector family of the student",
    )
    add("--folder", type=Path, default=folder, help="folder for data, teacher and results")
    add("--seeds", type=int, nargs="+", default=[0], help="seeds, each of which trains every arm")
    add("--size", type=int, default=96, help="width and height of the images in pixels")
    add("--images", type=int, default=256, help="number of training images")
    add("--epochs", type=int, default=16, help="number of epochs that each student is trained")
    add(
        "--teacher-epochs",
        type=int,
        default=48,
        help="number of epochs that the teacher is trained",
    )
    add(
        "--learning-rate",
        type=float,
        default=0.05,
        help="learning rate of students and teacher (SGD)",
    )
    add("--max-grad-norm", type=float, default=5.0, help="gradients are clipped to this L2 norm")
    add("--device", default="cpu", help="device to train on: cpu or cuda")
    add("--workers", type=int, default=1, help="number of arms trained at the same time")
    return parser.parse_args()


if __name__ == "__main__":
    main()
