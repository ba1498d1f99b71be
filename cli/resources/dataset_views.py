"""What commands show of a registered data set: its check, statistics and sample images."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from api.client import Client
from api.schemas import Dataset
from cli.errors import fail
from cli.output import Format, FormatOption, show_json, show_one
from cli.resources.dataset_check import show_statistics
from cli.service import URL, UrlOption
from searchd.domain.lifecycle import DatasetStatus
from searchd.spec import SPLITS, DatasetSpec

DatasetArgument = Annotated[str, typer.Argument(help="Name or id of the data set.")]


def statistics(
    dataset: DatasetArgument, url: UrlOption = URL, output: FormatOption = Format.TABLE
) -> None:
    """Show the statistics of a checked data set.

    Objects by class and split, sizes and aspect ratios of boxes, sizes of images, duplicates.
    """
    with Client(url) as client:
        found = client.dataset_statistics(dataset)
    if output is Format.JSON:
        show_json(found.model_dump(mode="json"))
        return
    show_statistics(found.model_dump(), output)
    for name, count in found.duplicates.items() if output is Format.TABLE else ():
        typer.echo(f"images {name.replace('_', ' ')}: {count}")


def samples(
    dataset: DatasetArgument,
    folder: Annotated[
        Path,
        typer.Option(
            "--output",
            file_okay=False,
            help="Folder to write the drawings into. It is made if it is missing.",
        ),
    ],
    max_side: Annotated[
        int,
        typer.Option(
            min=64,
            max=2048,
            help="Largest width and height of a drawing, in pixels; larger images are made "
            "smaller.",
        ),
    ] = 800,
    url: UrlOption = URL,
) -> None:
    """Draw some images of each split with their boxes and class names, as JPEG files.

    Look at them once: boxes in the wrong place are seen at a glance.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with Client(url) as client:
        for sample in client.dataset_samples(dataset):
            target = folder / f"{sample.split}-{sample.number}.jpg"
            target.write_bytes(
                client.draw_dataset_sample(dataset, sample.number, max_side=max_side)
            )
            typer.echo(f"{target}: {sample.num_objects} objects of {sample.path}")


def show_checked(dataset: Dataset, output: Format) -> None:
    """Show a data set after its check.

    Raises:
        typer.Exit: It was refused.
    """
    if dataset.status is not DatasetStatus.FAILED or output is Format.JSON:
        show_dataset(dataset, output)
    if dataset.status is DatasetStatus.FAILED:
        raise fail(f"data set {dataset.name} was refused: {dataset.status_reason}")


def _source(spec: DatasetSpec) -> str | None:
    if spec.shared is not None and spec.shared.images is not None:
        return spec.shared.images
    return ", ".join(map(str, spec.source.paths)) if spec.source else None


def show_dataset(dataset: Dataset, output: Format) -> None:
    """Show a data set and what its last check found."""
    found, spec = dataset.summary or {}, dataset.spec
    rows = {
        "name": dataset.name,
        "id": dataset.id,
        "status": dataset.status,
        "reason": dataset.status_reason,
        "source": _source(spec),
        **{name: _split(found.get(name)) for name in SPLITS},
        **{f"{name} file": split.annotations for name, split in spec.splits.items()},
        "classes": ", ".join(found.get("class_names", ())) or None,
        "repairs": "\n".join(found.get("repairs", ())) or None,
        "warnings": "\n".join(found.get("warnings", ())) or None,
    }
    show_one(dataset, {name: value for name, value in rows.items() if value is not None}, output)


def _split(counts: Mapping[str, Any] | None) -> str | None:
    """Return the counts of a split in words."""
    if counts is None:
        return None
    parts = [f"{counts['num_images']} images", f"{counts['num_annotations']} annotations"]
    if counts["num_empty_boxes"]:
        parts.append(f"{counts['num_empty_boxes']} left out")
    if counts.get("left_out"):
        parts.append(f"{len(counts['left_out'])} unreadable images left out")
    return ", ".join(parts)
