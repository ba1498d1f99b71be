"""Which parts stay in 32 bits, and which images the ranges are measured on."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest

from detection.data.coco import CocoSplit
from detection.data.shapes import make_shapes
from detection.deployment.check import measure_aps
from detection.deployment.exported import Found, Pixels
from detection.deployment.quantised import ApLoss, CalibrationImages, within_limit
from detection.deployment.torch_runner import TorchRunner
from searchd.domain.detector import Family
from searchd.domain.errors import ParityError
from tests.detection.deployment import tiny


class Nothing:
    """A runner that finds nothing."""

    software = "none"

    def detect(self, images: Pixels) -> Found:
        del images
        none = np.zeros(0, dtype=np.float32)
        return Found(boxes=none.reshape(0, 4), scores=none, labels=none.astype(np.int64))

    def raw(self, _: Pixels) -> list[Pixels]:
        raise NotImplementedError


@dataclass
class Made:
    kept: Sequence[str]
    runner = Nothing()


def test_as_little_as_possible_stays_in_32_bits() -> None:
    losses = iter([0.02, 0.011, 0.01])
    request = tiny.request(ap_loss=lambda _: next(losses), max_ap_loss=0.01)

    made, kept = within_limit(Made, request)

    assert (kept, made.kept) == (["heads", "stem"], ["heads", "stem"])


def test_a_limit_that_nothing_keeps_fails_with_every_attempt() -> None:
    request = tiny.request(ap_loss=lambda _: 0.034, max_ap_loss=0.01)

    with pytest.raises(
        ParityError,
        match=r"int8 loses more than 1 points of AP .*: 3.40 with nothing in 32 bits, 3.40 with "
        r"heads in 32 bits, .* and stage 2 in 32 bits\. Use precision=fp16 or fp32",
    ):
        within_limit(Made, request)


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> CocoSplit:
    folder = tmp_path_factory.mktemp("shapes")
    return CocoSplit(
        make_shapes(folder, num_train=6, num_validation=1, image_size=64, num_classes=3).train
    )


def test_calibration_images_are_chosen_by_seed(split: CocoSplit) -> None:
    def chosen(number: int, seed: int) -> list[float]:
        images = CalibrationImages(split, tiny.request(), number=number, seed=seed)
        return [float(image.mean()) for image in images]

    assert len(chosen(3, 0)) == 3
    assert chosen(3, 0) == chosen(3, 0)
    assert chosen(3, 0) != chosen(3, 1)
    assert chosen(100, 0) == chosen(6, 7)  # all
    assert CalibrationImages(split, tiny.request(), number=1, seed=0)[0].shape == (1, 3, 80, 80)


def test_the_loss_of_ap_is_that_against_torch(split: CocoSplit) -> None:
    model = tiny.model(Family.FCOS)
    loss = ApLoss(model=model, request=tiny.request(), validation=split)

    assert loss(TorchRunner(model)) == 0
    assert loss(Nothing()) == pytest.approx(loss._expected.ap)


class Truth(Nothing):
    """Finds the boxes of a split, image by image, with masks of one probability."""

    def __init__(self, split: CocoSplit, probability: float) -> None:
        self._records, self._probability = iter(split.records), probability

    def detect(self, images: Pixels) -> Found:
        record = next(self._records)
        number, scale = len(record.labels), images.shape[-1] / record.width
        return Found(
            boxes=record.boxes * np.float32(scale),
            scores=np.ones(number, dtype=np.float32),
            labels=record.labels.astype(np.int64),
            masks=np.full((number, 28, 28), self._probability, dtype=np.float32),
        )


def test_the_loss_of_a_detector_of_masks_is_that_of_the_ap_that_falls_most(
    split: CocoSplit,
) -> None:
    loss = ApLoss(model=tiny.model(Family.MASK_RCNN), request=tiny.request(), validation=split)
    right = measure_aps(Truth(split, 1.0), tiny.request(), split).total
    vars(loss)["_expected"] = right

    assert right.ap == 1
    assert right.mask_ap is not None
    assert right.mask_ap > 0.1
    assert loss(Truth(split, 0.0)) == right.mask_ap
