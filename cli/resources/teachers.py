"""`searchd teacher`: register and list teachers."""

from typing import Annotated

import typer

from api.client import Client
from api.schemas import Teacher
from cli.errors import fail
from cli.output import Format, FormatOption, giga, mega, percent, show_list, show_one
from cli.service import (
    STATUS_HELP,
    URL,
    DatasetOption,
    KeyOption,
    NameOption,
    SpecFile,
    UrlOption,
    ValidateOnlyOption,
    follow,
    read_spec,
)
from cli.validation import validate
from searchd.domain.lifecycle import TeacherStatus
from searchd.spec import TeacherSpec

app = typer.Typer(
    no_args_is_help=True,
    help="Registered teachers of distillations: subnets, students of trials, mmdet detectors.",
)

TeacherArgument = Annotated[str, typer.Argument(help="Name or id of the teacher.")]


@app.command()
def add(
    file: SpecFile,
    name: NameOption = None,
    dataset: DatasetOption = None,
    validate_only: ValidateOnlyOption = False,
    key: KeyOption = None,
    url: UrlOption = URL,
    output: FormatOption = Format.TABLE,
) -> None:
    """Register a teacher from a spec. The service evaluates it."""
    spec = read_spec(file, TeacherSpec, name=name, dataset=dataset)
    if validate_only:
        validate(spec, "teacher", url)
        return
    with Client(url) as client:
        _show(client.create_teacher(spec, key=key), output)


@app.command("list")
def list_teachers(
    status: Annotated[TeacherStatus | None, typer.Option(help=STATUS_HELP)] = None,
    url: UrlOption = URL,
    output: FormatOption = Format.TABLE,
) -> None:
    """List teachers, newest first, with their AP, MACs and feature levels."""
    filters = {"status": status.value} if status else {}
    columns = {
        "NAME": lambda t: t.name,
        "ID": lambda t: t.id,
        "STATUS": lambda t: t.status,
        "SOURCE": lambda t: t.source,
        "AP %": lambda t: t.measurement and percent(t.measurement.ap),
        "RESOLUTION": lambda t: t.spec.resolution,
        "GMACS": lambda t: t.measurement and giga(t.measurement.macs),
        "LEVELS": _levels,
    }
    with Client(url) as client:
        show_list(client.list_teachers(**filters), columns, output)


@app.command()
def show(
    teacher: TeacherArgument, url: UrlOption = URL, output: FormatOption = Format.TABLE
) -> None:
    """Show a teacher and its measurement."""
    with Client(url) as client:
        _show(client.get_teacher(teacher), output)


@app.command()
def watch(
    teacher: TeacherArgument, url: UrlOption = URL, output: FormatOption = Format.TABLE
) -> None:
    """Print the events of a teacher until its evaluation has ended.

    The exit code is 1 unless the teacher is then ready.
    """
    with Client(url) as client:
        follow(client.teacher_events(teacher), output)
        ended = client.get_teacher(teacher)
    if ended.status is not TeacherStatus.READY:
        raise fail(f"teacher {ended.name} is {ended.status}: {ended.status_reason}")


def _show(teacher: Teacher, output: Format) -> None:
    rows: dict[str, object] = {
        "name": teacher.name,
        "id": teacher.id,
        "status": teacher.status,
        "reason": teacher.status_reason,
        "data set": teacher.spec.dataset,
        "source": teacher.source,
        "kind": teacher.kind,
    }
    found = teacher.measurement
    if found is not None:
        aps = {
            "AP": found.ap,
            "AP50": found.ap50,
            "AP75": found.ap75,
            "AP small": found.ap_small,
            "AP medium": found.ap_medium,
            "AP large": found.ap_large,
        }
        rows |= {
            "resolution": found.resolution,
            # -1: no object of that size in the split
            **{name: f"{percent(ap)} %" if ap >= 0 else None for name, ap in aps.items()},
            "MACs": f"{giga(found.macs)} G",
            "parameters": f"{mega(teacher.params)} M",
            "latency": f"{1000 * found.latency_s:.1f} ms",
            "levels": _levels(teacher),
        }
    show_one(teacher, rows, output)


def _levels(teacher: Teacher) -> str | None:
    """The stride and channels of each level, such as "8 x 256, 16 x 256"."""
    levels = [f"{level.stride} x {level.channels}" for level in teacher.levels]
    return ", ".join(levels) or None
