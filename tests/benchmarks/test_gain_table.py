"""The table of gains: paired differences, goals, and the page that is made of them."""

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.fidelity_table import fidelity_lines, shipped, tau
from benchmarks.gain import BENCHMARK
from benchmarks.gain_choices import choices
from benchmarks.gain_goals import METHOD_ROWS, Contrast, contrast_goal, method_goal
from benchmarks.gain_merge import merged
from benchmarks.gain_settings import NONE, RETINANET
from benchmarks.gain_table import (
    FILE,
    PAGE,
    Difference,
    collect,
    compared,
    page,
    plot,
    points,
)

STRICT = Contrast(text="a > b", pairs=(("a", "b"),), strictly=True)
NOT_LESS = Contrast(text="a ≥ b, c", pairs=(("a", "b"), ("a", "c")), strictly=False)


def result(test: float, *resampled: float) -> dict[str, Any]:
    return {"validation": 0.5, "test": test, "resampled": list(resampled), "seconds": 3}


def found(mean: float, low: float, high: float) -> Difference:
    return Difference(first="a", second="b", by_seed={"0": mean}, low=low, high=high)


def test_a_difference_is_paired_by_seed_and_by_resample() -> None:
    rows = {
        "none": {"0": result(0.30, 0.2, 0.4), "1": result(0.20, 0.1, 0.3)},
        "kd": {
            "0": result(0.34, 0.23, 0.45),
            "1": result(0.22, 0.13, 0.33),
            "2": result(0.9, 1, 1),
        },
    }

    difference = compared("kd", "none", rows)

    assert difference is not None
    assert difference.by_seed == {"0": pytest.approx(0.04), "1": pytest.approx(0.02)}
    assert difference.mean == pytest.approx(0.03)
    # The resamples gain 3 points and 4 points, averaged over the two seeds.
    assert [difference.low, difference.high] == pytest.approx([0.03025, 0.03975])
    assert difference.verdict == "gains"


@pytest.mark.parametrize(
    ("difference", "shown"), [(0.0123, "+1.2"), (-0.0123, "-1.2"), (-0.0004, "-0.0")]
)
def test_differences_are_shown_in_points(difference: float, shown: str) -> None:
    assert points(difference) == shown


def test_rows_without_a_common_seed_are_not_compared() -> None:
    rows = {"none": {"0": result(0.3, 0.3)}, "kd": {"1": result(0.4, 0.4)}}
    assert compared("kd", "none", rows) is None


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [(0.01, 0.02, "gains"), (-0.02, -0.01, "loses"), (-0.01, 0.02, "unclear")],
)
def test_a_row_gains_or_loses_where_the_interval_excludes_zero(
    low: float, high: float, verdict: str
) -> None:
    assert found(0.0, low, high).verdict == verdict


@pytest.mark.parametrize(
    ("difference", "status"),
    [
        (found(0.02, 0.01, 0.03), "holds"),
        (found(0.02, -0.01, 0.05), "does not hold"),
        (None, "not run"),
    ],
    ids=["above zero", "around zero", "missing"],
)
def test_a_strict_goal_needs_an_interval_above_zero(
    difference: Difference | None, status: str
) -> None:
    differences = {} if difference is None else {("a", "b"): difference}
    assert contrast_goal(STRICT, differences).status == status


@pytest.mark.parametrize(
    ("against_b", "against_c", "status"),
    [
        (found(0.0, -0.02, 0.02), found(0.01, -0.01, 0.03), "holds"),
        (found(0.01, 0.0, 0.02), found(-0.001, -0.01, 0.01), "does not hold"),
        (found(0.01, 0.0, 0.02), None, "not run"),
        (found(-0.01, -0.02, 0.0), None, "does not hold"),
    ],
    ids=["both", "one loses", "one missing", "one missing, the other loses"],
)
def test_a_goal_of_two_comparisons_needs_both(
    against_b: Difference, against_c: Difference | None, status: str
) -> None:
    pairs = {("a", "b"): against_b, ("a", "c"): against_c}
    run = {pair: each for pair, each in pairs.items() if each is not None}
    assert contrast_goal(NOT_LESS, run).status == status


@pytest.mark.parametrize(
    ("gaining", "unclear", "status"),
    [(12, 0, "holds"), (11, 5, "not run"), (11, 6, "does not hold"), (0, 0, "not run")],
)
def test_methods_that_were_not_run_leave_the_goal_open(
    gaining: int, unclear: int, status: str
) -> None:
    differences = {
        (row, RETINANET + NONE if row.startswith(RETINANET) else NONE): found(
            0.0, 0.01 if number < gaining else -0.01, 0.02
        )
        for number, row in enumerate(METHOD_ROWS.values())
        if number < gaining + unclear
    }
    assert method_goal(differences).status == status


def written(folder: Path, name: str, value: Any) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def test_the_page_shows_what_is_stored_and_names_what_was_not_run(tmp_path: Path) -> None:
    for seed, gain in ((0, 0.04), (1, 0.02)):
        written(tmp_path, f"shapes-96/none, seed {seed}.json", result(0.3, 0.2, 0.4))
        written(tmp_path, f"shapes-96/sgfi, seed {seed}.json", result(0.3 + gain, 0.24, 0.44))
    written(tmp_path, "shapes-96/teacher L.json", result(0.5, 0.5, 0.5))

    text = page(merged({}, collect(tmp_path)))

    assert "Before the rows: teacher L 50.0." in text
    assert "| sgfi | 34.0 | 32.0 | - | none | +3.0 | +2.0 .. +4.0 | +4.0 .. +4.0 | gains |" in text
    assert "| ckd | - | - | - | none | | | | not run |" in text
    assert "Not run: `RetinaNet: none`;" in text
    assert "class-aware localisation > plain localisation: **not run**." in text
    assert text.count("## bccd\n\nNot run.") == 1


def test_the_page_says_which_alternative_becomes_the_default(tmp_path: Path) -> None:
    aps = {"none": 0.3, "fgd": 0.31, "fgd, weight 10": 0.32, "fgd, weight 100": 0.33}
    for name in ("fgd, weight 1000", "mgd, weight 10"):
        aps[name] = 0.1
    for name, ap in aps.items():
        for seed in (0, 1, 2):
            found = result(ap, ap) | {"validation": ap}
            written(tmp_path, f"shapes-96/{name}, seed {seed}.json", found)

    text = page(merged({}, collect(tmp_path)))

    assert (
        "| fgd | shipped 31.0, weight 10 32.0, weight 100 33.0, weight 1000 10.0 | weight 100 | "
        "+3.0 (+3.0 .. +3.0) | +2.0 | becomes the default |"
    ) in text
    assert "| mgd | weight 10 10.0 | weight 10 |" in text
    assert "open: not all are run |" in text


@pytest.mark.parametrize(
    ("validation", "test", "decision"),
    [
        ([0.32, 0.31], [0.31, 0.33], "the default stays"),
        ([0.31, 0.32], [0.31, 0.29], "the default stays: no better on the other seeds"),
        ([0.31, 0.32], [0.33, 0.31], "the default stays: no better on the other seeds"),
        ([0.31, 0.32], [0.31, 0.33], "becomes the default"),
    ],
    ids=["best on validation", "loses", "gains less than the shipped one", "gains more"],
)
def test_an_alternative_is_chosen_on_validation_and_judged_on_other_seeds(
    tmp_path: Path, validation: list[float], test: list[float], decision: str
) -> None:
    names = ("feature_imitation", "feature_imitation, weight 1")
    others = ("ground_truth", "weight 0.03", "weight 0.3")
    for seed in (0, 1, 2):
        written(tmp_path, f"shapes-96/none, seed {seed}.json", result(0.3, 0.3))
        for name, ap, of_test in zip(names, validation, test, strict=True):
            found = result(of_test, of_test) | {"validation": ap}
            written(tmp_path, f"shapes-96/{name}, seed {seed}.json", found)
        for name in others:
            found = result(0.5, 0.5) | {"validation": 0.1}
            written(tmp_path, f"shapes-96/feature_imitation, {name}, seed {seed}.json", found)

    (choice,) = choices(collect(tmp_path)["data"]["shapes-96"])

    assert choice.decision == decision


def test_the_committed_benchmark_of_short_trials_is_that_of_the_committed_rows() -> None:
    assert json.loads(BENCHMARK.read_text()) == shipped(json.loads(FILE.read_text())["fidelity"])


def test_the_plot_is_drawn_from_what_is_stored(tmp_path: Path) -> None:
    for name in ("none", "sgfi"):
        written(tmp_path, f"shapes-96/{name}, seed 0.json", result(0.3, 0.2, 0.4))
    plot(collect(tmp_path), tmp_path / "images" / "gains.png")
    assert (tmp_path / "images" / "gains.png").read_bytes().startswith(b"\x89PNG")


def test_the_committed_page_is_what_the_committed_results_give() -> None:
    assert PAGE.read_text() == page(json.loads(FILE.read_text()))


def test_tau_counts_the_pairs_that_both_scores_rank_alike() -> None:
    # Of six pairs five are ranked alike and one is not: (5 - 1) / 6.
    assert tau([1, 2, 3, 4], [10, 30, 20, 40]) == pytest.approx(4 / 6)


def test_tau_of_equal_scores_is_not_defined() -> None:
    assert tau([1, 1, 1], [1, 2, 3]) is None


def test_the_fidelity_says_how_many_architectures_are_missing() -> None:
    row = {"edits": "none", "macs": 1.0, "test": 0.3}
    rows = [
        row | {"number": 0, "short": 0.2, "finished": 0.3},
        row | {"number": 1, "short": 0.3, "finished": 0.4},
    ]
    lines = [*fidelity_lines(rows)]
    assert "Kendall's tau: **1.00** over 2 architectures (20 are registered)." in lines
    assert "| 1 | none | 100% | 30.0 | 40.0 | 30.0 |" in lines
