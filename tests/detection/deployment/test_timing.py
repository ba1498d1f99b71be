"""Detectors are timed in turns."""

import numpy as np

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


def test_throughput_is_the_inverse_of_the_mean_time() -> None:
    found = measure(Named("a", []), IMAGE, num_timed=1, warm_up=0)

    assert found.images_per_s * found.median_s == 1
