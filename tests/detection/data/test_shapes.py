"""The synthetic data set is what it says, and the same every time."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from detection.data.coco import check_dataset
from detection.data.shapes import draw_image, make_shapes
from searchd.domain.errors import InvalidValueError


def test_both_splits_pass_the_data_check(tmp_path: Path) -> None:
    summary = check_dataset(make_shapes(tmp_path, num_train=12, num_validation=5, num_classes=6))

    assert summary.class_names == ("circle", "square", "triangle", "cross", "star", "ring")
    assert (summary.train.num_images, summary.validation.num_images) == (12, 5)
    assert summary.train.num_annotations >= 12


def test_a_test_split_is_drawn_beside_the_same_other_splits(tmp_path: Path) -> None:
    without = make_shapes(tmp_path / "without", num_train=2, num_validation=1)
    spec = make_shapes(tmp_path / "with", num_train=2, num_validation=1, num_test=3)

    summary = check_dataset(spec)

    assert without.test is None
    assert summary.test is not None
    assert summary.test.num_images == 3
    assert np.array_equal(
        _pixels(tmp_path / "without", "train", 0), _pixels(tmp_path / "with", "train", 0)
    )


def test_same_seed_draws_the_same_files_and_another_seed_others(tmp_path: Path) -> None:
    for folder, seed in (("a", 3), ("b", 3), ("c", 4)):
        make_shapes(tmp_path / folder, seed=seed, num_train=3, num_validation=2)
    contents = {
        folder: [file.read_bytes() for file in sorted((tmp_path / folder).rglob("*.*"))]
        for folder in "abc"
    }

    assert len(contents["a"]) == 7
    assert contents["a"] == contents["b"]
    assert contents["a"] != contents["c"]


def test_splits_differ_and_an_image_does_not_depend_on_how_many_follow(tmp_path: Path) -> None:
    make_shapes(tmp_path / "few", num_train=2, num_validation=2)
    make_shapes(tmp_path / "many", num_train=4, num_validation=2)

    few = [_pixels(tmp_path / "few", "train", i) for i in range(2)]
    many = [_pixels(tmp_path / "many", "train", i) for i in range(4)]

    assert all(np.array_equal(a, b) for a, b in zip(few, many, strict=False))
    assert not np.array_equal(few[0], _pixels(tmp_path / "few", "validation", 0))


def test_options_reach_the_files(tmp_path: Path) -> None:
    spec = make_shapes(
        tmp_path, name="big", num_train=20, num_validation=1, image_size=128, max_objects=2
    )
    document = json.loads(spec.train.annotations.read_text())
    per_image = np.bincount([a["image_id"] for a in document["annotations"]], minlength=20)

    assert spec.name == "big"
    assert _pixels(tmp_path, "train", 0).shape == (128, 128, 3)
    assert set(per_image) == {1, 2}
    assert [c["name"] for c in document["categories"]] == ["circle", "square", "triangle", "cross"]
    assert {a["category_id"] for a in document["annotations"]} == {1, 2, 3, 4}


def test_box_is_tight_around_the_object_when_nothing_hides_it() -> None:
    pixels, objects = draw_image(np.random.default_rng(5), 96, 1, 1, 0.0)
    (circle,) = objects
    x, y, width, height = circle.box

    inside = pixels[y + height // 2, x + width // 2].astype(int)
    column = pixels[:, x + width // 2].astype(int)
    is_object = np.abs(column - inside).max(axis=1) < 40

    assert abs(int(is_object[y : y + height].sum()) - height) <= 2
    assert circle.area == pytest.approx(np.pi / 4 * width * height, rel=0.05)


def test_difficulty_adds_noise_and_takes_contrast() -> None:
    def roughness(difficulty: float) -> float:
        pixels, _ = draw_image(np.random.default_rng(1), 96, 4, 3, difficulty)
        return float(np.abs(np.diff(pixels.astype(float), axis=0)).mean())

    assert roughness(1.0) > 3 * roughness(0.0)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"num_classes": 7}, "num_classes=7 must lie between 1 and 6"),
        ({"difficulty": 1.5}, "difficulty=1.5 must lie between 0 and 1"),
        ({"image_size": 16}, "image_size=16 must lie between 32 and 4096"),
    ],
)
def test_value_outside_its_range_is_refused(
    tmp_path: Path, option: dict[str, int], message: str
) -> None:
    with pytest.raises(InvalidValueError, match=message):
        make_shapes(tmp_path, **option)  # type: ignore[arg-type]  # wrong on purpose


def _pixels(folder: Path, split: str, index: int) -> np.ndarray:
    return np.asarray(Image.open(folder / split / f"{index:06d}.png"))
