"""Fakes look like the training split's objects, and are five to each of them."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData

from detection.data.batches import Batch
from detection.distillation.fake_instances import FakeInstances, InstanceSampler
from searchd.domain.resolution import Resolution


def split_of(*objects: tuple[int, float, float]) -> Any:
    """A split with one image of 100 x 50 px for each label, width and height in pixels."""
    records = [
        SimpleNamespace(
            width=100,
            height=50,
            boxes=np.array([[2, 1, 2 + width, 1 + height]], dtype=np.float32),
            labels=np.array([label]),
        )
        for label, width, height in objects
    ]
    return SimpleNamespace(records=records)


def batch_of(*images: list[list[float]], size: tuple[int, int] = (100, 50)) -> Batch:
    """Images of a size (width, height) in pixels, with boxes, padded to 128 x 64."""
    samples = []
    for boxes in images:
        sample = DetDataSample(metainfo={"img_shape": size[::-1], "batch_input_shape": (64, 128)})
        sample.gt_instances = InstanceData(
            bboxes=torch.tensor(boxes).reshape(-1, 4), labels=torch.ones(len(boxes)).long()
        )
        samples.append(sample)
    return Batch(
        inputs=torch.zeros(len(images), 3, 64, 128),
        samples=samples,
        indices=tuple(range(len(images))),
        resolution=Resolution(128, 64),
    )


def sampler(*, fakes: int = 5, limit: int = 100) -> InstanceSampler:
    split = split_of((0, 10, 5), (1, 20, 10), (1, 40, 20))
    return InstanceSampler(FakeInstances(split, num_classes=3), fakes, limit)


def test_fakes_have_the_class_frequencies_of_the_split() -> None:
    torch.manual_seed(0)
    split = split_of((0, 10, 10), (2, 10, 10), (2, 10, 10), (2, 10, 10))

    _, labels = FakeInstances(split, num_classes=4)(4000)

    shares = torch.bincount(labels, minlength=4) / 4000
    assert shares.tolist() == pytest.approx([0.25, 0, 0.75, 0], abs=0.02)


def test_fakes_have_the_sizes_of_their_class() -> None:
    torch.manual_seed(0)
    fakes = FakeInstances(split_of((0, 10, 5), (1, 20, 10), (1, 30, 10)), num_classes=2)

    boxes, labels = fakes(8000)

    inside = ((boxes > 0) & (boxes < 1)).all(dim=1)  # the others have lost a part
    small, large = (boxes[inside & (labels == label)] for label in (0, 1))
    torch.testing.assert_close(small[:, 2] - small[:, 0], torch.full([len(small)], 0.1))
    torch.testing.assert_close(small[:, 3] - small[:, 1], torch.full([len(small)], 0.1))
    widths = large[:, 2] - large[:, 0]
    assert float(widths.mean()) == pytest.approx(0.25, abs=0.005)
    assert float(widths.std()) == pytest.approx(0.05 * 0.88, abs=0.004)  # of a clipped Gaussian
    assert float(widths.min()) == pytest.approx(0.15, abs=1e-5)  # two deviations of 0.05
    assert float(widths.max()) == pytest.approx(0.35, abs=1e-5)


def test_sides_stay_within_limits() -> None:
    torch.manual_seed(0)
    tiny, _ = FakeInstances(split_of((0, 0.01, 0.01)), num_classes=1)(1000)
    huge, _ = FakeInstances(split_of((0, 98, 49)), num_classes=1)(1000)

    torch.testing.assert_close(tiny[:, 2:] - tiny[:, :2], torch.full((1000, 2), 0.002))
    assert float((huge[:, 2:] - huge[:, :2]).max()) == pytest.approx(0.7)


def test_fakes_are_anywhere_and_inside_the_image() -> None:
    torch.manual_seed(0)
    boxes, _ = FakeInstances(split_of((0, 20, 10)), num_classes=1)(4000)
    points, _ = FakeInstances(split_of((0, 0.01, 0.01)), num_classes=1)(4000)

    centres = points[:, :2] + 0.001
    assert float(boxes.min()) == 0
    assert float(boxes.max()) == 1
    assert float(centres.min()) == pytest.approx(0.03, abs=0.005)
    assert float(centres.max()) == pytest.approx(0.97, abs=0.005)
    counts = torch.histc(centres, bins=4, min=0.03, max=0.97) / centres.numel()
    assert counts.tolist() == pytest.approx([0.25] * 4, abs=0.02)


def test_statistics_are_no_state() -> None:
    assert sampler().state_dict() == {}


def test_every_object_has_five_fakes_beside_it() -> None:
    torch.manual_seed(0)
    boxes = [[10.0, 10.0, 30.0, 20.0], [0.0, 0.0, 100.0, 50.0]]

    found = sampler()(batch_of(boxes, boxes[:1], []))

    assert found.is_used.sum(dim=1).tolist() == [12, 6, 0]
    assert found.is_real.sum(dim=1).tolist() == [2, 1, 0]
    assert found.is_real[0].tolist() == [True] * 2 + [False] * 10
    assert not (found.is_real & ~found.is_used).any()
    torch.testing.assert_close(
        found.boxes[0, :2], torch.tensor([[0.1, 0.2, 0.3, 0.4], [0.0, 0.0, 1.0, 1.0]])
    )
    torch.testing.assert_close(found.sizes_px[0, :2], torch.tensor([[20.0, 10], [100, 50]]))
    assert found.labels[0, :2].tolist() == [1, 1]


def test_fakes_give_way_to_objects_where_there_are_too_many() -> None:
    few, many = [[0.0, 0.0, 10.0, 10.0]] * 3, [[float(i), 0.0, 50.0, 10.0] for i in range(9)]

    found = sampler(limit=4)(batch_of(few, many))

    assert found.is_used.tolist() == [[True] * 4] * 2
    assert found.is_real.tolist() == [[True] * 3 + [False], [True] * 4]


def test_another_part_of_too_many_objects_is_drawn_each_time() -> None:
    batch = batch_of([[float(i), 0.0, 50.0, 10.0] for i in range(9)])
    torch.manual_seed(0)

    first, second = (sampler(limit=4)(batch).boxes[0, :, 0].sort().values for _ in range(2))

    assert len(set(first.tolist())) == 4
    assert not torch.equal(first, second)


def test_images_without_objects_have_no_instances() -> None:
    found = sampler()(batch_of([], []))

    assert found.boxes.shape == (2, 0, 4)
    assert found.sizes_px.shape == (2, 0, 2)


def test_fakes_may_be_switched_off() -> None:
    found = sampler(fakes=0)(batch_of([[0.0, 0.0, 10.0, 10.0]]))

    assert found.is_real.tolist() == [[True]]
