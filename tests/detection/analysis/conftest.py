"""Tiny detectors and batches of shapes."""

from collections.abc import Sequence

import pytest

from detection.data.batches import Batch, fixed_batches
from detection.data.coco import CocoSplit
from detection.data.shapes import make_shapes
from searchd.domain.resolution import Resolution


@pytest.fixture(scope="session")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> CocoSplit:
    folder = tmp_path_factory.mktemp("shapes")
    return CocoSplit(make_shapes(folder, num_train=8, num_validation=1, image_size=64).train)


@pytest.fixture
def batches(shapes: CocoSplit) -> Sequence[Batch]:
    return list(fixed_batches(shapes, Resolution(64, 64), 4, masks=True))
