"""`searchd tools methods`: the catalogue of distillation methods as a table."""

from dataclasses import MISSING, fields
from typing import Annotated

import typer
from pydantic import BaseModel

from cli.output import Format, FormatOption, show_list
from searchd.domain.detector import Family
from searchd.domain.distillation_methods import CATALOGUE, MethodName
from searchd.domain.method_description import Method


class Line(BaseModel):
    """One row of the table; see `searchd.domain.distillation_methods.Method`."""

    name: MethodName
    title: str
    paper: str
    section: str
    students: list[Family]
    teachers: list[Family]
    same_head: bool
    reads_student: list[str]
    reads_teacher: list[str]
    weight: float
    one_stage_weight: float
    options: dict[str, object]
    """The default of each option by its name; "required" if it has none."""


def methods(
    student: Annotated[
        Family | None,
        typer.Option(help="Family of students that the methods must fit. Any by default."),
    ] = None,
    teacher: Annotated[
        Family | None,
        typer.Option(help="Family of teachers that the methods must fit. Any by default."),
    ] = None,
    output: FormatOption = Format.TABLE,
) -> None:
    """List the distillation methods with the detectors that they fit, their weights and options."""
    lines = [
        _line(name, method)
        for name, method in CATALOGUE.items()
        if (student is None or student in method.students)
        and (teacher is None or teacher in method.teachers)
    ]
    columns = {
        "METHOD": lambda line: line.name,
        "DESCRIPTION": lambda line: line.title,
        "PAPER": lambda line: f"{line.paper} {line.section}",
        "STUDENTS": lambda line: " ".join(line.students),
        "TEACHERS": lambda line: (
            " ".join(line.teachers) + (" (the student's head)" if line.same_head else "")
        ),
        "WEIGHT": lambda line: _weight(line),
        "OPTIONS": lambda line: " ".join(f"{key}={value}" for key, value in line.options.items()),
    }
    show_list(lines, columns, output)


def _line(name: MethodName, method: Method) -> Line:
    one_stage = method.one_stage_weight
    return Line(
        name=name,
        title=method.title,
        paper=method.paper,
        section=method.section,
        students=sorted(method.students),
        teachers=sorted(method.teachers),
        same_head=method.same_head,
        reads_student=sorted(method.reads_student),
        reads_teacher=sorted(method.reads_teacher),
        weight=method.weight,
        one_stage_weight=method.weight if one_stage is None else one_stage,
        options={
            option.name: "required" if option.default is MISSING else option.default
            for option in fields(method.options)
        },
    )


def _weight(line: Line) -> str:
    if line.weight == line.one_stage_weight:
        return f"{line.weight:g}"
    return f"{line.weight:g} ({line.one_stage_weight:g} for one-stage students)"
