"""APs and their intervals drawn on one scale."""

from cli.resources.sweep_table import drawing


def test_intervals_are_drawn_between_the_lowest_and_the_highest_end() -> None:
    assert drawing([(0.0, 0.1, 0.2), (0.1, 0.3, 0.39), (0.3, 0.3, 0.3), None]) == [
        "|---------o---------|",
        "          |-------------------o--------|",
        "                              o",
        "",
    ]


def test_equal_aps_have_no_scale() -> None:
    assert drawing([(0.4, 0.4, 0.4), (0.4, 0.4, 0.4)]) == ["o", "o"]
    assert drawing([None]) == [""]
