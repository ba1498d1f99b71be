"""Masks of boxes become the pixels of an image that mmdet makes of them."""

from typing import Any

import numpy as np
import pytest
import torch
from mmdet.structures import DetDataSample

from detection.deployment import predict_program
from detection.deployment.pasting import pasted
from detection.deployment.torch_runner import TorchRunner
from searchd.domain.detector import Family
from tests.detection.deployment import tiny


def box(*sides: float) -> np.ndarray:
    return np.array(sides, dtype=np.float32)


def test_each_cell_covers_its_part_of_the_box() -> None:
    mask = np.array([[1, 0], [0, 1]], dtype=np.float32)

    found = pasted(mask, box(1, 2, 5, 6), width=6, height=7)

    rows, columns = np.nonzero(found)
    inside = set(zip(rows.tolist(), columns.tolist(), strict=True))
    assert {(2, 1), (3, 2), (4, 3), (5, 4)} <= inside  # the two cells are 2 x 2 pixels each
    assert not inside & {(2, 3), (2, 4), (3, 4), (4, 1), (5, 1), (5, 2)}
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (2, 5, 1, 4)


def test_a_box_that_leaves_the_image_is_cut() -> None:
    found = pasted(np.ones((28, 28), dtype=np.float32), box(-4, 3, 4, 20), width=8, height=8)

    assert found[3:, :4].all()
    assert found.sum() == 5 * 4


@pytest.mark.parametrize("sides", [(3, 3, 3, 6), (3, 3, 6, 3)])
def test_a_box_without_area_has_no_pixel(sides: tuple[float, ...]) -> None:
    assert not pasted(np.ones((28, 28), dtype=np.float32), box(*sides), width=8, height=8).any()


@pytest.mark.parametrize("size", [(96, 64), (75, 130)], ids=str)
def test_pixels_are_those_of_mmdet_and_of_the_shipped_program(size: tuple[int, int]) -> None:
    model, image = tiny.model(Family.MASK_RCNN), tiny.noise(*size)
    found = TorchRunner(model).detect(image)
    assert found.masks is not None

    expected = pixels_of_mmdet(model, image)
    width, height = size
    blank = np.zeros((height, width, 3), dtype=np.uint8)

    assert len(expected) == len(found.masks) > 5
    for pixels, mask, corners in zip(expected, found.masks, found.boxes, strict=True):
        ours = pasted(mask, corners, width, height)
        # A probability that is 0.5 but for its last digit is on either side.
        assert (ours != pixels).sum() <= 0.002 * ours.size
        assert (predict_program.inside(mask, corners, blank) != ours).sum() <= 1
    assert sum(pixels.sum() for pixels in expected) > 1000


@torch.inference_mode()
def pixels_of_mmdet(model: Any, image: np.ndarray) -> Any:
    """The masks that mmdet's `predict` returns: n x height x width."""
    shape = image.shape[-2:]
    sample = DetDataSample(
        metainfo={"img_shape": shape, "ori_shape": shape, "scale_factor": (1.0, 1.0)}
    )
    given = {"inputs": [torch.from_numpy(image[0])], "data_samples": [sample]}
    made = model.data_preprocessor(given, False)
    (predicted,) = model.predict(made["inputs"], made["data_samples"], rescale=True)
    return predicted.pred_instances.masks.numpy()
