import pytest

from searchd.domain.errors import InvalidValueError
from searchd.domain.resolution import Resolution
from searchd.domain.score import score

BASE = Resolution(1333, 800)
SEARCHED = Resolution(1080, 720)


def h(ap: float, macs_ratio: float, resolution: Resolution = SEARCHED, alpha: float = 0.4) -> float:
    return score(
        ap=ap,
        macs=macs_ratio,
        base_macs=1.0,
        resolution=resolution,
        base_resolution=BASE,
        alpha=alpha,
    )


@pytest.mark.parametrize(
    ("ap", "macs_ratio", "expected"), [(0.385, 0.9692, 0.4313), (0.423, 0.9016, 0.4878)]
)
def test_papers_students_score_as_recomputed(ap: float, macs_ratio: float, expected: float) -> None:
    assert h(ap, macs_ratio) == pytest.approx(expected, abs=5e-5)


def test_base_at_the_base_resolution_scores_its_ap() -> None:
    assert h(0.36, 1.0, BASE) == pytest.approx(0.36)


def test_score_rises_with_ap_and_falls_with_macs_and_area() -> None:
    assert h(0.4, 1.0) < h(0.41, 1.0)
    assert h(0.4, 1.0) > h(0.4, 1.1)
    assert h(0.4, 1.0, SEARCHED) > h(0.4, 1.0, BASE)


def test_alpha_zero_leaves_the_ap_alone() -> None:
    assert h(0.4, 3.0, alpha=0.0) == 0.4


def test_scaling_both_macs_together_changes_nothing() -> None:
    one = score(ap=0.4, macs=2, base_macs=3, resolution=SEARCHED, base_resolution=BASE)
    thousand = score(ap=0.4, macs=2000, base_macs=3000, resolution=SEARCHED, base_resolution=BASE)
    assert one == pytest.approx(thousand)


def test_impossible_values_are_refused() -> None:
    with pytest.raises(InvalidValueError, match="macs=0"):
        h(0.4, 0)
    with pytest.raises(InvalidValueError, match="ap=-0.1"):
        h(-0.1, 1)
