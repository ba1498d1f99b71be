"""The values of a sweep as a table, with their APs and intervals drawn on one scale."""

from collections.abc import Sequence

from api.schemas.distillations import Sweep, SweptStudent
from cli.output import percent
from cli.resources.search_report import with_interval
from cli.tools.plots import Interval
from searchd.domain.trial import scalar_text

_WIDTH = 40
"""Characters between the lowest and the highest AP that is drawn."""


def table(sweep: Sweep) -> tuple[tuple[str, ...], list[tuple[object, ...]]]:
    """Return the header and the rows of a sweep's table; what is drawn is on the split with the
    least selection that was measured."""
    lines = drawing([interval_of(each) for each in sweep.students])
    header = (sweep.field.upper(), "TRIAL", "VALIDATION AP %", "TEST AP %", "AGAINST SUBMITTED")
    rows: list[tuple[object, ...]] = [
        (
            label(each, sweep.best),
            each.trial_id,
            with_interval(each.validation) or percent(each.ap),
            with_interval(each.test),
            _difference(each),
            line,
        )
        for each, line in zip(sweep.students, lines, strict=True)
    ]
    return (*header, "AP WITH 95 % INTERVAL"), rows


def drawn(sweep: Sweep) -> list[tuple[str, Interval]]:
    """Return label and interval of each student that was measured, for a plot."""
    found = [(label(each), interval_of(each)) for each in sweep.students]
    return [(name, interval) for name, interval in found if interval is not None]


def label(student: SweptStudent, best: object = None) -> str:
    """Return what a student was trained with, in words."""
    if student.baseline is not None:
        return f"baseline {student.baseline}"
    value = scalar_text(student.value)
    marks = ["as submitted"] if student.as_submitted else []
    marks += ["best on validation"] if best is not None and student.value == best else []
    return f"{value} ({', '.join(marks)})" if marks else value


def interval_of(student: SweptStudent) -> Interval | None:
    """Return AP and interval on test, else on validation; without an interval as far as only the
    trial has measured the AP; None before."""
    measured = student.test or student.validation
    if measured is None:
        return None if student.ap is None else (student.ap, student.ap, student.ap)
    low, high = measured.low, measured.high
    return (measured.ap if low is None else low, measured.ap, measured.ap if high is None else high)


def drawing(intervals: Sequence[Interval | None]) -> list[str]:
    """Return a line for each interval, such as "  |---o--|", all on one scale."""
    ends = [end for each in intervals if each is not None for end in each]
    if not ends or min(ends) == max(ends):
        return ["" if each is None else "o" for each in intervals]
    scale = (_WIDTH - 1) / (max(ends) - min(ends))
    return [
        "" if each is None else _line(*(round((end - min(ends)) * scale) for end in each))
        for each in intervals
    ]


def _line(low: int, middle: int, high: int) -> str:
    inside = ["-"] * (high - low + 1)
    inside[0] = inside[-1] = "|"
    inside[middle - low] = "o"
    return " " * low + "".join(inside)


def _difference(student: SweptStudent) -> str | None:
    found = student.difference
    if found is None:
        return None
    points = f"{100 * found.ap:+.1f}"
    if found.low is None or found.high is None:
        return points
    return f"{points} [{100 * found.low:+.1f}, {100 * found.high:+.1f}] {found.conclusion}"
