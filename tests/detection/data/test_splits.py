"""Missing splits are made by seed, with all classes in each, and groups kept together."""

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detection.data.documents import Document
from detection.data.formats.sources import SplitSource
from detection.data.paths import with_missing_splits
from detection.data.splits import SplitPlan, assign, partition
from searchd.domain.errors import InvalidValueError

SHARES = {"train": 0.7, "validation": 0.2, "test": 0.1}


def document(num_images: int, group_size: int = 1) -> Document:
    """Images of groups such as clip3_0007.jpg, each with one object; every tenth one is a cat."""
    return {
        "images": [
            {"id": i, "file_name": f"clip{i // group_size}_{i:04d}.jpg"} for i in range(num_images)
        ],
        "annotations": [
            {"id": i, "image_id": i, "category_id": 2 if i % 10 == 0 else 1}
            for i in range(num_images)
        ],
        "categories": [{"id": 1, "name": "dog"}, {"id": 2, "name": "cat"}],
    }


def classes(part: Document) -> Counter[int]:
    return Counter(annotation["category_id"] for annotation in part["annotations"])


def test_each_split_has_its_share_of_each_class() -> None:
    parts = partition(document(100), SHARES)

    assert {name: len(part["images"]) for name, part in parts.items()} == {
        "train": 70,
        "validation": 20,
        "test": 10,
    }
    assert classes(parts["train"]) == {1: 63, 2: 7}
    assert classes(parts["validation"]) == {1: 18, 2: 2}
    assert classes(parts["test"]) == {1: 9, 2: 1}


def test_splits_depend_on_the_seed_only() -> None:
    one, same, other = (partition(document(100), SHARES, seed=seed) for seed in (1, 1, 2))

    assert one == same
    assert one != other


def test_images_with_the_same_match_stay_together() -> None:
    parts = partition(document(100, group_size=5), SHARES, group_by=r"^(clip\d+)_")

    clips = [{i["file_name"].split("_")[0] for i in part["images"]} for part in parts.values()]
    assert sum(map(len, clips)) == len(set().union(*clips)) == 20
    assert len(parts["test"]["images"]) % 5 == 0


def test_pattern_that_is_no_regular_expression_is_refused() -> None:
    with pytest.raises(InvalidValueError, match="is no regular expression"):
        partition(document(10), SHARES, group_by="(")


def test_too_few_groups_are_refused() -> None:
    with pytest.raises(InvalidValueError, match="too few for a"):
        partition(document(10, group_size=10), SHARES, group_by="^clip[0-9]+")


@settings(max_examples=100)
@given(
    st.lists(st.lists(st.integers(0, 4), max_size=5), min_size=12, max_size=60),
    st.integers(0, 2**32),
)
def test_every_image_is_in_one_split_of_about_the_right_size(
    labels: list[list[int]], seed: int
) -> None:
    try:
        names = assign(labels, SHARES, seed=seed)
    except InvalidValueError:
        return

    assert len(names) == len(labels)
    assert set(names) == set(SHARES)
    assert names.count("train") > names.count("test")


def source(num_images: int) -> SplitSource:
    return SplitSource(file=Path("a.json"), folder=Path(), document=document(num_images))


def test_validation_and_test_split_are_made_of_the_train_split() -> None:
    made = with_missing_splits({"train": source(100)}, SplitPlan())

    assert list(made) == ["train", "validation", "test"]
    sizes = [len(each.document["images"]) for each in made.values() if each.document]
    assert sizes == [70, 20, 10]


def test_splits_that_are_there_are_kept() -> None:
    given = {"train": source(100), "validation": source(10)}

    assert with_missing_splits(given, SplitPlan()) == given
    made = with_missing_splits(given, SplitPlan(test_share=0.1))
    assert list(made) == ["train", "validation", "test"]
    assert made["validation"] == given["validation"]


def test_shares_outside_their_range_are_refused() -> None:
    with pytest.raises(InvalidValueError, match="validation_share=0 must be above 0"):
        with_missing_splits({"train": source(100)}, SplitPlan(validation_share=0))
    with pytest.raises(InvalidValueError, match="their sum below 1"):
        with_missing_splits({"train": source(9)}, SplitPlan(validation_share=0.5, test_share=0.5))
