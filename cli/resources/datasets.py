"""`searchd dataset`: register and list data sets, and draw synthetic ones."""

from pathlib import Path
from typing import Annotated, Any

import typer

from api.client import Client
from cli.errors import fail
from cli.output import Format, FormatOption, show_json
from cli.resources import dataset_changes, dataset_check, dataset_views
from cli.resources.dataset_views import DatasetArgument, show_checked, show_dataset
from cli.resources.lifecycle import add_archiving
from cli.resources.listing import add_list
from cli.service import URL, KeyOption, UrlOption, ValidateOnlyOption, follow
from cli.validation import validate
from searchd.domain.lifecycle import DatasetStatus
from searchd.spec import (
    MAX_EMPTY_SHARE,
    MAX_FAULT_SHARE,
    MAX_UNREADABLE_SHARE,
    VALIDATION_SHARE,
    DatasetImport,
    DatasetSpec,
    SplitSpec,
)

app = typer.Typer(
    no_args_is_help=True, help="Data sets in COCO format, on which detectors are trained."
)
app.command()(dataset_check.check)
app.command()(dataset_changes.recheck)
app.command()(dataset_changes.rename)
app.command()(dataset_changes.delete)
add_archiving(app, "data set", "datasets")
app.command("stats")(dataset_views.statistics)
app.command()(dataset_views.samples)


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
    paths: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[PATH...]",
            help="A folder with the data set in COCO, YOLO, Pascal VOC, CVAT or Label Studio "
            "format, or what else `searchd dataset check` takes; or the URI of such a folder on a "
            "shared store, such as s3://bucket/photos. Not with the options of COCO files.",
        ),
    ] = None,
    upload: Annotated[
        str | None,
        typer.Option(
            metavar="URI",
            help="Upload the folder PATH to this URI on a shared store first, such as "
            "s3://bucket/photos, with the credentials in this environment, and add it from there.",
        ),
    ] = None,
    train_annotations: Annotated[Path | None, _annotations("train")] = None,
    train_images: Annotated[Path | None, _images("train")] = None,
    validation_annotations: Annotated[Path | None, _annotations("validation")] = None,
    validation_images: Annotated[Path | None, _images("validation")] = None,
    test_annotations: Annotated[Path | None, _annotations("test")] = None,
    test_images: Annotated[Path | None, _images("test")] = None,
    data_format: dataset_check.FormatOfData = None,
    validation_share: dataset_check.ValidationShare = VALIDATION_SHARE,
    test_share: dataset_check.TestShare = None,
    seed: dataset_check.Seed = 0,
    group_by: dataset_check.GroupBy = None,
    max_empty_share: dataset_check.EmptyShare = MAX_EMPTY_SHARE,
    max_fault_share: dataset_check.FaultShare = MAX_FAULT_SHARE,
    max_unreadable_share: dataset_check.UnreadableShare = MAX_UNREADABLE_SHARE,
    validate_only: ValidateOnlyOption = False,
    wait: Annotated[bool, typer.Option(help="Whether to wait until the files are checked.")] = True,
    key: KeyOption = None,
    url: UrlOption = URL,
    output: FormatOption = Format.TABLE,
) -> None:
    """Register a data set and check its files.

    Give PATH for a data set in any format: the splits that it lacks are made, and its annotations
    are stored as COCO files by the service. Or give the options of COCO files, which are used as
    they are; those of the test split may be omitted. A data set of the same name that was refused
    is replaced. Every worker of the cluster must be able to read the paths; with a URI, workers
    copy the files to their disks.
    """
    files = [train_annotations, train_images, validation_annotations, validation_images]
    given = [file.absolute() for file in files if file is not None]
    test = _test_split(test_annotations, test_images)
    shares = {
        "max_empty_share": max_empty_share,
        "max_fault_share": max_fault_share,
        "max_unreadable_share": max_unreadable_share,
    }
    spec: DatasetSpec | DatasetImport
    if paths and not given and test is None:
        spec = DatasetImport(
            name=name,
            **_place(paths, upload),
            format=data_format,
            validation_share=validation_share,
            test_share=test_share,
            seed=seed,
            group_by=group_by,
            **shares,
        )
    elif len(given) == len(files) and not paths:
        train = SplitSpec(annotations=given[0], images=given[1])
        validation = SplitSpec(annotations=given[2], images=given[3])
        spec = DatasetSpec(name=name, train=train, validation=validation, test=test, **shares)
    else:
        raise typer.BadParameter("give either PATH, or annotations and images of both splits")
    if validate_only:
        validate(spec, "data set", url)
        return
    if upload is not None and paths:
        _upload(Path(paths[0]), upload)
    with Client(url) as client:
        dataset = client.create_dataset(spec, key=key)
        if wait:
            dataset = client.wait_for_dataset(dataset.id)
    show_checked(dataset, output)


def _place(paths: list[str], upload: str | None) -> dict[str, Any]:
    """Return the fields that say where the data set is."""
    remote = [path for path in paths if "://" in path]
    if (remote or upload) and len(paths) > 1:
        raise typer.BadParameter("give one folder, locally or as a URI, that has all files")
    if remote and upload:
        raise typer.BadParameter(f"{remote[0]} is on a shared store already; leave out --upload")
    if upload is not None and not Path(paths[0]).is_dir():
        raise typer.BadParameter(f"{paths[0]} is no folder; --upload takes one")
    if remote or upload:
        return {"uri": upload or remote[0]}
    return {"paths": tuple(Path(path).absolute() for path in paths)}


def _upload(folder: Path, uri: str) -> None:
    from searchd import artifacts  # takes long and is rarely needed

    typer.echo(f"uploading {folder} to {uri}", err=True)
    typer.echo(f"{artifacts.upload(folder, uri)} files were uploaded", err=True)


def _test_split(annotations: Path | None, images: Path | None) -> SplitSpec | None:
    if (annotations is None) != (images is None):
        raise typer.BadParameter("give both --test-annotations and --test-images, or neither")
    if annotations is None or images is None:
        return None
    return SplitSpec(annotations=annotations.absolute(), images=images.absolute())


add_list(
    app,
    Client.list_datasets,
    {
        "NAME": lambda d: d.name,
        "ID": lambda d: d.id,
        "STATUS": lambda d: d.status,
        "REASON": lambda d: d.status_reason,
        "ADDED": lambda d: d.created_at,
    },
    DatasetStatus,
    "List data sets, newest first.",
)


@app.command()
def show(
    dataset: DatasetArgument,
    url: UrlOption = URL,
    output: FormatOption = Format.TABLE,
) -> None:
    """Show a data set and what its check found."""
    with Client(url) as client:
        show_dataset(client.get_dataset(dataset), output)


@app.command()
def watch(
    dataset: DatasetArgument, url: UrlOption = URL, output: FormatOption = Format.TABLE
) -> None:
    """Print the events of a data set until its check has ended.

    The exit code is 1 unless the data set is then ready.
    """
    with Client(url) as client:
        follow(client.dataset_events(dataset), output)
        ended = client.get_dataset(dataset)
    if ended.status is not DatasetStatus.READY:
        raise fail(f"data set {ended.name} is {ended.status}: {ended.status_reason}")


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
    test: Annotated[
        int, typer.Option(min=0, help="Number of images in the test split; 0 for none.")
    ] = 0,
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
        num_test=test,
        image_size=image_size,
        num_classes=classes,
        max_objects=max_objects,
        difficulty=difficulty,
    )
    if output is Format.JSON:
        show_json(spec.model_dump(mode="json"))
        return
    counts = " + ".join(str(count) for count in (train, validation, test) if count)
    typer.echo(f"Drew {counts} images below {folder}. Register them with:")
    options = (
        f"--{name}-{part} {getattr(split, part)}"
        for name, split in spec.splits.items()
        for part in ("annotations", "images")
    )
    typer.echo(" \\\n    ".join([f"searchd dataset add {name}", *options]))
