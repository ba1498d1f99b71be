"""Fine-tuning a checkpoint with 80 classes on a data set of a few, against training from scratch.

    python -m benchmarks.fine_tuning --data FOLDER [--seeds 0 1 2] [--epochs 24] [--folder ...]

The checkpoint is a Faster R-CNN trained here on `glyphs`: 80 printable characters in random places,
sizes and colours. It is stored as mmdet stores one, and goes the way of a user's `base.mmdet`:
read, checked, converted, its class layers replaced. Both arms then train on FOLDER with the same
batches and seeds, each with the learning rate that searchd recommends for it; AP on the validation
split is measured after every epoch. Results are JSON files in --folder, and repeating the command
trains only what is missing. Draws the AP curves.
"""

import argparse
import json
import random
import statistics
import string
import sys
from pathlib import Path
from typing import Any

import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from mmengine.logging import MMLogger
from PIL import Image, ImageDraw, ImageFont

from detection.build import Student, build_detector, load_student
from detection.class_transfer import with_classes
from detection.data.coco import CocoSplit
from detection.data.imports import import_dataset
from detection.measurement.evaluation import evaluate
from detection.mmdet.checkpoint_import import import_detector
from detection.mmdet.config import Normalisation, build_config, model_config
from detection.training import Training
from searchd.domain.detector import MmdetDetector
from searchd.domain.resolution import Resolution
from searchd.spec import DatasetImport, DatasetSpec, SplitSpec, TrainingSpec

CONFIG = "faster-rcnn_r50_fpn_1x_coco"
WIDTH = 16
OPTIONS: dict[str, Any] = {
    "backbone.depth": 18,
    "backbone.base_channels": WIDTH,
    "backbone.stem_channels": WIDTH,
    "neck.in_channels": [WIDTH, 2 * WIDTH, 4 * WIDTH, 8 * WIDTH],
    "neck.out_channels": 32,
    "rpn_head.in_channels": 32,
    "rpn_head.feat_channels": 32,
    "rpn_head.anchor_generator.scales": [4],
    "roi_head.bbox_roi_extractor.out_channels": 32,
    "roi_head.bbox_roi_extractor.finest_scale": 28,
    "roi_head.bbox_head.in_channels": 32,
    "roi_head.bbox_head.fc_out_channels": 128,
    "test_cfg.rpn.max_per_img": 100,
    "train_cfg.rcnn.sampler.num": 128,
}
"""A ResNet-18 with 16 channels, in mmdet's words."""
GLYPHS = (string.ascii_letters + string.digits + string.punctuation)[:80]
IMAGE = (160, 128)
ARMS = ("from scratch", "fine-tuned")


def say(text: str) -> None:
    """Print a line at once, also into a file."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def draw_glyphs(folder: Path, num_train: int, num_validation: int) -> DatasetSpec:
    """Draw the data set `glyphs`, unless it is there."""
    splits = {}
    for name, number, seed in (("train", num_train, 0), ("validation", num_validation, 1)):
        images, annotations = folder / name, folder / f"{name}.json"
        splits[name] = SplitSpec(annotations=annotations, images=images)
        if annotations.exists():
            continue
        images.mkdir(parents=True, exist_ok=True)
        draw = random.Random(seed)
        records: dict[str, list[dict[str, Any]]] = {"images": [], "annotations": []}
        for index in range(number):
            _draw_image(images, index, draw, records)
        categories = [{"id": n, "name": f"glyph {ord(g)}"} for n, g in enumerate(GLYPHS, start=1)]
        annotations.write_text(json.dumps({**records, "categories": categories}))
    return DatasetSpec(name="glyphs", **splits)


def _draw_image(
    folder: Path, index: int, draw: random.Random, records: dict[str, list[dict[str, Any]]]
) -> None:
    noise = Image.effect_noise((IMAGE[0] // 8, IMAGE[1] // 8), 60).resize(IMAGE)
    image = Image.merge("RGB", [noise.point(_shifted(draw.randint(-90, 90))) for _ in range(3)])
    canvas = ImageDraw.Draw(image)
    for _ in range(draw.randint(3, 9)):
        glyph = draw.randrange(len(GLYPHS))
        font = ImageFont.load_default(size=draw.randint(18, 60))
        at = (draw.randrange(IMAGE[0] - 12), draw.randrange(IMAGE[1] - 12))
        left, top, right, bottom = canvas.textbbox(at, GLYPHS[glyph], font=font)
        right, bottom = min(right, IMAGE[0]), min(bottom, IMAGE[1])
        if right - left < 4 or bottom - top < 4:
            continue
        colour = tuple(draw.randrange(256) for _ in range(3))
        canvas.text(at, GLYPHS[glyph], fill=colour, font=font)
        box = [left, top, right - left, bottom - top]
        number = len(records["annotations"]) + 1
        records["annotations"].append(
            {"id": number, "image_id": index + 1, "category_id": glyph + 1, "bbox": box}
        )
    name = f"{index:05}.jpg"
    image.save(folder / name, quality=90)
    records["images"].append(
        {"id": index + 1, "file_name": name, "width": IMAGE[0], "height": IMAGE[1]}
    )


def _shifted(by: int) -> list[int]:
    return [max(0, min(255, value + by)) for value in range(256)]


def training_spec(epochs: int, learning_rate: float) -> TrainingSpec:
    """Return the settings of all trainings; those of searchd's recommendation."""
    return TrainingSpec(
        epochs=epochs,
        batch_size=4,
        learning_rate=learning_rate,
        max_grad_norm=5,
        warmup_iterations=100,
        resolutions=(Resolution(*IMAGE),),
    )


def make_checkpoint(folder: Path, data: DatasetSpec, epochs: int) -> Path:
    """Train the detector with 80 classes and store it as mmdet does, unless it is there."""
    file = folder / "glyphs.pth"
    if file.exists():
        return file
    torch.manual_seed(0)
    config = model_config(MmdetDetector(config=CONFIG, num_classes=len(GLYPHS), options=OPTIONS))
    model = build_config(config)
    # mmengine lists the mean of every initialised parameter at level INFO.
    MMLogger.get_current_instance().setLevel("WARNING")
    model.init_weights()
    split = CocoSplit(data.train)
    started = folder / "random.pth"
    meta = {"dataset_meta": {"classes": split.class_names}}
    torch.save({"state_dict": model.state_dict(), "meta": meta}, started)
    student = import_detector(CONFIG, started, options=OPTIONS).student
    own = load_student(student)
    training = Training(own, split, training_spec(epochs, 0.02), seed=0)
    for at in training.run():
        if at.finished_epoch:
            say(f"glyphs: epoch {at.epoch}, loss {at.finished_epoch.losses['loss']:.3f}")
    found = evaluate(own, CocoSplit(data.validation), Resolution(*IMAGE))
    say(f"glyphs: AP {100 * found.ap:.1f} with 80 classes")
    torch.save({"state_dict": _as_mmdet(own.state_dict()), "meta": meta}, file)
    (folder / "glyphs.json").write_text(json.dumps({"ap": found.ap, "epochs": epochs}))
    return file


def _as_mmdet(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Undo the folding of the input normalisation: mmdet's config has BGR or RGB of its own."""
    config = model_config(MmdetDetector(config=CONFIG, num_classes=len(GLYPHS), options=OPTIONS))
    normalisation = Normalisation.of(config["data_preprocessor"], CONFIG)
    first = "backbone.conv1.weight"
    weights = dict(weights)
    scale = torch.tensor(normalisation.scale)[:, None, None]
    weights[first] = weights[first][:, list(normalisation.order)] / scale
    return weights


def run_arm(arm: str, checkpoint: Path, data: DatasetSpec, epochs: int, seed: int) -> list[float]:
    """Train one arm and return its AP after every epoch."""
    torch.manual_seed(seed)
    split, validation = CocoSplit(data.train), CocoSplit(data.validation)
    imported = import_detector(CONFIG, checkpoint, options=OPTIONS)
    moved = with_classes(imported.student, imported.class_names, split.class_names)
    for note in moved.notes:
        say(f"  {note}")
    student = moved.student
    if arm == "from scratch":
        model = build_detector(student.detector)
        student = Student(detector=student.detector, weights=model.state_dict())
    model = load_student(student)
    rate = 0.02 if arm == "from scratch" else 0.005
    training = Training(model, split, training_spec(epochs, rate), seed=seed)
    curve = []
    for at in training.run():
        if at.finished_epoch:
            curve.append(evaluate(model, validation, Resolution(*IMAGE)).ap)
            say(f"{arm}, seed {seed}: epoch {at.epoch}, AP {100 * curve[-1]:.1f}")
    return curve


def plot(curves: dict[str, list[list[float]]], target: Path, title: str) -> None:
    """Draw mean AP by epoch, and the range over the seeds."""
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for (arm, found), colour in zip(curves.items(), ("tab:orange", "tab:blue"), strict=True):
        epochs = range(1, len(found[0]) + 1)
        by_epoch = [[100 * ap for ap in each] for each in zip(*found, strict=True)]
        axes.plot(epochs, [statistics.mean(aps) for aps in by_epoch], color=colour, label=arm)
        axes.fill_between(
            epochs, [min(a) for a in by_epoch], [max(a) for a in by_epoch], color=colour, alpha=0.2
        )
    axes.set(xlabel="epoch", ylabel="AP on validation (%)", title=title)
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(target, dpi=130)


def main() -> None:
    """Run what is missing, print the table, and draw the curves."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--data",
        type=Path,
        required=True,
        help="data set, as for `searchd dataset check`",
    )
    parser.add_argument("--folder", type=Path, default=Path("fine-tuning"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=24)
    parser.add_argument("--glyph-epochs", type=int, default=20)
    parser.add_argument("--glyph-images", type=int, default=2000)
    options = parser.parse_args()
    folder = options.folder.absolute()
    torch.set_num_threads(1)
    glyphs = draw_glyphs(folder / "glyphs", options.glyph_images, 100)
    checkpoint = make_checkpoint(folder, glyphs, options.glyph_epochs)
    source = DatasetImport(name="data", paths=(options.data.absolute(),))
    data = source.stored_below(str(folder))
    assert data.source is not None  # of every import
    import_dataset(data, data.source)
    curves: dict[str, list[list[float]]] = {arm: [] for arm in ARMS}
    for seed in options.seeds:
        for arm in ARMS:
            file = folder / f"{arm.replace(' ', '-')}-{options.epochs}-{seed}.json"
            if not file.exists():
                file.write_text(json.dumps(run_arm(arm, checkpoint, data, options.epochs, seed)))
            curves[arm].append(json.loads(file.read_text()))
    for arm, found in curves.items():
        last = [100 * curve[-1] for curve in found]
        spread = statistics.stdev(last) if len(last) > 1 else 0.0
        say(f"{arm:13} AP {statistics.mean(last):.1f} +- {spread:.1f} over {len(last)} seeds")
    plot(curves, folder / "fine-tuning.png", f"{options.data.name}: 80 classes to a few")


if __name__ == "__main__":
    main()
