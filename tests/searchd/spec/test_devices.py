"""Specs of devices, and of searches that count their latency."""

from typing import Any

import pytest
from pydantic import ValidationError

from searchd.domain.score import Cost
from searchd.spec import DeviceSpec, ScoreSpec, SearchSpec
from searchd.spec.needs import need_of
from tests.searchd.store.factories import search_spec


def test_a_device_needs_a_name_alone() -> None:
    spec = DeviceSpec(name="laptop")

    assert (spec.runtime, spec.precision, spec.threads, spec.batch) == ("onnxruntime", "fp32", 1, 1)
    assert (spec.runs, spec.round_to, spec.resource) == (100, 1, None)
    assert len(spec.table.families) == 4


def test_a_measurement_reserves_its_threads_and_its_gpu() -> None:
    need = need_of(DeviceSpec(name="server", runtime="torch", threads=4, gpu=True))
    assert (need.part, need.cpus, need.gpus) == ("measurement", 4, 1)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"gpu": True}, "onnxruntime uses the CPU only; use torch"),
        ({"runs": 20}, "greater than or equal to 100"),
        ({"table": {"backbones": ["resnet81"]}}, "did you mean resnet18"),
        (
            {"table": {"families": ["fcos", "mask_rcnn"]}},
            "no table predicts the latency of mask_rcnn",
        ),
        ({"table": {"detectors": 1}}, "greater than or equal to 2"),
        ({"resource": "a b"}, "should match pattern"),
    ],
)
def test_what_cannot_be_measured_is_refused(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        DeviceSpec.model_validate({"name": "laptop", **changes})


def test_a_search_counts_macs_by_default() -> None:
    assert (ScoreSpec().cost, ScoreSpec().device) == (Cost.MACS, None)


@pytest.mark.parametrize(
    ("score", "reason"),
    [
        ({"cost": "latency"}, "needs a device; register one .searchd device add NAME."),
        ({"device": "laptop"}, "device='laptop' has no effect on cost: macs; leave it out"),
        ({"cost": "params", "device": "laptop"}, "has no effect on cost: params"),
    ],
)
def test_latency_and_a_device_belong_together(score: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        ScoreSpec.model_validate(score)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (
            {"budget": {"target": {"ap": 0.4, "latency_ms": 8}}},
            "budget.target.latency_ms=8 needs a device",
        ),
        (
            {"strategy": {"kind": "pipeline", "macs_fraction": None, "latency_ms": 8}},
            "strategy.latency_ms=8 needs a device",
        ),
        (
            {
                "strategy": {"kind": "pipeline", "macs_fraction": None, "macs": 1e9},
                "score": {"cost": "latency", "device": "laptop"},
            },
            "strategy.macs=1e.09 is no target of score.cost=latency",
        ),
        (
            {"strategy": {"kind": "pipeline", "latency_ms": 8}},
            "give exactly one of macs_fraction, macs and latency_ms",
        ),
    ],
)
def test_a_target_must_be_of_what_the_search_counts(changes: dict[str, Any], reason: str) -> None:
    given = search_spec().model_dump(mode="json", exclude_unset=True)
    with pytest.raises(ValidationError, match=reason):
        SearchSpec.model_validate({**given, **changes})


def test_at_most_8_ms_on_a_device_is_a_target() -> None:
    given = search_spec().model_dump(mode="json", exclude_unset=True)
    score = {"cost": "latency", "device": "jetson-1"}
    budget = {"target": {"ap": 0.4, "latency_ms": 8}}
    pipeline = {"kind": "pipeline", "macs_fraction": None, "latency_ms": 8}

    SearchSpec.model_validate({**given, "score": score, "budget": budget})
    SearchSpec.model_validate({**given, "score": score, "strategy": pipeline})
