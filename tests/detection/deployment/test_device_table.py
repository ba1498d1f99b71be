"""A table that is measured here: real layers and detectors in torch, real layers in onnxruntime."""

import time
from dataclasses import replace
from itertools import cycle
from typing import Any

import pytest
import torch

from detection.build import build_detector
from detection.deployment.device_table import as_trained, calibrate, drawn_detectors, noise
from detection.deployment.onnx_runtime import OnnxRuntime
from detection.deployment.runtime import create
from detection.deployment.timing import QUIET_SPREAD, measure_quietly
from detection.deployment.torch_runtime import TorchRuntime
from searchd.domain.detector import Family
from searchd.domain.devices import RuntimeName
from searchd.domain.latency_table import Layer, LayerKind
from searchd.domain.resolution import Resolution
from searchd.spec import DeviceSpec, TableSpec
from tests.detection.deployment.tiny import model, student

pytestmark = pytest.mark.timeout(300)  # real detectors are measured
TINY = TableSpec(
    families=(Family.FCOS,),
    backbones=("resnet18",),
    base_channels=(8,),
    resolutions=(Resolution(64, 64),),
    detectors=2,
    held_out=1,
    max_layers=10,
)


def test_a_table_is_measured_and_checked_on_another_detector() -> None:
    spec = DeviceSpec(name="here", runtime=RuntimeName.TORCH, table=TINY)

    found = calibrate(spec, create(spec.runtime, 1, gpu=False))

    assert (len(found.table.layers), found.table.families) == (10, ("fcos",))
    assert [str(each.resolution) for each in found.checked] == ["64x64"]
    assert len(found.timings) == 10 + 3
    assert all(each.predicted_s > 0 for each in found.checked)
    # How large it is depends on the machine, which may be busy; `searchd device show` has it.
    assert found.median_error == max(found.errors) == abs(found.checked[0].error)


@pytest.mark.parametrize("runtime", list(RuntimeName))
@pytest.mark.parametrize(
    "layer",
    [
        Layer(inputs=4, outputs=6, kernel=3, stride=2, groups=2, height=5, width=7),
        Layer(inputs=4, outputs=6, height=5, width=7),
        Layer(kind=LayerKind.LINEAR, inputs=4, outputs=6, height=5),
    ],
    ids=["conv3x3", "conv1x1", "linear"],
)
def test_a_layer_has_the_size_that_it_says(runtime: RuntimeName, layer: Layer) -> None:
    found: Any = create(runtime, 1, gpu=False).layer(layer, 2)()

    out = found if runtime is RuntimeName.TORCH else found[0]
    expected = (10, 6) if layer.kind is LayerKind.LINEAR else (2, 6, 5, 7)
    assert tuple(out.shape) == expected


def test_torch_detects_on_batches() -> None:
    run = TorchRuntime(torch.device("cpu")).detector(model(Family.FCOS))
    found: Any = run(noise(Resolution(96, 64), 3))
    boxes, scores, labels = found
    assert boxes.shape[:2] == scores.shape == labels.shape
    assert len(boxes) == 3


def test_the_drawn_detectors_follow_from_the_seed_and_differ() -> None:
    (first,), (again,), (other,) = (
        drawn_detectors(TINY.model_copy(update={"seed": seed})) for seed in (0, 0, 1)
    )

    assert first == again != other
    assert len(first) == 3
    assert len({each.architecture for each in first}) > 1


def test_the_numbers_of_classes_are_drawn_too() -> None:
    table = TINY.model_copy(update={"num_classes": (2, 5), "detectors": 8})

    (found,) = drawn_detectors(table)

    assert {each.num_classes for each in found} == {2, 5}


@pytest.mark.parametrize("family", [Family.FASTER_RCNN, Family.CASCADE_RCNN])
@pytest.mark.parametrize("num_classes", [1, 4, 80])
def test_an_untrained_roi_head_finds_background_in_most_regions(
    family: Family, num_classes: int
) -> None:
    torch.manual_seed(0)
    untrained = build_detector(replace(student(family).detector, num_classes=num_classes))
    heads = as_trained(untrained).roi_head.bbox_head

    logits, _ = (heads if family is Family.FASTER_RCNN else heads[0])(torch.randn(20, 16, 7, 7))

    background = logits.softmax(-1)[:, -1]
    assert background.mean().item() == pytest.approx(0.99, abs=0.005)


def test_a_busy_machine_is_measured_again_and_the_fastest_is_kept() -> None:
    durations = cycle([0.0, 0.0, 0.0, 0.004])

    timing = measure_quietly(lambda: time.sleep(next(durations)), num_timed=20, warm_up=0)

    assert not timing.is_quiet
    assert timing.spread > QUIET_SPREAD


def test_onnxruntime_names_its_version() -> None:
    assert OnnxRuntime(1).software.startswith("onnxruntime 1.")
