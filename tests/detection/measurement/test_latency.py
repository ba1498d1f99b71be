"""Latency is measured on single images of the given size, after a warm-up."""

import itertools

import pytest
import torch
from mmdet.models import FasterRCNN

from detection.build import build_detector
from detection.measurement.latency import measure
from searchd.domain.architecture import preset
from searchd.domain.detector import Detector
from searchd.domain.resolution import Resolution


@pytest.fixture
def model() -> FasterRCNN:
    torch.manual_seed(0)
    return build_detector(
        Detector(
            architecture=preset("resnet18", base_channels=8),
            num_classes=4,
            neck_channels=16,
            head_channels=32,
            num_proposals=20,
        )
    )


def test_latency_is_the_median_and_throughput_counts_all_the_time(
    model: FasterRCNN, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Two readings a pass: three warm-up passes of 9 s, then 1, 2 and 6 s.
    readings = itertools.accumulate([0, 9, 0, 9, 0, 9, 0, 1, 0, 2, 0, 6])
    monkeypatch.setattr("detection.measurement.latency.time.perf_counter", lambda: next(readings))

    found = measure(model, Resolution(64, 64), num_images=3)

    assert found.latency_s == 2
    assert found.images_per_s == pytest.approx(3 / 9)


def test_one_image_of_the_given_size_is_seen_at_a_time(
    model: FasterRCNN, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    plain = model.predict

    def spy(inputs: torch.Tensor, samples: list, **options: bool) -> list:
        seen.append((tuple(inputs.shape), samples[0].img_shape, model.training))
        return plain(inputs, samples, **options)

    monkeypatch.setattr(model, "predict", spy)
    measure(model, Resolution(90, 60), num_images=2)

    assert seen == [((1, 3, 64, 96), (60, 90), False)] * 5
    assert model.training


def test_larger_input_takes_longer(model: FasterRCNN) -> None:
    small = measure(model, Resolution(64, 64), num_images=5)
    large = measure(model, Resolution(384, 384), num_images=5)

    assert large.latency_s > small.latency_s > 0
