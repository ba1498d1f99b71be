"""Taps whose values a test chooses."""

from types import SimpleNamespace
from typing import Any

from torch import Tensor


def taps(**values: Any) -> Any:
    """Stands in for `StudentTaps` or `TeacherTaps`; a tap that was not given cannot be read."""
    return SimpleNamespace(**values)


def whole_necks(student: dict[int, Tensor], teacher: dict[int, Tensor]) -> tuple[Any, Any]:
    """Taps of both for a method that compares whole maps; both saw one batch."""
    return taps(neck=student, batch=None), taps(own_neck=teacher, batch=None)
