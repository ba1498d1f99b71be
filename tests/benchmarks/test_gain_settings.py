"""The registered rows can be run: what they name exists, and their methods fit."""

from itertools import permutations

import pytest

from benchmarks.gain_goals import CONTRASTS, METHOD_ROWS
from benchmarks.gain_settings import (
    DATA,
    PLAN,
    ROWS,
    SECTIONS,
    Row,
    student,
    teacher,
)
from searchd.domain.method_fit import misfit, traits

NUM_ROWS = sum(len(rows) for _, rows in SECTIONS.values())


def test_no_two_rows_have_the_same_name() -> None:
    assert len(ROWS) == NUM_ROWS


@pytest.mark.parametrize("row", ROWS.values(), ids=list(ROWS))
def test_what_a_row_names_is_a_row(row: Row) -> None:
    named = {row.against, row.after, row.score_of} - {None}
    assert named <= set(ROWS)


@pytest.mark.parametrize("row", ROWS.values(), ids=list(ROWS))
def test_methods_fit_student_and_teachers(row: Row) -> None:
    data = DATA["shapes-96"]
    learner = traits(student(row.family, data))
    teachers = [traits(teacher(name, data)) for name in row.teachers]
    reasons = [misfit(method.name, learner, each) for method in row.methods for each in teachers]
    assert set(reasons) <= {None}


def test_every_method_and_contrast_has_its_rows() -> None:
    compared = {name for contrast in CONTRASTS for pair in contrast.pairs for name in pair}
    assert compared | set(METHOD_ROWS.values()) <= set(ROWS)


def test_every_order_of_two_that_can_be_chosen_has_a_row() -> None:
    orders = {" > ".join(order) for order in permutations(("S", "M", "L"), 2)}
    assert orders | {"L > L"} <= set(ROWS)


def test_each_section_of_each_data_set_is_planned_once() -> None:
    assert len(set(PLAN)) == len(PLAN)
    assert {section for data, section in PLAN if data == "shapes-96"} == set(SECTIONS)
