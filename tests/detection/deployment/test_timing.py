"""Detectors are timed in turns."""

from types import SimpleNamespace

import numpy as np
import pytest

from detection.deployment import timing
from detection.deployment.exported import Found, Pixels
from detection.deployment.timing import compare, measure

NOTHING = Found(
    boxes=np.zeros((0, 4), np.float32), scores=np.zeros(0, np.float32), labels=np.zeros(0, np.int64)
)
IMAGE: Pixels = np.zeros((1, 3, 8, 8), np.float32)


class Named:
    """A detector that writes its name into a list."""

    software = "nothing 1"

    def __init__(self, name: str, calls: list[str]) -> None:
        self._name, self._calls = name, calls

    def detect(self, images: Pixels) -> Found:
        assert images is IMAGE
        self._calls.append(self._name)
        return NOTHING

    def raw(self, images: Pixels) -> list[Pixels]:
        raise NotImplementedError


def test_detectors_take_turns_of_twenty_passes_after_two_to_warm_up() -> None:
    calls: list[str] = []
    turns: list[None] = []
    runners = [(Named("a", calls), IMAGE), (Named("b", calls), IMAGE)]

    one, other = compare(runners, rounds=3, advance=lambda: turns.append(None))

    assert "".join(calls) == ("a" * 22 + "b" * 22) * 3
    assert (one.num_timed, other.num_timed, len(turns)) == (60, 60, 6)


def test_throughput_is_passes_over_the_sum_of_their_times(monkeypatch: pytest.MonkeyPatch) -> None:
    readings = iter([0.0, 0.25, 1.0, 1.5, 2.0, 2.25])
    monkeypatch.setattr(timing, "time", SimpleNamespace(perf_counter=lambda: next(readings)))

    found = measure(Named("a", []), IMAGE, num_timed=3, warm_up=0)

    assert (found.images_per_s, found.median_s, found.p95_s) == (3.0, 0.25, 0.5)
