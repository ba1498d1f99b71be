"""Measures the lookup table of a device: single layers, then whole detectors through their graph.

Detectors are drawn at random: a backbone, edited by actions as a search does, with a neck and head
of random width. The first ones of each family are for the fit, the others are held out.
"""

import math
import random
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from statistics import median

import numpy as np
import torch
from mmdet.models import BaseDetector
from mmdet.models.roi_heads import BBoxHead

from detection.build import Student, assemble, build_detector
from detection.deployment.latency_fit import MeasuredDetector, fit
from detection.deployment.runtime import Batch, Runtime
from detection.deployment.timing import Timing, measure_quietly
from detection.measurement.workload import workload_of
from detection.morphism import NothingToDo, evolve
from searchd.domain.actions import ActionKind, PruneChannels, legal_actions
from searchd.domain.architecture import preset
from searchd.domain.detector import Detector, Family
from searchd.domain.encoding import encode
from searchd.domain.latency_table import LatencyTable, Layer, MeasuredLayer
from searchd.domain.resolution import Resolution
from searchd.messages.devices import CheckedPrediction, DeviceLatency
from searchd.spec.devices import DeviceSpec, TableSpec

_PRIOR = 0.01
"""Probability that a region has an object, as one-stage heads have it from the start."""
_EDITS: tuple[ActionKind, ...] = ("prune_layer", "add_layer", "rearrange")
_MOST_ACTIONS = 4
_LARGEST_PRUNING = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """What was measured for a device."""

    table: LatencyTable
    checked: tuple[CheckedPrediction, ...]
    """The detectors that the table was not fitted to."""
    timings: tuple[Timing, ...]
    """All measurements."""

    @property
    def errors(self) -> list[float]:
        """Absolute relative errors of the predictions that were checked."""
        return [abs(each.error) for each in self.checked]

    @property
    def median_error(self) -> float:
        """Median of `errors`."""
        return median(self.errors)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Timed:
    """A detector that was measured at one resolution."""

    detector: Detector
    resolution: Resolution
    measured: MeasuredDetector
    timing: Timing


def calibrate(spec: DeviceSpec, runtime: Runtime) -> Calibration:
    """Measure layers and detectors on this machine, and fit the table to them."""
    drawn = drawn_detectors(spec.table)
    layers = [_measured_layer(spec, runtime, each) for each in _layers_of(spec.table, drawn)]
    found = [_measured_detectors(spec, runtime, of_family) for of_family in drawn]
    fitted = [each for one in found for each in one[: spec.table.detectors]]
    held_out = [each for one in found for each in one[spec.table.detectors :]]
    table = fit([layer for layer, _ in layers], [each.measured for one in fitted for each in one])
    whole = [each for one in (*fitted, *held_out) for each in one]
    return Calibration(
        table=table,
        checked=tuple(_checked(table, each) for one in held_out for each in one),
        timings=(*(timing for _, timing in layers), *(each.timing for each in whole)),
    )


def drawn_detectors(table: TableSpec) -> list[list[Detector]]:
    """Draw the detectors of each family: those for the fit, then those that are held out."""
    rng = random.Random(table.seed)
    number = table.detectors + table.held_out
    return [[_drawn(table, family, rng) for _ in range(number)] for family in table.families]


def noise(resolution: Resolution, batch: int) -> Batch:
    """Return images of noise from a fixed seed: B x 3 x H x W, 0 to 255."""
    shape = (batch, 3, resolution.height, resolution.width)
    return np.random.default_rng(0).random(shape, dtype=np.float32) * 255


def as_trained(model: BaseDetector) -> BaseDetector:
    """Let the RoI heads of an untrained detector find background in most regions, and return it.

    As initialised, they find every class equally likely, so with few classes each region would be
    a candidate of each class for NMS, which is not so once they are trained.
    """
    for head in model.modules():
        if isinstance(head, BBoxHead):
            odds = (1 - _PRIOR) / _PRIOR * head.num_classes
            head.fc_cls.bias.data[-1] = math.log(odds)  # background is the last class
    return model


def latency_of(timing: Timing) -> DeviceLatency:
    """Return a measurement as a message."""
    return DeviceLatency(median_s=timing.median_s, p95_s=timing.p95_s, quiet=timing.is_quiet)


def _drawn(table: TableSpec, family: Family, rng: random.Random) -> Detector:
    base = preset(rng.choice(table.backbones), base_channels=rng.choice(table.base_channels))
    detector = Detector(
        architecture=base,
        family=family,
        num_classes=rng.choice(table.num_classes),
        neck_channels=rng.choice((16, 32, 64, 128, 256)),
        head_channels=rng.choice((64, 128, 256, 512, 1024)),
        tower_channels=rng.choice((16, 32, 64, 128, 256)),
        tower_convs=rng.randint(1, 4),
        num_proposals=rng.choice((100, 300, 1000)),
    )
    student = Student(detector=detector, weights=_random_weights(detector, rng))
    for _ in range(rng.randint(0, _MOST_ACTIONS)):
        student = _edited(student, rng)
    fraction = rng.uniform(0.01, _LARGEST_PRUNING)
    with suppress(NothingToDo):  # a very narrow one stays as it is
        pruning = PruneChannels(fraction=fraction, min_channels=4)
        student = evolve(student, pruning, generator=torch.Generator())
    return student.detector


def _random_weights(detector: Detector, rng: random.Random) -> dict[str, torch.Tensor]:
    """Return weights whose norms differ, since pruning ranks channels by them."""
    generator = torch.Generator().manual_seed(rng.getrandbits(31))
    weights = assemble(detector).state_dict()
    return {
        name: torch.rand(value.shape, generator=generator) if _is_norm(name, value) else value
        for name, value in weights.items()
    }


def _is_norm(name: str, value: torch.Tensor) -> bool:
    return name.startswith("backbone.") and name.endswith(".weight") and value.dim() == 1


def _edited(student: Student, rng: random.Random) -> Student:
    legal = legal_actions(student.detector.architecture, kinds=_EDITS)
    action = rng.choice(legal[rng.choice(list(legal))])
    generator = torch.Generator().manual_seed(rng.getrandbits(31))
    return evolve(student, action, generator=generator)


def _layers_of(table: TableSpec, drawn: Sequence[Sequence[Detector]]) -> list[Layer]:
    """Return different layers of the detectors for the fit, drawn at random if there are many."""
    found = {
        layer
        for of_family in drawn
        for detector in of_family[: table.detectors]
        for resolution in table.resolutions
        for layer, _ in workload_of(detector, resolution).layers
    }
    ordered = sorted(found)
    number = min(len(ordered), table.max_layers)
    return random.Random(table.seed).sample(ordered, number)


def _measured_layer(
    spec: DeviceSpec, runtime: Runtime, layer: Layer
) -> tuple[MeasuredLayer, Timing]:
    timing = measure_quietly(runtime.layer(layer, spec.batch), num_timed=spec.runs)
    return MeasuredLayer(layer=layer, seconds=timing.median_s), timing


def _measured_detectors(
    spec: DeviceSpec, runtime: Runtime, detectors: Sequence[Detector]
) -> list[list[_Timed]]:
    """Return the measurements of each detector, one for each resolution."""
    return [_measured_detector(spec, runtime, detector) for detector in detectors]


def _measured_detector(spec: DeviceSpec, runtime: Runtime, detector: Detector) -> list[_Timed]:
    model = as_trained(build_detector(detector).eval().requires_grad_(False))
    run = runtime.detector(model)
    found = []
    for resolution in spec.table.resolutions:
        images = noise(resolution, spec.batch)
        timing = measure_quietly(partial(run, images), num_timed=spec.runs)
        measured = MeasuredDetector(
            workload=workload_of(detector, resolution), seconds=timing.median_s
        )
        found.append(
            _Timed(detector=detector, resolution=resolution, measured=measured, timing=timing)
        )
    return found


def _checked(table: LatencyTable, timed: _Timed) -> CheckedPrediction:
    return CheckedPrediction(
        family=timed.detector.family,
        encoding=encode(timed.detector.architecture),
        resolution=timed.resolution,
        predicted_s=table.seconds(timed.measured.workload),
        measured=latency_of(timed.timing),
    )
