"""Short forms of the benchmarks of scale, and how their results are shown."""

from benchmarks.scale import quality, simulation
from benchmarks.scale.__main__ import SECTIONS
from benchmarks.scale.tuning import busy_share


def test_workers_wait_less_for_the_driver_than_for_the_slowest_of_a_generation() -> None:
    run = (4, 12, 60.0, 0.1)
    busy, in_generations = simulation.asynchronous(*run), simulation.in_generations(*run)
    assert 0.9 < busy <= 1.0
    assert in_generations < busy


def test_driver_that_needs_as_long_as_all_workers_leaves_them_idle() -> None:
    assert simulation.asynchronous(4, 12, 1.0, driver_s=1.0) < 0.5


def test_every_search_is_compared_on_both_landscapes() -> None:
    found = quality.measure(2, 6, inherits=True)
    assert list(found) == list(quality.SEARCHES)
    shown = list(SECTIONS["quality"].lines({"training adds up": found}))
    assert shown[2].startswith("| search | trials to 1.25 × base")
    assert len([line for line in shown if line.startswith("| ")]) == 1 + len(quality.SEARCHES)


def test_control_plane_is_shown_with_its_ratios() -> None:
    rates = {
        **{"trials": 1000, "per_s": 20.0, "last_over_first": 1.05, "commits": 3.0},
        **{"statements": 41.0, "over_optuna": 1.5, "over_floor": 0.25},
    }
    *_, row = SECTIONS["control-plane"].lines({"sqlite": rates})
    assert row == "| sqlite | 1,000 | 20.0 | 1.50 | 0.25 | 1.05 | 3.0 | 41.0 |"


def test_actors_are_busy_as_far_as_their_trials_sleep_once_all_have_one() -> None:
    starts = [(0.0, 9.0), (4.0, 4.0), (9.0, 3.0), (14.0, 6.0)]
    # From 4 to 14 seconds the first actor sleeps 5 of 10, then 3; the second one 4.
    assert busy_share(starts, workers=2) == 12 / 20
