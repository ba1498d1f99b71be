import pytest
import torch

from detection.data.coco import CocoSplit
from detection.data.shapes import make_shapes
from detection.data.views import FixedViews, make_views
from searchd.domain.resolution import Resolution
from tests.detection.data.conftest import MakeDataset

SMALL, LARGE = Resolution(32, 32), Resolution(96, 96)


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> CocoSplit:
    folder = tmp_path_factory.mktemp("shapes")
    return CocoSplit(make_shapes(folder, num_train=5, num_validation=1, image_size=64).train)


def test_views_are_the_same_images_at_every_detectors_size(shapes: CocoSplit) -> None:
    views = make_views(
        shapes, [3, 1], {"student": SMALL, "a": LARGE, "b": LARGE}, flips=[True, False]
    )
    assert views["a"] is views["b"]
    assert views["student"].inputs.shape == (2, 3, 32, 32)
    assert views["a"].inputs.shape == (2, 3, 96, 96)
    for small, large in zip(views["student"].samples, views["a"].samples, strict=True):
        assert small.img_id == large.img_id
        assert small.flip == large.flip
        torch.testing.assert_close(small.gt_instances.bboxes * 3, large.gt_instances.bboxes)


def test_fixed_views_go_through_every_image_once_and_again(shapes: CocoSplit) -> None:
    views = FixedViews(split=shapes, resolutions={"a": SMALL, "b": LARGE}, batch_size=2)
    for _ in range(2):
        seen = [view["a"].indices for view in views]
        assert seen == [(0, 1), (2, 3), (4,)]
        assert [view["b"].indices for view in views] == seen


def test_fixed_views_of_some_images(shapes: CocoSplit) -> None:
    views = FixedViews(split=shapes, resolutions={"a": SMALL}, batch_size=8, indices=[4, 0])
    assert [view["a"].indices for view in views] == [(4, 0)]


def test_images_of_different_sizes_are_never_in_one_batch(make_dataset: MakeDataset) -> None:
    split = CocoSplit(make_dataset().train)
    views = FixedViews(split=split, resolutions={"a": SMALL, "b": LARGE}, batch_size=2)
    assert [view["b"].indices for view in views] == [(0,), (1,)]
