"""Whatever an annotation file holds, the answer is a summary, or what in the file is wrong."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from detection.data.coco import CocoSplit, check_dataset, read_document
from searchd.domain.errors import DataError
from searchd.spec import DatasetSpec
from tests.detection.data.conftest import MakeDataset, document
from tests.strength import examples

HUGE = 10**400
"""A whole number that no float can hold."""
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([HUGE, -HUGE, 2**31, 0, -1, 3, 5, 7, 90, 1e308, -1e308])
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["", ".", "..", "/etc/passwd", "../x", "a\0b", "\ud800", "x" * 300, "7"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=6,
)
quick = settings(
    max_examples=examples(40, 1000),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where anything in a JSON value stands, as keys and positions from outside in."""
    inner = value.items() if isinstance(value, dict) else enumerate(value)
    for key, member in inner:
        yield (*path, key)
        if isinstance(member, dict | list):
            yield from places(member, (*path, key))


PLACES = list(places(document()))


@pytest.fixture
def dataset(make_dataset: MakeDataset) -> DatasetSpec:
    """A sound data set, whose train split tests damage."""
    return make_dataset()


def _is_summed_up_or_refused(dataset: DatasetSpec) -> None:
    try:
        num_images = check_dataset(dataset).train.num_images
    except DataError as error:
        named = str(error)
    else:
        named = "image "
        assert num_images == len(CocoSplit(dataset.train))
    assert "train.json: " in named or "image " in named or "the categories differ" in named


@quick
@given(st.lists(st.tuples(st.sampled_from(PLACES), VALUES | st.just(...)), max_size=3))
def test_a_record_with_anything_in_it_is_summed_up_or_refused(
    dataset: DatasetSpec, edits: list[tuple[tuple[Any, ...], Any]]
) -> None:
    content: Any = document()
    for path, value in edits:
        _edit(content, path, value)
    dataset.train.annotations.write_text(json.dumps(content))

    _is_summed_up_or_refused(dataset)


@quick
@given(VALUES)
def test_any_json_is_summed_up_or_refused(dataset: DatasetSpec, content: Any) -> None:
    dataset.train.annotations.write_text(json.dumps(content))

    _is_summed_up_or_refused(dataset)


@quick
@given(st.binary(max_size=50), st.integers(0, 1000), st.integers(0, 50))
def test_a_damaged_file_is_summed_up_or_refused(
    dataset: DatasetSpec, put: bytes, start: int, length: int
) -> None:
    good = json.dumps(document()).encode()
    dataset.train.annotations.write_bytes(good[:start] + put + good[start + length :])

    _is_summed_up_or_refused(dataset)


@pytest.mark.parametrize(
    "text", ["[" * 100_000, "9" * 5000, "", "\xff", '{"images": NaN}', "1e999"]
)
def test_what_json_parsers_trip_over_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.json").write_text(text, encoding="latin-1")

    with pytest.raises(DataError, match=r"x\.json: "):
        read_document(tmp_path / "x.json")


@quick
@given(
    st.sampled_from(["wide.png", "tall.jpg"]),
    st.binary(max_size=40),
    st.integers(0, 2000),
    st.integers(0, 40),
)
def test_a_damaged_image_is_read_or_named(
    dataset: DatasetSpec, name: str, put: bytes, start: int, length: int
) -> None:
    dataset.train.annotations.write_text(json.dumps(document()))
    file = dataset.train.images / name
    good = file.read_bytes()
    file.write_bytes(good[:start] + put + good[start + length :])
    try:
        _is_summed_up_or_refused(dataset)
    finally:
        file.write_bytes(good)


def _edit(content: Any, path: tuple[Any, ...], value: Any) -> None:
    """Put a value in a place, or take away what is there (...), if the place is there still."""
    for key in path[:-1]:
        if not _has(content, key):
            return
        content = content[key]
    if not _has(content, path[-1]):
        return
    if value is ...:
        del content[path[-1]]
    else:
        content[path[-1]] = value


def _has(content: Any, key: Any) -> bool:
    if isinstance(content, dict):
        return key in content
    return isinstance(content, list) and isinstance(key, int) and key < len(content)
