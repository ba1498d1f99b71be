"""Crops of the input by a spatial transformer, and their gradients."""

import numpy as np
import pytest
import torch
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData
from numpy.typing import NDArray
from torch import Tensor

from detection.data.batches import Batch
from detection.distillation.crop import crop, object_crops
from detection.distillation.taps import MatchedPredictions
from searchd.domain.resolution import Resolution

Floats = NDArray[np.float64]


@pytest.fixture
def noise() -> Batch:
    """Two images of 24x20 and 32x18 pixels (W x H) in inputs of 32x20, float64, with two objects
    and one."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(2, 3, 20, 32, generator=generator, dtype=torch.float64)
    objects = (boxes_of([2, 3, 9, 15], [10, 1, 20, 11]), boxes_of([5, 5, 17, 17]))
    samples = []
    for boxes, shape in zip(objects, ((20, 24), (18, 32)), strict=True):
        sample = DetDataSample(metainfo={"img_shape": shape, "batch_input_shape": (20, 32)})
        labels = torch.zeros(len(boxes), dtype=torch.long)
        sample.gt_instances = InstanceData(bboxes=boxes, labels=labels)
        samples.append(sample)
    return Batch(inputs=inputs, samples=samples, indices=(0, 1), resolution=Resolution(32, 20))


def cut(image: Floats, box: list[float], size: int) -> Floats:
    """Crop and resize, pixel by pixel: the centre of each output pixel, read bilinearly."""
    x1, y1, x2, y2 = box
    height, width = image.shape[1:]
    result = np.zeros((len(image), size, size))
    for row in range(size):
        for column in range(size):
            x = np.clip(x1 + (column + 0.5) * (x2 - x1) / size - 0.5, 0, width - 1)
            y = np.clip(y1 + (row + 0.5) * (y2 - y1) / size - 0.5, 0, height - 1)
            left, top = int(x), int(y)
            right, bottom = min(left + 1, width - 1), min(top + 1, height - 1)
            u, v = x - left, y - top
            upper = (1 - u) * image[:, top, left] + u * image[:, top, right]
            lower = (1 - u) * image[:, bottom, left] + u * image[:, bottom, right]
            result[:, row, column] = (1 - v) * upper + v * lower
    return result


def boxes_of(*boxes: list[float]) -> Tensor:
    return torch.tensor(boxes, dtype=torch.float64)


@pytest.mark.parametrize("size", [1, 4, 14])
def test_crops_equal_a_naive_crop_and_resize(noise: Batch, size: int) -> None:
    boxes = [[5.3, 2.1, 17.9, 10.4], [0.0, 0, 24, 20], [1.2, 3.3, 8.1, 17.7], [0.2, 0.1, 2.4, 1.9]]
    image = [1, 0, 1, 0]

    crops = crop(noise, boxes_of(*boxes), torch.tensor(image), size)

    assert tuple(crops.shape) == (4, 3, size, size)
    for found, box, number in zip(crops, boxes, image, strict=True):
        expected = cut(noise.inputs[number].numpy(), box, size)
        np.testing.assert_allclose(found.numpy(), expected, atol=1e-12)


def test_a_box_of_the_crops_size_is_the_pixels_themselves(noise: Batch) -> None:
    crops = crop(noise, boxes_of([4, 6, 12, 14]), torch.tensor([0]), 8)

    torch.testing.assert_close(crops[0], noise.inputs[0, :, 6:14, 4:12], atol=1e-12, rtol=0)


def test_boxes_are_clipped_to_their_images_without_padding(noise: Batch) -> None:
    outside = boxes_of([-5, 4, 30, 16], [3, -2, 40, 25])
    inside = boxes_of([0, 4, 24, 16], [3, 0, 32, 18])
    image = torch.tensor([0, 1])

    assert torch.equal(crop(noise, outside, image, 6), crop(noise, inside, image, 6))


def test_gradients_of_boxes_equal_finite_differences(noise: Batch) -> None:
    boxes = boxes_of([5.3, 2.1, 17.9, 10.4], [1.23, 3.31, 8.17, 17.74]).requires_grad_()
    image = torch.tensor([1, 0])

    assert torch.autograd.gradcheck(lambda b: crop(noise, b, image, 5), boxes)


def test_a_clipped_side_has_no_gradient(noise: Batch) -> None:
    boxes = boxes_of([-5, 4, 12, 16]).requires_grad_()

    crop(noise, boxes, torch.tensor([0]), 6).square().sum().backward()

    assert boxes.grad is not None
    assert boxes.grad[0, 0] == 0
    assert boxes.grad[0, 1:].abs().min() > 0


def test_a_box_without_area_gives_finite_gradients(noise: Batch) -> None:
    boxes = boxes_of([7, 5, 7, 5]).requires_grad_()

    crops = crop(noise, boxes, torch.tensor([0]), 4)
    crops.sum().backward()

    assert boxes.grad is not None
    assert torch.isfinite(boxes.grad).all()


def test_no_boxes_give_no_crops_with_a_graph(noise: Batch) -> None:
    boxes = torch.zeros(0, 4, dtype=torch.float64, requires_grad=True)

    crops = crop(noise, boxes, torch.zeros(0, dtype=torch.long), 4)
    crops.sum().backward()

    assert tuple(crops.shape) == (0, 3, 4, 4)
    assert boxes.grad is not None


def test_each_matched_object_is_cropped_once(noise: Batch) -> None:
    predictions = MatchedPredictions(
        logits=torch.zeros(4, 2),
        boxes=torch.zeros(4, 4),
        image=torch.tensor([1, 0, 1, 0]),
        object=torch.tensor([0, 1, 0, 1]),
    )

    crops, number = object_crops(noise, predictions, 6)

    assert number.tolist() == [1, 0, 1, 0]
    expected = [
        cut(noise.inputs[0].numpy(), [10, 1, 20, 11], 6),
        cut(noise.inputs[1].numpy(), [5, 5, 17, 17], 6),
    ]
    np.testing.assert_allclose(crops.numpy(), np.stack(expected), atol=1e-12)


def test_objects_of_an_image_without_any_do_not_shift_those_after_it(noise: Batch) -> None:
    noise.samples[0].gt_instances = noise.samples[0].gt_instances[:0]
    predictions = MatchedPredictions(
        logits=torch.zeros(1, 2),
        boxes=torch.zeros(1, 4),
        image=torch.tensor([1]),
        object=torch.tensor([0]),
    )

    crops, number = object_crops(noise, predictions, 6)

    assert number.tolist() == [0]
    expected = cut(noise.inputs[1].numpy(), [5, 5, 17, 17], 6)
    np.testing.assert_allclose(crops[0].numpy(), expected, atol=1e-12)
