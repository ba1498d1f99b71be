"""Crops, scale jitter and photometric distortion: mmdet's semantics, our own seeds."""

from pathlib import Path
from typing import Any

import mmdet.datasets.transforms.transforms as mmdets
import numpy as np
import pytest
import torch
from mmdet.datasets.transforms import MinIoURandomCrop, PhotoMetricDistortion
from mmdet.structures.bbox import HorizontalBoxes
from numpy.typing import NDArray

from detection.build import PIXEL_MEAN, PIXEL_STD
from detection.data.augmentations import Augmenter
from detection.data.batches import Batch, TrainingBatches
from detection.data.coco import CocoSplit
from detection.data.photometric import Distortion
from detection.data.records import ImageRecord
from detection.data.shapes import make_shapes
from searchd.domain.resolution import Resolution
from searchd.spec import MinIouCropSpec, PhotometricDistortionSpec, RandomCropSpec

WIDE = Resolution(96, 64)
EVERYTHING = Augmenter(
    crop=MinIouCropSpec(),
    scale_jitter=(0.4, 2.0),
    photometric_distortion=PhotometricDistortionSpec(),
)
CROPS = [MinIouCropSpec(), RandomCropSpec(), None]


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> CocoSplit:
    folder: Path = tmp_path_factory.mktemp("shapes")
    return CocoSplit(make_shapes(folder, num_train=12, num_validation=1, image_size=64).train)


def record(width: int, height: int, *boxes: tuple[float, float, float, float]) -> ImageRecord:
    return ImageRecord(
        image_id=1,
        path=Path("image.png"),
        width=width,
        height=height,
        boxes=np.array(boxes, dtype=np.float32).reshape(-1, 4),
        labels=np.arange(len(boxes)),
        areas=np.ones(len(boxes)),
        crowd_boxes=np.zeros((0, 4), dtype=np.float32),
        crowd_labels=np.zeros(0, dtype=np.int64),
    )


class Painted(CocoSplit):
    """A split of black images, on which every object is a rectangle in a colour channel of its
    own."""

    def __init__(self, *records: ImageRecord) -> None:
        self.records = records

    def image(self, index: int) -> NDArray[np.uint8]:
        found = self.records[index]
        pixels = np.zeros((found.height, found.width, 3), dtype=np.uint8)
        for label, (left, top, right, bottom) in enumerate(found.boxes.astype(int)):
            pixels[top:bottom, left:right, label] = 200
        return pixels


PAINTED = record(120, 80, (10, 10, 40, 40), (60, 20, 110, 70))


def painted_batches(augmenter: Augmenter, seed: int = 0) -> TrainingBatches:
    return TrainingBatches(
        Painted(PAINTED), batch_size=4, resolutions=[WIDE], augmenter=augmenter, seed=seed
    )


@pytest.mark.parametrize("crop", CROPS)
@pytest.mark.parametrize("jitter", [(0.4, 2.0), None])
def test_boxes_are_where_the_objects_are(crop: Any, jitter: Any) -> None:
    batches = painted_batches(Augmenter(crop=crop, scale_jitter=jitter))

    for step in range(25):
        batch = batches.batch(step)
        for image, sample in zip(batch.inputs, batch.samples, strict=True):
            pixels = image.permute(1, 2, 0) * torch.tensor(PIXEL_STD) + torch.tensor(PIXEL_MEAN)
            height, width = sample.img_shape
            seen = pixels[:height, :width]
            objects = sample.gt_instances
            assert len(objects) >= 1
            for (left, top, right, bottom), label in zip(
                objects.bboxes.tolist(), objects.labels.tolist(), strict=True
            ):
                assert -1e-3 <= left < right <= width + 1e-3
                assert -1e-3 <= top < bottom <= height + 1e-3
                rows, columns = seen[..., label].gt(100).nonzero(as_tuple=True)
                assert columns.min() == pytest.approx(left, abs=1.6)
                assert columns.max() + 1 == pytest.approx(right, abs=1.6)
                assert rows.min() == pytest.approx(top, abs=1.6)
                assert rows.max() + 1 == pytest.approx(bottom, abs=1.6)


def test_jitter_scales_images_and_never_exceeds_the_resolution() -> None:
    batches = painted_batches(Augmenter(scale_jitter=(0.5, 1.5)))

    sizes = [s.img_shape for step in range(100) for s in batches.batch(step).samples]

    assert max(sizes) == (64, 96)
    assert min(sizes) == pytest.approx((32, 48), abs=2)
    shares = [width / 96 for _, width in sizes]
    assert np.mean([share < 0.75 for share in shares]) == pytest.approx(0.25, abs=0.08)
    assert np.mean([share > 0.97 for share in shares]) == pytest.approx(0.5, abs=0.1)


def test_an_enlarged_image_shows_a_part_of_it_at_the_drawn_scale() -> None:
    batches = painted_batches(Augmenter(scale_jitter=(2.0, 2.0), flip_probability=0))

    for sample in batches.batch(0).samples:
        assert sample.img_shape == (64, 96)
        assert sample.scale_factor == pytest.approx((1.6, 1.6))  # 2 * min(96 / 120, 64 / 80)


def test_a_tall_image_is_cropped_to_the_resolution_turned() -> None:
    augmenter = Augmenter(scale_jitter=(2.0, 2.0))
    split = Painted(record(80, 120, (10, 10, 70, 110)))

    batch = TrainingBatches(split, batch_size=1, resolutions=[WIDE], augmenter=augmenter).batch(0)

    assert batch.samples[0].img_shape == (96, 64)


def test_teacher_sees_the_same_part_with_the_same_colours(shapes: CocoSplit) -> None:
    batches = TrainingBatches(
        shapes, batch_size=6, resolutions=[Resolution(64, 64)], augmenter=EVERYTHING, seed=2
    )
    own, large = batches.views(3, Resolution(128, 128))

    for image, sample, big_image, big in zip(
        own.inputs, own.samples, large.inputs, large.samples, strict=True
    ):
        ratio = big.scale_factor[0] / sample.scale_factor[0]
        assert ratio == pytest.approx(2, rel=0.1)  # sizes are rounded to whole pixels
        torch.testing.assert_close(
            sample.gt_instances.bboxes * ratio, big.gt_instances.bboxes, rtol=0.05, atol=2
        )
        assert torch.equal(sample.gt_instances.labels, big.gt_instances.labels)
        shown = image[:, : sample.img_shape[0], : sample.img_shape[1]]
        shown_large = big_image[:, : big.img_shape[0], : big.img_shape[1]]
        means = [view.mean(dim=(1, 2)) for view in (shown, shown_large)]
        torch.testing.assert_close(*means, rtol=0, atol=0.1)


def test_augmentations_depend_on_seed_and_step_only(shapes: CocoSplit) -> None:
    def batches(seed: int) -> TrainingBatches:
        return TrainingBatches(
            shapes, batch_size=3, resolutions=[WIDE], augmenter=EVERYTHING, seed=seed
        )

    straight = batches(1)
    for step in range(5):
        fifth = straight.batch(step)
    np.random.seed(9)
    state = _state()

    again, other = batches(1).batch(4), batches(2).batch(4)

    assert _state() == state  # numpy's global generator is left alone
    assert torch.equal(again.inputs, fifth.inputs)
    assert _boxes(again) == _boxes(fifth)
    assert _boxes(other) != _boxes(fifth)


def test_ranks_augment_their_images_differently() -> None:
    split = Painted(PAINTED, PAINTED)
    ranks = [
        TrainingBatches(
            split, batch_size=1, resolutions=[WIDE], augmenter=EVERYTHING, rank=rank, world_size=2
        )
        for rank in (0, 1)
    ]

    assert _boxes(ranks[0].batch(0)) != _boxes(ranks[1].batch(0))


def test_distortion_is_mmdets(shapes: CocoSplit) -> None:
    image = shapes.image(0)
    transform = PhotoMetricDistortion()
    different = 0
    for seed in range(8):
        distortion = Distortion(spec=PhotometricDistortionSpec(), seed=seed)
        np.random.seed(seed)
        expected = transform({"img": image[..., ::-1].copy()})["img"][..., ::-1]
        np.testing.assert_array_equal(distortion(image), expected)
        different += not np.allclose(expected, image, atol=1)
    assert different >= 6


def test_distortion_keeps_colours_in_their_channels_if_they_are_not_to_be_swapped() -> None:
    red = np.zeros((4, 4, 3), dtype=np.uint8)
    red[..., 0] = 200
    spec = PhotometricDistortionSpec(brightness_delta=0, hue_delta=0, swap_channels=False)

    for seed in range(10):
        distorted = Distortion(spec=spec, seed=seed)(red)
        assert (distorted[..., 0] > distorted[..., 1:].max(axis=-1) + 20).all()


def test_min_iou_crop_is_mmdets(monkeypatch: pytest.MonkeyPatch) -> None:
    class Draws:
        """numpy's module-level functions, as mmdet calls them, on a generator."""

        def __init__(self, seed: int) -> None:
            self.generator = np.random.default_rng(seed)

        def choice(self, values: Any) -> float:
            return float(self.generator.choice(values))

        def uniform(self, low: float, high: float | None = None) -> float:
            # mmdet means uniform(0, low), but numpy's second argument is 1 by default.
            return float(self.generator.uniform(*((low, high) if high is not None else (0, low))))

    transform, found = MinIoURandomCrop(), record(120, 80, (10, 10, 40, 40), (60, 20, 110, 70))
    cropped = 0
    for seed in range(60):
        monkeypatch.setattr(mmdets, "random", Draws(seed))
        results = transform(
            {
                "img": np.zeros((80, 120, 3), dtype=np.uint8),
                "gt_bboxes": HorizontalBoxes(torch.from_numpy(found.boxes.copy())),
                "gt_bboxes_labels": found.labels,
            }
        )
        crop = Augmenter(crop=MinIouCropSpec())._try_crop(found, WIDE, np.random.default_rng(seed))
        left, top, right, bottom = crop.window
        assert (bottom - top, right - left) == results["img"].shape[:2]
        assert crop.kept.tolist() == results["gt_bboxes_labels"].tolist()
        cropped += crop.window != (0, 0, 120, 80)
    assert cropped > 30


def test_random_crop_keeps_its_share_of_each_side() -> None:
    augmenter = Augmenter(crop=RandomCropSpec(min_crop_size=0.6))
    image = record(100, 50, (0, 0, 100, 50))
    windows = []
    for seed in range(200):
        crop = augmenter.draw(image, WIDE, np.random.default_rng(seed), flip=False).crop
        assert crop is not None
        windows.append(crop.window)

    widths = [right - left for left, _, right, _ in windows]
    heights = [bottom - top for _, top, _, bottom in windows]
    assert [min(widths), max(widths)] == pytest.approx([60, 100], abs=2)
    assert [min(heights), max(heights)] == pytest.approx([30, 50], abs=1)
    assert {left == 0 for left, *_ in windows} == {True, False}


def test_a_crop_that_would_lose_every_object_is_drawn_again() -> None:
    corner = record(200, 200, (0, 0, 12, 12))
    augmenter = Augmenter(crop=RandomCropSpec(min_crop_size=0.5))

    crops = [
        augmenter.draw(corner, WIDE, np.random.default_rng(seed), flip=False).crop
        for seed in range(100)
    ]

    assert all(crop is None or crop.kept.tolist() == [0] for crop in crops)
    assert sum(crop is not None for crop in crops) > 50


def test_an_image_without_objects_is_cropped_too() -> None:
    empty = record(100, 50)
    for crop in (RandomCropSpec(min_crop_size=0.5), MinIouCropSpec()):
        windows = {
            EVERYTHING.draw(empty, WIDE, np.random.default_rng(seed), flip=False).crop.window  # type: ignore[union-attr]
            for seed in range(20)
        }
        assert len(windows) > 10
        found = Augmenter(crop=crop).draw(empty, WIDE, np.random.default_rng(1), flip=False)
        assert found.crop is not None
        assert found.crop.kept.tolist() == []


def test_what_a_crop_leaves_of_an_object_is_at_least_a_pixel_but_small_objects_stay() -> None:
    tiny = record(100, 100, (50, 50, 50.5, 50.5))
    halves = Augmenter(scale_jitter=(0.5, 0.5))

    crop = halves.draw(tiny, Resolution(100, 100), np.random.default_rng(0), flip=False).crop

    assert crop is not None
    assert crop.kept.tolist() == [0]
    slivers = record(100, 100, (20, 20, 80, 80), (0, 0, 20, 100))
    kept = set()
    for seed in range(300):
        found = Augmenter(crop=RandomCropSpec(min_crop_size=0.5)).draw(
            slivers, Resolution(100, 100), np.random.default_rng(seed), flip=False
        )
        assert found.crop is not None
        left = found.crop.window[0]
        kept.add((left, 1 in found.crop.kept))
    assert all(is_kept == (20 - left >= 1) for left, is_kept in kept if left > 0)


def test_largest_views_hold_the_widest_and_the_tallest_image_in_turn() -> None:
    split = Painted(
        record(100, 100, (0, 0, 9, 9)),
        record(200, 100, (0, 0, 9, 9)),
        record(100, 200, (0, 0, 9, 9)),
    )
    batches = TrainingBatches(split, batch_size=1, resolutions=[WIDE])

    own, same, large = batches.largest_views(3, WIDE, WIDE, Resolution(192, 128))

    assert same is own
    assert own.indices == (1, 2, 1)
    assert tuple(own.inputs.shape) == (3, 3, 96, 96)
    assert tuple(large.inputs.shape) == (3, 3, 192, 192)


def _state() -> Any:
    """The state of numpy's global generator."""
    return np.random.get_state(legacy=False)["state"]["key"].tolist()


def _boxes(batch: Batch) -> list[Any]:
    return [sample.gt_instances.bboxes.tolist() for sample in batch.samples]
