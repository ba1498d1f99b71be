"""A tiny student, a tiny teacher with a wider neck, and a batch of shapes."""

from typing import Any

import pytest
import torch
from mmdet.models import FasterRCNN

from detection.build import build_detector
from detection.data.batches import Batch, make_batch
from detection.data.coco import CocoSplit
from detection.data.shapes import make_shapes
from searchd.domain.architecture import preset
from searchd.domain.detector import Detector, Family
from searchd.domain.resolution import Resolution


def tiny(name: str, neck_channels: int, family: Family = Family.FASTER_RCNN) -> Any:
    """A random detector for 4 classes on images of 64 pixels."""
    return build_detector(
        Detector(
            architecture=preset(name, base_channels=8),
            num_classes=4,
            family=family,
            neck_channels=neck_channels,
            tower_channels=16,
            tower_convs=2,
            head_channels=32,
            mask_channels=16,
            anchor_scale=4.0,
            finest_roi_scale=14,
            num_proposals=30,
        )
    )


@pytest.fixture
def student() -> FasterRCNN:
    torch.manual_seed(1)
    return tiny("resnet18", 16)


@pytest.fixture
def teacher() -> FasterRCNN:
    torch.manual_seed(2)
    return tiny("resnet18", 24)


@pytest.fixture(scope="session")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> CocoSplit:
    folder = tmp_path_factory.mktemp("shapes")
    return CocoSplit(make_shapes(folder, num_train=8, num_validation=1, image_size=64).train)


@pytest.fixture
def batch(shapes: CocoSplit) -> Batch:
    flips = [False, True, False, True]
    return make_batch(shapes, [0, 1, 2, 3], Resolution(64, 64), flips, masks=True)


@pytest.fixture
def batch_without_objects(batch: Batch) -> Batch:
    for sample in batch.samples:
        sample.gt_instances = sample.gt_instances[:0]
    return batch
