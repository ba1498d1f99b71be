"""One crop for each object, and the batches that a classifier is trained on."""

from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from detection.build import PIXEL_MEAN, PIXEL_STD
from detection.data.coco import CocoSplit
from detection.data.crop_batches import CropBatches, distort
from detection.data.crops import CropSplit, fixed_crop_batches
from searchd.domain.errors import DataError
from searchd.spec.classifier import ClassifierSpec
from tests.detection.data.conftest import MakeDataset


def _annotate(*boxes: list[float]) -> Any:
    """Puts further objects of category 5 into image 3, which has 30x60 pixels."""

    def edit(document: dict[str, Any]) -> None:
        document["annotations"] += [
            {"id": 10 + i, "image_id": 3, "category_id": 5, "bbox": box, "area": 1}
            for i, box in enumerate(boxes)
        ]

    return edit


def _spec(**changes: Any) -> ClassifierSpec:
    defaults: dict[str, Any] = {"backbone": "resnet18", "batch_size": 2, "input_size": 32}
    return ClassifierSpec.model_validate(defaults | changes)


def test_every_object_has_a_crop_and_crowds_have_none(make_dataset: MakeDataset) -> None:
    crops = CropSplit(CocoSplit(make_dataset().train))

    assert len(crops) == 3
    assert crops.images.tolist() == [0, 0, 1]
    assert crops.labels.tolist() == [1, 0, 0]  # categories 90, 5, 5
    assert [crops.crop(i).shape for i in range(3)] == [(5, 10, 3), (10, 20, 3), (30, 12, 3)]


def test_boxes_with_a_side_under_one_pixel_have_no_crop(make_dataset: MakeDataset) -> None:
    dataset = make_dataset(
        _annotate([4, 4, 0.9, 20], [4, 4, 20, 0.5], [4, 4, 0, 3], [20.17, 4, 1.0, 1.0])
    )

    crops = CropSplit(CocoSplit(dataset.train))

    assert len(crops) == 4
    assert crops.boxes[-1].tolist() == pytest.approx([20.17, 4, 21.17, 5])


def test_a_crop_is_every_pixel_that_the_box_touches(make_dataset: MakeDataset) -> None:
    split = CocoSplit(make_dataset(_annotate([3.4, 6.5, 2.2, 3.0])).train)

    crop = CropSplit(split).crop(3)

    assert np.array_equal(crop, split.image(1)[6:10, 3:6])


def test_a_split_without_a_usable_object_is_refused(make_dataset: MakeDataset) -> None:
    def empty(document: dict[str, Any]) -> None:
        document["annotations"] = [a for a in document["annotations"] if a.get("iscrowd")]

    with pytest.raises(DataError, match="no object has at least 1.0 pixel a side"):
        CropSplit(CocoSplit(make_dataset(empty).train))


def test_a_crop_of_the_input_size_is_only_normalised(make_dataset: MakeDataset) -> None:
    split = CocoSplit(make_dataset(_annotate([0, 0, 30, 30], [0, 10, 30, 30])).train)
    crops = CropSplit(split)

    batch = list(fixed_crop_batches(crops, 30, 3))[-1]

    pixels = (batch.inputs[1].permute(1, 2, 0) * torch.tensor(PIXEL_STD)) + torch.tensor(PIXEL_MEAN)
    assert tuple(batch.inputs.shape) == (2, 3, 30, 30)
    assert np.allclose(pixels.numpy(), split.image(1)[10:40, :30], atol=1e-3)


def test_an_epoch_holds_every_crop_and_fills_its_last_batch(make_dataset: MakeDataset) -> None:
    crops = CropSplit(CocoSplit(make_dataset().train))
    batches = CropBatches(crops, _spec(flip_probability=0.0))
    plain = next(fixed_crop_batches(crops, 32, 3)).inputs

    seen = torch.cat([batches[0].inputs, batches[1].inputs])

    found = [int((plain - one).abs().amax(dim=(1, 2, 3)).argmin()) for one in seen]
    assert batches.num_iterations == 2
    assert sorted(found[:3]) == [0, 1, 2]
    assert found[3] == found[0]


def test_mirroring_mirrors_crops(make_dataset: MakeDataset) -> None:
    crops = CropSplit(CocoSplit(make_dataset().train))
    plain = CropBatches(crops, _spec(flip_probability=0.0))[0]

    mirrored = CropBatches(crops, _spec(flip_probability=1.0))[0]

    assert torch.equal(mirrored.labels, plain.labels)
    torch.testing.assert_close(mirrored.inputs, plain.inputs.flip(3), atol=0.03, rtol=0)


@pytest.mark.parametrize("augmentation", ["general", "ssd"])
def test_batches_depend_on_seed_and_number_alone(
    make_dataset: MakeDataset, augmentation: str
) -> None:
    crops = CropSplit(CocoSplit(make_dataset().train))
    spec = _spec(augmentation=augmentation)

    def inputs(step: int, seed: int = 0) -> torch.Tensor:
        return CropBatches(crops, spec, seed=seed)[step].inputs

    ahead = list(DataLoader(CropBatches(crops, spec), batch_size=None, sampler=range(3, 6)))
    assert torch.equal(ahead[1].inputs, inputs(4))
    assert not torch.equal(inputs(4), inputs(6))
    assert not torch.equal(inputs(4), inputs(4, seed=1))


def test_ssd_distortion_changes_colours_size_and_place() -> None:
    rng = np.random.default_rng(0)
    pixels = np.asarray(rng.integers(0, 256, (20, 30, 3)), dtype=np.uint8)
    np.random.seed(0)

    drawn = [distort(pixels) for _ in range(40)]

    sizes = {one.shape[:2] for one in drawn}
    padded = [one for one in drawn if np.allclose(one[0, 0], PIXEL_MEAN, atol=0.01)]
    assert len(sizes) > 10
    assert max(height for height, _ in sizes) > 20  # expanded
    assert min(height for height, _ in sizes) < 20  # a part
    assert len(padded) > 3  # with the mean pixel, in RGB


def test_ssd_distortion_keeps_the_order_of_colours() -> None:
    red = np.zeros((8, 8, 3), dtype=np.uint8)
    red[..., 0] = 200
    np.random.seed(0)

    means = np.stack([distort(red)[2:6, 2:6].mean(axis=(0, 1)) for _ in range(60)])

    # Channels are swapped at random now and then; else red stays the strongest.
    assert (means.argmax(axis=1) == 0).mean() > 0.5
