"""`searchd detector evaluate`: AP of an exported file on a registered data set."""

import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from api.client import Client
from cli.errors import fail
from cli.output import (
    Format,
    FormatOption,
    percent,
    quiet_imports,
    show_json,
    show_rows,
)
from cli.progress import progress
from cli.resources.export_files import SourceArgument, ThreadsOption, located
from cli.service import URL, UrlOption
from searchd.domain.errors import InvalidValueError
from searchd.spec import SplitSpec

DatasetOption = Annotated[
    str,
    typer.Option(
        "--dataset",
        help="Name or id of the data set, which the service has checked. Its images are read on "
        "this machine.",
    ),
]
SplitOption = Annotated[
    Literal["validation", "test"],
    typer.Option("--split", help="Split of the data set to measure AP on: validation or test."),
]
ClassOption = Annotated[
    list[str] | None,
    typer.Option(
        "--class",
        metavar="DETECTOR=DATASET",
        help="Class of the detector and the class of the data set that it means, where their names "
        "differ. Repeat it for each. Without it, names must be equal.",
    ),
]
_SIZES = {
    "ap": "all",
    "ap50": "all, IoU 0.5",
    "ap70": "all, IoU 0.7",
    "ap75": "all, IoU 0.75",
    "ap90": "all, IoU 0.9",
    "ap_small": "small",
    "ap_medium": "medium",
    "ap_large": "large",
}
_MASKS = {"mask_ap": "masks of all", "mask_ap50": "masks of all, IoU 0.5"}
_RECALLS = {
    "ar1": "AR of all, 1 detection of an image and class",
    "ar10": "AR of all, 10 detections",
    "ar100": "AR of all, 100 detections",
    "ar_small": "AR of small",
    "ar_medium": "AR of medium",
    "ar_large": "AR of large",
}


def evaluate(
    source: SourceArgument,
    dataset: DatasetOption,
    split: SplitOption = "validation",
    classes: ClassOption = None,
    threads: ThreadsOption = 1,
    url: UrlOption = URL,
    output: FormatOption = Format.TABLE,
) -> None:
    """Measure the COCO AP and average recall of an exported file on a data set.

    The file runs in the runtime of its format.

    Every class of the data set must be one of the detector's, by its name or by --class. Classes of
    the detector that the data set does not have are left out.
    """
    named = dict(_pair(each) for each in classes or ())
    chosen = _split(url, dataset, split)
    with quiet_imports():
        # Imported here because they import torch, which other commands do not need.
        from detection.data.coco import CocoSplit
        from detection.deployment import evaluated
        from detection.deployment.opened import open_export
    with tempfile.TemporaryDirectory() as folder:
        opened = open_export(located(url, source, Path(folder)), num_threads=threads)
        images = CocoSplit(chosen)
        known = opened.request.class_names
        labels = evaluated.matched_classes(known, images.class_names, named)
        _tell_unused(known, labels)
        with progress("images", len(images)) as advance:
            found = evaluated.evaluate(opened, images, labels, advance)
    facts = {"export": source, "runtime": opened.runner.software, "dataset": dataset}
    _show(facts | {"split": split}, asdict(found), output)


def _pair(text: str) -> tuple[str, str]:
    ours, sign, theirs = text.partition("=")
    if not (ours and sign and theirs):
        raise InvalidValueError(f"--class {text} is not DETECTOR=DATASET, such as --class car=auto")
    return ours, theirs


def _split(url: str, reference: str, name: str) -> SplitSpec:
    """Return a split of a data set of the service."""
    with Client(url) as client:
        found = client.get_dataset(reference)
    if found.summary is None:
        raise fail(f"data set {found.name} is {found.status}: {found.status_reason}")
    splits = found.spec.as_checked(found.summary).splits
    if name not in splits:
        raise fail(
            f"data set {found.name} has no {name} split; it has {', '.join(splits)}. Give another "
            "--split"
        )
    return splits[name]


def _tell_unused(known: Sequence[str], labels: dict[int, int]) -> None:
    unused = [name for label, name in enumerate(known) if label not in labels]
    if unused:
        typer.echo(f"not in the data set, left out: {', '.join(unused)}", err=True)


def _show(facts: dict[str, str], found: dict[str, Any], output: Format) -> None:
    total, by_class = found["total"], found["by_class"]
    if output is Format.JSON:
        shown = {name: _known(ap) for name, ap in total.items()}
        by_name = {name: _known(ap) for name, ap in by_class.items()}
        show_json({**facts, "images": found["num_images"], **shown, "by_class": by_name})
        return
    rows = [(name, percent(_known(total[key]))) for key, name in _SIZES.items()]
    if total["mask_ap"] is not None:
        rows += [(name, percent(_known(total[key]))) for key, name in _MASKS.items()]
    rows += [(f"class {name}", percent(_known(ap))) for name, ap in by_class.items()]
    rows += [(name, percent(_known(total[key]))) for key, name in _RECALLS.items()]
    show_rows(("OBJECTS", f"AP OR AR % ON {found['num_images']} IMAGES"), rows)


def _known(ap: float | None) -> float | None:
    """Return an AP; None where it was not measured, or COCO has -1: there are no such objects."""
    return ap if ap is not None and ap >= 0 else None
