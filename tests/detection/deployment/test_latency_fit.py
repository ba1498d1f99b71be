"""Prediction of latency from measured layers, on a device whose times follow a known rule."""

import random

import numpy as np
import pytest

from detection.deployment.latency_fit import MeasuredDetector, fit, nonnegative_fit
from searchd.domain.latency_table import (
    LatencyTable,
    Layer,
    LayerKind,
    MeasuredLayer,
    Workload,
)


def conv(inputs: int, outputs: int, *, size: int = 16, kernel: int = 3) -> Layer:
    return Layer(inputs=inputs, outputs=outputs, kernel=kernel, height=size, width=size)


def true_seconds(layer: Layer) -> float:
    """What the made-up device takes: it computes 8 outputs at once."""
    rounded = 8 * -(-layer.outputs // 8) / layer.outputs
    return 5e-6 + 1e-10 * layer.macs * rounded + 1e-10 * layer.numbers


def workload(rng: random.Random, family: str) -> Workload:
    layers = tuple(
        (conv(rng.randint(8, 128), rng.randint(8, 128), size=rng.choice((8, 16, 32))), 1)
        for _ in range(12)
    )
    return Workload(
        family=family, pixels=1024.0, layers=layers, activations=0.0, elements=1e5, regions=0.0
    )


def detector_seconds(found: Workload) -> float:
    tail = {"fcos": 2e-4, "retinanet": 5e-4}[found.family]
    return tail + 1e-9 * found.elements + sum(true_seconds(layer) for layer, _ in found.layers)


@pytest.fixture(scope="module")
def table() -> LatencyTable:
    rng = random.Random(0)
    layers = [
        conv(rng.randint(8, 128), rng.randint(8, 128), size=size)
        for size in (8, 16, 32)
        for _ in range(60)
    ]
    measured = [MeasuredLayer(layer=each, seconds=true_seconds(each)) for each in layers]
    return fit(measured, detectors(1, 8))


def detectors(seed: int, number: int) -> list[MeasuredDetector]:
    rng = random.Random(seed)
    found = [workload(rng, family) for family in ("fcos", "retinanet") for _ in range(number)]
    return [MeasuredDetector(workload=each, seconds=detector_seconds(each)) for each in found]


def test_unknown_detectors_are_predicted_within_a_few_percent(table: LatencyTable) -> None:
    found = detectors(2, 20)
    errors = np.abs([table.seconds(each.workload) / each.seconds - 1 for each in found])

    assert np.median(errors) < 0.02
    assert errors.max() < 0.1


def test_a_measured_layer_keeps_its_time_and_an_unknown_one_is_near(table: LatencyTable) -> None:
    known = table.layers[0]
    unknown = conv(50, 60)

    assert table.layer_seconds(known.layer) == pytest.approx(known.seconds, rel=0.1)
    assert table.layer_seconds(unknown) == pytest.approx(true_seconds(unknown), rel=0.1)


def test_the_families_are_those_that_were_measured(table: LatencyTable) -> None:
    assert table.families == ("fcos", "retinanet")


def test_a_kind_of_layer_that_was_not_measured_follows_the_others(table: LatencyTable) -> None:
    linear = Layer(kind=LayerKind.LINEAR, inputs=256, outputs=64, height=100)
    assert table.layer_seconds(linear) > 0


def test_macs_and_numbers_of_a_layer() -> None:
    strided = Layer(inputs=4, outputs=6, kernel=3, stride=2, groups=2, height=5, width=7)

    assert strided.macs == 6 * 2 * 9 * 35
    assert strided.numbers == 4 * 35 * 4 + 6 * 35 + 6 * 2 * 9
    assert strided.similar_to == "grouped"


def test_factors_are_never_negative() -> None:
    values = np.array([[1.0, 1.0], [1.0, 2.0], [1.0, 3.0]])

    assert nonnegative_fit(values, np.array([3.0, 5.0, 7.0])) == pytest.approx([1.0, 2.0])
    assert nonnegative_fit(values, np.array([3.0, 2.0, 1.0])) == pytest.approx([2.0, 0.0])
