"""An exported file is measured on a data set whose classes may have other names."""

from pathlib import Path

import pytest

from detection.data.coco import CocoSplit
from detection.deployment.evaluated import evaluate, matched_classes
from detection.deployment.opened import open_export
from searchd.domain.errors import InvalidValueError
from tests.fixed_graphs import write_graph
from tests.small_splits import write_split


def test_classes_are_matched_by_name_and_further_ones_left_out() -> None:
    assert matched_classes(("bus", "car", "dog"), ("dog", "bus"), {}) == {0: 1, 2: 0}


def test_classes_of_other_names_are_matched_as_told() -> None:
    named = {"car": "vehicle", "bus": "vehicle"}

    assert matched_classes(("bus", "car", "dog"), ("dog", "vehicle"), named) == {0: 1, 1: 1, 2: 0}


@pytest.mark.parametrize(
    ("named", "text"),
    [
        ({}, "the detector has no class 'vehicle' of the data set; its classes are bus, car"),
        ({"lorry": "vehicle"}, "the detector has no class 'lorry'; its classes are bus, car"),
        ({"car": "auto"}, "the data set has no class 'auto'; its classes are vehicle"),
    ],
)
def test_classes_that_do_not_match_are_named(named: dict[str, str], text: str) -> None:
    with pytest.raises(InvalidValueError, match=text):
        matched_classes(("bus", "car"), ("vehicle",), named)


def test_ap_is_that_of_the_matched_classes(tmp_path: Path) -> None:
    split = CocoSplit(write_split(tmp_path / "data", {"tom": [16, 8, 32, 32]}))
    seen: list[None] = []

    found = evaluate(open_export(write_graph(tmp_path)), split, {0: 0}, lambda: seen.append(None))

    assert (found.total.ap, found.by_class, found.num_images) == (1.0, {"tom": 1.0}, 2)
    assert len(seen) == 2
