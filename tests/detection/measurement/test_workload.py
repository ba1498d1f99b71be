"""The workload of a detector agrees with its count of multiply-accumulates."""

from dataclasses import replace

import pytest

from detection.measurement.complexity import count
from detection.measurement.cost import cost_of
from detection.measurement.workload import workload_of
from searchd.domain.detector import Family
from searchd.domain.latency_table import ANY_KIND, LatencyTable, Layer, LayerKind, MeasuredLayer
from searchd.domain.resolution import Resolution
from searchd.domain.score import Cost
from tests.detection.deployment.tiny import student

SIZE = Resolution(96, 64)


@pytest.mark.parametrize("family", list(Family))
def test_layers_and_activations_are_what_the_complexity_counts(family: Family) -> None:
    detector = student(family).detector

    found = workload_of(detector, SIZE)

    counted = sum(times * layer.macs for layer, times in found.layers)
    assert counted == pytest.approx(count(detector, SIZE).macs, rel=0.1)
    assert found.pixels == 96 * 64
    assert found.activations > 0
    assert (found.regions > 0) is family.two_stage
    kinds = {layer.kind for layer, _ in found.layers}
    # TOOD weighs the maps of its tower by matrix products.
    assert (LayerKind.LINEAR in kinds) is (family.two_stage or family is Family.TOOD)


@pytest.mark.parametrize(
    ("family", "pooled"),
    [
        (Family.FASTER_RCNN, 1),
        (Family.MASK_RCNN, 1),
        (Family.CASCADE_RCNN, 3),
        (Family.CASCADE_MASK_RCNN, 3),
        (Family.RETINANET, 0),
        (Family.FCOS, 0),
        (Family.ATSS, 0),
        (Family.GFL, 0),
        (Family.VFNET, 0),
        (Family.TOOD, 0),
    ],
)
def test_proposals_count_as_often_as_they_are_pooled(family: Family, pooled: int) -> None:
    detector = replace(student(family).detector, num_proposals=50, neck_channels=16)

    found = workload_of(detector, SIZE)

    assert found.proposals == 50 * pooled
    assert found.regions == 50 * pooled * 16 * 7 * 7


@pytest.mark.parametrize(
    ("family", "scores"),
    [
        (Family.FASTER_RCNN, 50 * (3 + 1)),
        (Family.MASK_RCNN, 50 * (3 + 1)),
        (Family.CASCADE_RCNN, 3 * 50 * (3 + 1)),
        (Family.RETINANET, (96 + 24 + 6 + 2 + 1) * 9 * 3),
        (Family.FCOS, (96 + 24 + 6 + 2 + 1) * 3),
    ],
)
def test_class_scores_are_those_of_each_place_and_class(family: Family, scores: int) -> None:
    detector = replace(student(family).detector, num_proposals=50, num_classes=3)

    assert workload_of(detector, SIZE).class_scores == scores


def test_the_input_is_padded_as_the_detector_pads_it() -> None:
    detector = student(Family.FCOS).detector
    assert workload_of(detector, Resolution(70, 40)) == workload_of(detector, SIZE)


def test_layers_of_equal_size_are_counted_once_with_their_number() -> None:
    found = workload_of(student(Family.RETINANET).detector, SIZE)
    (times,) = {
        times
        for layer, times in found.layers
        if (layer.inputs, layer.outputs, layer.kernel, layer.width) == (16, 16, 3, 12)
    }
    assert times == 3  # the neck's convolution of P3, and one of each tower of the head


def test_a_cost_is_what_the_search_counts() -> None:
    detector = student(Family.FCOS).detector
    layer = Layer(inputs=8, outputs=8, height=8, width=8)
    table = LatencyTable(
        layers=(MeasuredLayer(layer=layer, seconds=1.0),),  # without a factor
        lines={ANY_KIND: (0.0, 1e-9, 1e-9)},
        factors={"fcos": 0.002, "fcos pixels": 1e-6},
    )
    costs = {cost: cost_of(cost, detector, SIZE, table) for cost in Cost}

    assert costs[Cost.MACS] == count(detector, SIZE).macs
    assert costs[Cost.PARAMS] == count(detector, SIZE).params
    assert costs[Cost.LATENCY] == pytest.approx(0.002 + 96 * 64 * 1e-6)
