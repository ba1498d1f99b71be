"""`searchd teacher`: register, train, follow and list teachers."""

from copy import deepcopy
from pathlib import Path
from typing import Annotated, Any

import typer

from api.client import Client
from api.schemas import Teacher, TeacherDetails
from cli import outcome
from cli.errors import fail
from cli.output import Format, FormatOption, accuracies, giga, mega, percent, show_one
from cli.resources.lifecycle import add_archiving, add_calls, add_deletion
from cli.resources.listing import add_list
from cli.service import (
    URL,
    DatasetOption,
    KeyOption,
    NameOption,
    SeedOption,
    SpecFile,
    UrlOption,
    ValidateOnlyOption,
    follow,
    parse_spec,
    spec_of,
)
from cli.spec_files import read_source
from cli.spec_places import SpecSource, placing
from cli.validation import validate
from searchd.domain.errors import InvalidValueError
from searchd.domain.lifecycle import TeacherStatus
from searchd.spec import TeacherSpec

app = typer.Typer(
    no_args_is_help=True,
    help="Teachers of searches and distillations: subnets, students of trials, detectors of mmdet, "
    "and detectors that the service trains.",
)

OptionalSpecFile = Annotated[
    Path | None,
    typer.Argument(
        exists=True,
        dir_okay=False,
        metavar="FILE",
        help="YAML or JSON file with the spec of a teacher that has a section `train`. Options "
        "replace its fields. Without FILE, the options alone describe the teacher.",
    ),
]
ConfigOption = Annotated[
    str | None,
    typer.Option(
        "--config",
        help="Name of a config that mmdet ships: the detector to train, for example "
        "faster-rcnn_r101_fpn_1x_coco. Give either --config or --backbone.",
    ),
]
CheckpointOption = Annotated[
    Path | None,
    typer.Option(
        "--checkpoint",
        help="Checkpoint of that config to start from, on a disk that every worker can read. It "
        "may know other classes. By default, training starts from random weights.",
    ),
]
BackboneOption = Annotated[
    str | None,
    typer.Option(
        "--backbone",
        help="Name of a published backbone, for example resnet101, of a detector to train from "
        "random weights.",
    ),
]
EpochsOption = Annotated[
    int | None, typer.Option("--epochs", help="Number of passes over the train split. Default: 12.")
]
BatchOption = Annotated[
    str | None,
    typer.Option(
        "--batch-size",
        help='Number of images per training step, or "auto" to find the largest that fits into '
        "memory. Default: 4.",
    ),
]
RateOption = Annotated[
    float | None,
    typer.Option("--learning-rate", help="Learning rate of SGD after the warm-up. Default: 0.01."),
]
ResolutionsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--resolution",
        help='Input resolution "WxH" in pixels of the training; repeat for several. The teacher is '
        "evaluated at the last one. Default: the four of Joint-DetNAS, up to 1333x800.",
    ),
]
CpusOption = Annotated[
    float | None,
    typer.Option("--cpus", help="Number of CPUs that the training reserves. Default: 1."),
]
GpusOption = Annotated[
    float | None,
    typer.Option(
        "--gpus", help="Number of GPUs that the training reserves. Default: 0, it runs on CPUs."
    ),
]
TeacherArgument = Annotated[str, typer.Argument(help="Name or id of the teacher.")]


@app.command()
def add(
    file: SpecFile,
    name: NameOption = None,
    dataset: DatasetOption = None,
    validate_only: ValidateOnlyOption = False,
    wait: outcome.WaitOption = False,
    key: KeyOption = None,
    url: UrlOption = URL,
    output: FormatOption = Format.TABLE,
) -> None:
    """Register a teacher from a spec. The service evaluates it."""
    source = read_source(file)
    spec = spec_of(source, TeacherSpec, name=name, dataset=dataset)
    if validate_only:
        validate(spec, "teacher", url, source)
        return
    _submit(spec, source, wait, key, url, output)


@app.command()
def train(
    file: OptionalSpecFile = None,
    name: NameOption = None,
    dataset: DatasetOption = None,
    config: ConfigOption = None,
    checkpoint: CheckpointOption = None,
    backbone: BackboneOption = None,
    epochs: EpochsOption = None,
    batch_size: BatchOption = None,
    learning_rate: RateOption = None,
    resolution: ResolutionsOption = None,
    cpus: CpusOption = None,
    gpus: GpusOption = None,
    seed: SeedOption = None,
    validate_only: ValidateOnlyOption = False,
    wait: outcome.WaitOption = False,
    key: KeyOption = None,
    url: UrlOption = URL,
    output: FormatOption = Format.TABLE,
) -> None:
    """Train a detector on a data set to become a teacher. The service trains and evaluates it.

    With a checkpoint, everything is loaded but the layers that depend on the classes.
    """
    source = None if file is None else read_source(file)
    fields = {} if source is None else deepcopy({**source.fields})
    _replace(
        fields, ("train", "mmdet"), config=config, checkpoint=checkpoint and checkpoint.absolute()
    )
    _replace(
        fields,
        ("train", "training"),
        epochs=epochs,
        batch_size=int(batch_size) if batch_size and batch_size.isdecimal() else batch_size,
        learning_rate=learning_rate,
        resolutions=resolution or None,
    )
    _replace(fields, ("train",), backbone=backbone, seed=seed)
    evaluated_at = resolution[-1] if resolution else None
    _replace(fields, (), name=name, dataset=dataset, cpus=cpus, gpus=gpus, resolution=evaluated_at)
    if not fields.get("train"):
        raise InvalidValueError(
            "nothing says what to train: give --config, --backbone, or a FILE with a section train"
        )
    spec = parse_spec(fields, TeacherSpec, source)
    if validate_only:
        validate(spec, "teacher", url, source)
        return
    _submit(spec, source, wait, key, url, output)


def _submit(
    spec: TeacherSpec,
    source: SpecSource | None,
    wait: bool,
    key: str | None,
    url: str,
    output: Format,
) -> None:
    """Submit a teacher and show it, if wanted once its training and evaluation have ended."""
    with Client(url) as client:
        with placing(source):
            found = client.create_teacher(spec, key=key)
        found = outcome.wait(client, found) if wait else found
    _show(found, output)
    if wait:
        outcome.exit_by("teacher", found)


def _replace(fields: dict[str, Any], path: tuple[str, ...], **values: object) -> None:
    """Replace fields of a section; a value of None leaves its field.

    Args:
        fields: Fields of the whole spec.
        path: Names of the sections that contain the fields, from the outside in.
        values: By the names of the fields.

    Raises:
        InvalidValueError: A section is not one.
    """
    given = {name: value for name, value in values.items() if value is not None}
    for name in path if given else ():
        fields[name] = fields.get(name) or {}
        fields = fields[name]
        if not isinstance(fields, dict):
            raise InvalidValueError(f"{name} must have fields and values, got {fields!r}")
    fields.update(given)


add_list(
    app,
    Client.list_teachers,
    {
        "NAME": lambda t: t.name,
        "ID": lambda t: t.id,
        "STATUS": lambda t: t.status,
        "SOURCE": lambda t: t.source,
        "AP %": lambda t: t.measurement and percent(t.measurement.ap),
        "RESOLUTION": lambda t: t.spec.resolution,
        "GMACS": lambda t: t.measurement and giga(t.measurement.macs),
        "LEVELS": lambda t: _levels(t),
    },
    TeacherStatus,
    "List teachers, newest first, with their AP, MACs and feature levels.",
)


@app.command()
def show(
    teacher: TeacherArgument, url: UrlOption = URL, output: FormatOption = Format.TABLE
) -> None:
    """Show a teacher, its measurement, and the epochs and losses of its training."""
    with Client(url) as client:
        _show(client.get_teacher(teacher), output)


@app.command()
def watch(
    teacher: TeacherArgument, url: UrlOption = URL, output: FormatOption = Format.TABLE
) -> None:
    """Print the events of a teacher until its training and evaluation have ended.

    The exit code is 1 unless the teacher is then ready.
    """
    with Client(url) as client:
        follow(client.teacher_events(teacher), output)
        ended = client.get_teacher(teacher)
    if ended.status is not TeacherStatus.READY:
        raise fail(f"teacher {ended.name} is {ended.status}: {ended.status_reason}")


def _show(teacher: TeacherDetails, output: Format) -> None:
    rows: dict[str, object] = {
        "name": teacher.name,
        "id": teacher.id,
        "status": teacher.status,
        "reason": teacher.status_reason,
        "data set": teacher.spec.dataset,
        "source": teacher.source,
        "kind": teacher.kind,
    }
    at = teacher.progress
    if at is not None and teacher.status is TeacherStatus.TRAINING:
        rows["progress"] = f"{at.stage}, epoch {at.epoch} of {at.num_epochs}{_losses(at.losses)}"
    for epoch in teacher.epochs:
        rows[f"epoch {epoch.epoch}"] = _losses(epoch.losses).removeprefix(": ")
    found = teacher.measurement
    if found is not None:
        rows |= {
            "resolution": found.resolution,
            **accuracies(found),
            "MACs": f"{giga(found.macs)} G",
            "parameters": f"{mega(teacher.params)} M",
            "latency": f"{1000 * found.latency_s:.1f} ms",
            "levels": _levels(teacher),
        }
    show_one(teacher, rows, output)


def _losses(losses: dict[str, float]) -> str:
    """Return the losses as text, such as ": loss 0.8, loss_cls 0.5", the sum first."""
    ordered = sorted(losses.items(), key=lambda each: each[0] != "loss")
    return ": " * bool(ordered) + ", ".join(f"{name} {value:.3g}" for name, value in ordered)


def _levels(teacher: Teacher) -> str | None:
    """The stride and channels of each level, such as "8 x 256, 16 x 256"."""
    levels = [f"{level.stride} x {level.channels}" for level in teacher.levels]
    return ", ".join(levels) or None


add_calls(app, "teacher", Client.ask_of_teacher, _show)
add_deletion(app, "teacher", "teachers")
add_archiving(app, "teacher", "teachers")
