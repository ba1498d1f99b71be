"""The rule for descriptions itself."""

import pytest

from tests.descriptions import fault


def test_a_sentence_that_stands_alone_is_accepted() -> None:
    assert fault("Number of images per training step and device.") is None


@pytest.mark.parametrize(
    ("description", "reason"),
    [
        (None, "too short: ''"),
        ("Crops.", "too short: 'Crops.'"),
        ("Incomprehensibilities.", "too short: 'Incomprehensibilities.'"),
        ("Of every draw that is made.", "begins like a fragment"),
        ("See the pool's option of that name.", "begins like a fragment"),
        ("the seed of every random draw.", "begins like a fragment"),
        ("Seed of every random draw", "does not end with a full stop"),
        ("Lists at most so many items.", "not plain"),
    ],
)
def test_a_fragment_is_refused(description: str | None, reason: str) -> None:
    assert (fault(description) or "").startswith(reason)
