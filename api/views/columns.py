"""Conversion of the trials of a search to columns."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, TypeVar

from pydantic import TypeAdapter
from sqlalchemy import select
from sqlalchemy.orm import Session

from api.schemas.columns import (
    EvaluationsInColumns,
    SearchInColumns,
    ShownProgress,
    TrialsInColumns,
)
from searchd.domain.errors import InvalidValueError
from searchd.domain.lifecycle import TrialStatus
from searchd.domain.method_set import MethodSet
from searchd.domain.suggestions import unknown
from searchd.domain.teacher import Teaching
from searchd.domain.trial import Change, describe_change
from searchd.store.models import SearchRow, TeacherRow
from searchd.store.runs import breakdowns, columns

_CHANGE: TypeAdapter[Change] = TypeAdapter(Change)
_TEACHING: TypeAdapter[Teaching] = TypeAdapter(Teaching)
_METHODS: TypeAdapter[MethodSet] = TypeAdapter(MethodSet)
T = TypeVar("T")

_KEPT = 2**15
"""Number of changes, teachers and sets of methods whose words are kept: more than a large search
has."""
_FIGURES = ("score", "ap", "ap50", "ap75", "macs", "latency_s")
_RARE_FIGURES = ("mask_ap", "cost", "device_latency_s")


def in_columns(
    session: Session, search: SearchRow, since: int, class_name: str | None = None
) -> SearchInColumns:
    """Return the trials of a search that changed after event `since`, and those that run, with the
    AP of a class if one is named.

    Raises:
        InvalidValueError: The APs of classes were measured, but not of this one.
    """
    wants_class = class_name is not None
    classes = breakdowns.class_names(session, search.id) if wants_class or not since else []
    if wants_class and classes and class_name not in classes:
        raise InvalidValueError(unknown("class name", str(class_name), classes))
    found = columns.read(session, search.id, since, class_aps=wants_class)
    resolutions = sorted({(row.width, row.height) for row in found.evaluations})
    return SearchInColumns(
        event=found.event,
        resolutions=[f"{width}x{height}" for width, height in resolutions],
        classes=classes,
        trials=_trials(found.trials, search.id, _names(session)),
        evaluations=_evaluations(found.evaluations, resolutions, found.trials, class_name),
    )


def _names(session: Session) -> dict[str, str]:
    """Return the names of the registered teachers by id."""
    return {row.id: row.name for row in session.execute(select(TeacherRow.id, TeacherRow.name))}


def _trials(rows: Sequence[Any], search_id: str, names: Mapping[str, str]) -> TrialsInColumns:
    return TrialsInColumns(
        name=[row.name for row in rows],
        role=[row.role for row in rows],
        parent=[row.parent_id and row.parent_id.removeprefix(f"{search_id}-") for row in rows],
        action=[row.action for row in rows],
        change=[_change_in_words(row.change) for row in rows],
        teacher=[_teacher(row, names) for row in rows],
        methods=_if_any(map(_methods, rows)),
        teacher_ap=[_short(row.teacher_ap) for row in rows],
        status=[row.status for row in rows],
        reason=[None if row.status == TrialStatus.SUCCEEDED else row.status_reason for row in rows],
        cause=[row.cause for row in rows],
        completion=[row.completion for row in rows],
        score=[_short(row.score) for row in rows],
        params=[row.params for row in rows],
        progress=[_progress(row) for row in rows],
        busy_s=[round(row.busy_s, 1) for row in rows],
    )


def _evaluations(
    rows: Sequence[Any],
    resolutions: Sequence[tuple[int, int]],
    trials: Sequence[Any],
    class_name: str | None,
) -> EvaluationsInColumns:
    position = {trial.name: index for index, trial in enumerate(trials)}
    known = [row for row in rows if row.name in position]  # others were stored since
    of = _transposed(known)
    places = {resolution: index for index, resolution in enumerate(resolutions)}
    aps = () if class_name is None else (_class_ap(row.class_aps, class_name) for row in known)
    return EvaluationsInColumns.model_validate(
        {
            "trial": [position[name] for name in of("name")],
            "resolution": [places[each] for each in zip(of("width"), of("height"), strict=True)],
            **{name: [_short(value) for value in of(name)] for name in _FIGURES},
            **{name: _if_any(map(_short, of(name))) for name in _RARE_FIGURES},
            "class_ap": _if_any(aps),
        }
    )


def _transposed(rows: Sequence[Any]) -> Callable[[str], Sequence[Any]]:
    """Return what gives a column of the rows by its name. An attribute of each row is slower."""
    if not rows:
        return lambda _: ()
    return dict(zip(rows[0]._fields, zip(*rows, strict=True), strict=True)).__getitem__


def _if_any(values: Iterable[T | None]) -> list[T | None]:
    """Return the values; none at all if every one is null."""
    found = list(values)
    return found if any(value is not None for value in found) else []


def _class_ap(aps: Mapping[str, float] | None, class_name: str) -> float | None:
    return _short((aps or {}).get(class_name))


def _progress(row: Any) -> ShownProgress | None:
    if row.status != TrialStatus.RUNNING or row.progress is None:
        return None
    return ShownProgress.model_validate(row.progress)


def _short(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.6g}")


def _teacher(row: Any, names: Mapping[str, str]) -> str | None:
    """Return the teacher that the worker chose, or that of the proposal, a registered one by its
    name."""
    chosen = row.teacher if row.chosen_teacher is None else json.dumps(row.chosen_teacher)
    if chosen is None:
        return None
    teacher = _teacher_in_words(chosen)
    return names.get(teacher, teacher)


def _methods(row: Any) -> str | None:
    """Return the methods by which a trial was distilled, if its search searches them."""
    if row.methods is None or row.teacher is None:
        return None
    return _methods_in_words(row.methods)


@lru_cache(maxsize=_KEPT)
def _change_in_words(change: str) -> str:
    return describe_change(_CHANGE.validate_json(change))


@lru_cache(maxsize=_KEPT)
def _teacher_in_words(teacher: str) -> str:
    return str(_TEACHING.validate_json(teacher))


@lru_cache(maxsize=_KEPT)
def _methods_in_words(methods: str) -> str:
    return str(_METHODS.validate_json(methods))
