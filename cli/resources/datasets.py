"""`searchd dataset`: register and list data sets, and draw synthetic ones."""

from pathlib import Path
from typing import Annotated, Any

import typer

from api.client import Client
from api.schemas import Dataset
from cli.errors import fail
from cli.output import Format, FormatOption, show_json, show_list, show_one
from cli.resources import dataset_check
from cli.service import STATUS_HELP, URL, KeyOption, UrlOption
from searchd.domain.lifecycle import DatasetStatus
from searchd.spec import DatasetSpec, SplitSpec

app = typer.Typer(
    no_args_is_help=True, help="Data sets in COCO format, on which detectors are trained."
)
app.command()(dataset_check.check)


def _annotations(split: str) -> Any:
    return typer.Option(
        exists=True, dir_okay=False, help=f"COCO instances file (JSON) of the {split} split."
    )


def _images(split: str) -> Any:
    return typer.Option(
        exists=True, file_okay=False, help=f"Folder with the images of the {split} split."
    )


@app.command()
def add(
    name: Annotated[
        str, typer.Argument(help="Name of the data set, by which pools and searches refer to it.")
    ],
    train_annotations: Annotated[Path, _annotations("train")],
    train_images: Annotated[Path, _images("train")],
    validation_annotations: Annotated[Path, _annotations("validation")],
    validation_images: Annotated[Path, _images("validation")],
    wait: Annotated[bool, typer.Option(help="Whether to wait until the files are checked.")] = True,
    key: KeyOption = None,
    url: UrlOption = URL,
    output: FormatOption = Format.TABLE,
) -> None:
    """Register a data set and check its files.

    Every worker of the cluster must be able to read the paths.
    """
    spec = DatasetSpec(
        name=name,
        train=SplitSpec(annotations=train_annotations.absolute(), images=train_images.absolute()),
        validation=SplitSpec(
            annotations=validation_annotations.absolute(), images=validation_images.absolute()
        ),
    )
    with Client(url) as client:
        dataset = client.create_dataset(spec, key=key)
        if wait:
            dataset = client.wait_for_dataset(dataset.id)
    _show(dataset, output)
    if dataset.status is DatasetStatus.FAILED:
        raise fail(f"data set {name} was refused: {dataset.status_reason}")


@app.command("list")
def list_datasets(
    status: Annotated[DatasetStatus | None, typer.Option(help=STATUS_HELP)] = None,
    url: UrlOption = URL,
    output: FormatOption = Format.TABLE,
) -> None:
    """List data sets, newest first."""
    filters = {"status": status.value} if status else {}
    columns = {
        "NAME": lambda d: d.name,
        "ID": lambda d: d.id,
        "STATUS": lambda d: d.status,
        "REASON": lambda d: d.status_reason,
        "ADDED": lambda d: d.created_at,
    }
    with Client(url) as client:
        show_list(client.list_datasets(**filters), columns, output)


@app.command()
def show(
    dataset: Annotated[str, typer.Argument(help="Name or id of the data set.")],
    url: UrlOption = URL,
    output: FormatOption = Format.TABLE,
) -> None:
    """Show a data set and what its check found."""
    with Client(url) as client:
        _show(client.get_dataset(dataset), output)


@app.command()
def make_shapes(
    folder: Annotated[
        Path, typer.Argument(file_okay=False, help="Folder to write the data set into.")
    ],
    name: Annotated[str, typer.Option(help="Name of the data set in the service.")] = "shapes",
    seed: Annotated[int, typer.Option(min=0, help="Seed of every random draw.")] = 0,
    train: Annotated[int, typer.Option(min=1, help="Number of images in the train split.")] = 256,
    validation: Annotated[
        int, typer.Option(min=1, help="Number of images in the validation split.")
    ] = 64,
    image_size: Annotated[
        int, typer.Option(help="Width and height of every image in pixels.")
    ] = 96,
    classes: Annotated[int, typer.Option(help="Number of object classes, 1 to 6.")] = 4,
    max_objects: Annotated[int, typer.Option(help="Largest number of objects in an image.")] = 4,
    difficulty: Annotated[
        float,
        typer.Option(
            help="Difficulty, from 0 (clean, separate objects) to 1 (noisy, overlapping ones)."
        ),
    ] = 0.3,
    output: FormatOption = Format.TABLE,
) -> None:
    """Draw the synthetic data set `shapes` in COCO format. Needs no service."""
    from detection.data import shapes

    spec = shapes.make_shapes(
        folder.absolute(),
        name=name,
        seed=seed,
        num_train=train,
        num_validation=validation,
        image_size=image_size,
        num_classes=classes,
        max_objects=max_objects,
        difficulty=difficulty,
    )
    if output is Format.JSON:
        show_json(spec.model_dump(mode="json"))
        return
    typer.echo(f"Drew {train} + {validation} images below {folder}. Register them with:")
    typer.echo(
        f"searchd dataset add {name} \\\n"
        f"    --train-annotations {spec.train.annotations} \\\n"
        f"    --train-images {spec.train.images} \\\n"
        f"    --validation-annotations {spec.validation.annotations} \\\n"
        f"    --validation-images {spec.validation.images}"
    )


def _show(dataset: Dataset, output: Format) -> None:
    rows = {
        "name": dataset.name,
        "id": dataset.id,
        "status": dataset.status,
        "reason": dataset.status_reason,
        "train": dataset.spec.train.annotations,
        "validation": dataset.spec.validation.annotations,
        **{f"{name} (checked)": value for name, value in (dataset.summary or {}).items()},
    }
    show_one(dataset, rows, output)
