"""Batches: resizing, flipping, padding, and draws that depend on seed and position only."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from detection.build import PIXEL_MEAN, PIXEL_STD
from detection.data.augmentations import Augmenter
from detection.data.batches import TrainingBatches, fixed_batches, make_batch, resized
from detection.data.coco import CocoSplit
from detection.data.shapes import make_shapes
from detection.distillation.recorded_calls import recorded_calls
from searchd.domain.errors import DataError
from searchd.domain.resolution import Resolution
from searchd.spec import DatasetSpec

MakeDataset = Callable[..., DatasetSpec]
FOUR = (Resolution(64, 64), Resolution(80, 64), Resolution(96, 64), Resolution(96, 96))


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> CocoSplit:
    folder: Path = tmp_path_factory.mktemp("shapes")
    return CocoSplit(make_shapes(folder, num_train=10, num_validation=1, image_size=32).train)


@pytest.mark.parametrize(
    ("size", "expected"),
    [((640, 480), (1067, 800)), ((480, 640), (800, 1067)), ((1000, 400), (1333, 533))],
)
def test_long_side_and_short_side_bound_the_resized_image(
    size: tuple[int, int], expected: tuple[int, int]
) -> None:
    assert resized(*size, Resolution(1333, 800)) == expected


def test_sample_describes_the_resized_image_as_mmdet_needs_it(make_dataset: MakeDataset) -> None:
    split = CocoSplit(make_dataset().train)

    batch = make_batch(split, [0, 1], Resolution(80, 60), [False, False])
    wide, tall = batch.samples

    assert tuple(batch.inputs.shape) == (2, 3, 96, 96)
    assert wide.img_shape == (40, 80)
    assert wide.ori_shape == (20, 40)
    assert wide.scale_factor == (2.0, 2.0)
    assert wide.pad_shape == wide.batch_input_shape == (96, 96)
    assert wide.gt_instances.bboxes.tolist() == [[0, 0, 20, 10], [40, 20, 80, 40]]
    assert wide.gt_instances.labels.tolist() == [1, 0]
    assert tall.img_shape == (80, 40)
    assert tall.scale_factor == (pytest.approx(40 / 30), pytest.approx(80 / 60))


def test_pixels_are_normalised_and_padding_is_zero(make_dataset: MakeDataset) -> None:
    split = CocoSplit(make_dataset().train)

    (image,) = make_batch(split, [0], Resolution(40, 20), [False]).inputs
    expected = (split.image(0) - np.array(PIXEL_MEAN)) / np.array(PIXEL_STD)

    assert tuple(image.shape) == (3, 32, 64)
    np.testing.assert_allclose(image[:, :20, :40].permute(1, 2, 0).numpy(), expected, atol=1e-6)
    assert not image[:, 20:].any()
    assert not image[:, :, 40:].any()


def test_flip_mirrors_pixels_and_boxes_inside_the_unpadded_image(make_dataset: MakeDataset) -> None:
    split = CocoSplit(make_dataset().train)

    plain = make_batch(split, [0], Resolution(80, 40), [False])
    flipped = make_batch(split, [0], Resolution(80, 40), [True])

    assert torch.equal(flipped.inputs[0, :, :40, :80], plain.inputs[0, :, :40, :80].flip(2))
    assert flipped.samples[0].gt_instances.bboxes.tolist() == [[60, 0, 80, 10], [0, 20, 40, 40]]
    assert plain.samples[0].gt_instances.bboxes.tolist() == [[0, 0, 20, 10], [40, 20, 80, 40]]


def test_batch_depends_on_seed_and_step_only(shapes: CocoSplit) -> None:
    def batches(seed: int) -> TrainingBatches:
        return TrainingBatches(shapes, batch_size=4, resolutions=FOUR, seed=seed)

    straight = batches(1)
    for step in range(7):
        seventh = straight.batch(step)
    again, other = batches(1).batch(6), batches(2).batch(6)

    assert again.indices == seventh.indices
    assert torch.equal(again.inputs, seventh.inputs)
    assert (other.indices, other.resolution) != (seventh.indices, seventh.resolution)


def test_epoch_holds_every_image_and_is_shuffled_anew(shapes: CocoSplit) -> None:
    batches = TrainingBatches(shapes, batch_size=4, resolutions=FOUR[:1])
    epochs = [[i for step in range(3) for i in batches.batch(3 * e + step).indices] for e in (0, 1)]

    assert batches.num_iterations == 3
    for order in epochs:
        assert sorted(order[:10]) == list(range(10))
        assert order[10:] == order[:2]  # the last batch is filled up from the start
    assert epochs[0] != epochs[1]


def test_ranks_share_the_epoch_and_the_resolution(shapes: CocoSplit) -> None:
    ranks = [
        TrainingBatches(shapes, batch_size=2, resolutions=FOUR, seed=5, rank=rank, world_size=2)
        for rank in (0, 1)
    ]
    steps = range(ranks[0].num_iterations)
    dealt = [i for step in steps for rank in ranks for i in rank.batch(step).indices]

    assert len(steps) == 3
    assert sorted(dealt[:10]) == list(range(10))
    assert all(ranks[0].resolution(step) == ranks[1].resolution(step) for step in range(50))


def test_resolutions_are_drawn_uniformly(shapes: CocoSplit) -> None:
    batches = TrainingBatches(shapes, batch_size=4, resolutions=FOUR, seed=3)

    counts = Counter(batches.resolution(step) for step in range(2000))

    assert set(counts) == set(FOUR)
    chi_square = sum((count - 500) ** 2 / 500 for count in counts.values())
    assert chi_square < 11.34  # the 99th percentile at 3 degrees of freedom


def test_views_are_the_steps_images_at_other_sizes_flipped_alike(shapes: CocoSplit) -> None:
    batches = TrainingBatches(shapes, batch_size=10, resolutions=FOUR, seed=4)
    expected = batches.batch(2)

    with recorded_calls(shapes, "image") as calls:
        own, large, same = batches.views(2, Resolution(160, 160), batches.resolution(2))

    assert same is own
    assert torch.equal(own.inputs, expected.inputs)
    assert tuple(large.inputs.shape) == (10, 3, 160, 160)
    assert own.indices == large.indices == expected.indices
    assert own.indices == tuple(call.args[0] for call in calls)  # decoded once each
    flips = [sample.flip for sample in own.samples]
    assert [sample.flip for sample in large.samples] == flips
    assert set(flips) == {True, False}
    for small, big in zip(own.samples, large.samples, strict=True):
        ratio = 160 / small.img_shape[0]
        torch.testing.assert_close(small.gt_instances.bboxes * ratio, big.gt_instances.bboxes)


def test_flips_follow_their_probability(shapes: CocoSplit) -> None:
    def share(probability: float) -> float:
        batches = TrainingBatches(
            shapes,
            batch_size=10,
            resolutions=FOUR[:1],
            augmenter=Augmenter(flip_probability=probability),
        )
        return float(np.mean([s.flip for step in range(30) for s in batches.batch(step).samples]))

    assert (share(0), share(1)) == (0, 1)
    assert share(0.5) == pytest.approx(0.5, abs=0.1)


def test_images_without_objects_are_not_trained_on(make_dataset: MakeDataset) -> None:
    def drop_tall(document: dict[str, list[object]]) -> None:
        del document["annotations"][1]

    split = CocoSplit(make_dataset(drop_tall).train)
    batches = TrainingBatches(split, batch_size=2, resolutions=FOUR[:1])

    assert batches.num_iterations == 1
    assert batches.batch(0).indices == (0, 0)


def test_images_without_objects_are_trained_on_as_background_but_not_crowds(
    make_dataset: MakeDataset,
) -> None:
    def keep_crowd_and_clear_tall(document: dict[str, list[dict[str, object]]]) -> None:
        document["annotations"] = [a for a in document["annotations"] if a["id"] in (1, 3)]
        document["annotations"][1]["iscrowd"] = 1
        crowd = {"id": 9, "file_name": "wide.png", "width": 40, "height": 20}
        document["images"].append(crowd)
        document["annotations"][1]["image_id"] = 9

    split = CocoSplit(make_dataset(keep_crowd_and_clear_tall).train)
    batches = TrainingBatches(split, batch_size=2, resolutions=FOUR[:1], use_empty_images=True)
    batch = batches.batch(0)

    assert batches.num_iterations == 1
    assert sorted(batch.indices) == [0, 1]
    empty = batch.samples[batch.indices.index(1)].gt_instances
    assert (empty.bboxes.shape, empty.labels.shape) == ((0, 4), (0,))


def test_split_without_objects_cannot_be_trained_on(make_dataset: MakeDataset) -> None:
    split = CocoSplit(make_dataset(lambda d: d["annotations"].clear()).train)

    with pytest.raises(DataError, match=r"train\.json: no image has an object"):
        TrainingBatches(split, batch_size=2, resolutions=FOUR)


def test_fixed_batches_hold_each_image_once_and_equal_sizes_together(
    make_dataset: MakeDataset, shapes: CocoSplit
) -> None:
    mixed = list(fixed_batches(CocoSplit(make_dataset().train), Resolution(80, 60), 8))
    equal = list(fixed_batches(shapes, Resolution(32, 32), 4))

    assert [batch.indices for batch in mixed] == [(0,), (1,)]
    assert [tuple(batch.inputs.shape[2:]) for batch in mixed] == [(64, 96), (96, 64)]
    assert [batch.indices for batch in equal] == [(0, 1, 2, 3), (4, 5, 6, 7), (8, 9)]
    assert [b.indices for b in fixed_batches(shapes, Resolution(32, 32), 4, [5, 2])] == [(5, 2)]


def test_batch_moves_to_a_device(shapes: CocoSplit) -> None:
    batch = make_batch(shapes, [0], Resolution(32, 32), [False])

    assert batch.to("cpu") is batch
    moved = batch.to("meta")
    assert moved.inputs.device.type == moved.samples[0].gt_instances.bboxes.device.type == "meta"
