"""The check of a data set ends with a summary or a reason, whatever it raises."""

from typing import Any

from searchd.domain.errors import DataError
from searchd.driver import dataset_check


def accepts(spec: str) -> dict[str, Any]:
    return {"class_names": [spec]}


def refuses(spec: str) -> dict[str, Any]:
    raise DataError(f"{spec}: image 7: the image file is missing")


def fails(spec: str) -> dict[str, Any]:
    raise KeyError(spec)


def check(name: str) -> tuple[dict[str, Any] | None, str]:
    function: Any = dataset_check._check
    found: tuple[dict[str, Any] | None, str] = function._function(f"{__name__}:{name}", "mine")
    return found


def test_summary_is_returned() -> None:
    assert check("accepts") == ({"class_names": ["mine"]}, "")


def test_fault_is_the_reason() -> None:
    assert check("refuses") == (None, "mine: image 7: the image file is missing")


def test_unforeseen_error_is_named_by_its_type() -> None:
    assert check("fails") == (None, "the check failed with an unforeseen KeyError: 'mine'")
