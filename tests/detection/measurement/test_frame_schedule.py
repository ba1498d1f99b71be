"""Which frames a detector takes, and which output is the newest at each frame."""

from itertools import cycle, repeat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detection.measurement.frame_schedule import (
    Run,
    detector_runs,
    judged_frames,
    streaming_outputs,
)


def arrivals(number: int) -> list[float]:
    return [float(frame) for frame in range(number)]


def test_the_newest_output_is_judged_that_is_there_when_a_frame_arrives() -> None:
    assert streaming_outputs([1.5, 3.0, 3.5], arrivals(5)) == [None, None, 0, 1, 2]
    assert streaming_outputs([], arrivals(2)) == [None, None]


def test_a_detector_takes_the_newest_frame_and_skips_older_ones() -> None:
    assert detector_runs(arrivals(6), repeat(2.5)) == [Run(0, 2.5), Run(2, 5.0), Run(5, 7.5)]


def test_a_detector_that_had_the_newest_frame_waits_for_the_next() -> None:
    assert detector_runs(arrivals(3), repeat(0.5)) == [Run(0, 0.5), Run(1, 1.5), Run(2, 2.5)]
    # Frames 2, 3 and 4 are missing.
    assert detector_runs([0, 1, 5], repeat(1.5)) == [Run(0, 1.5), Run(1, 3.0), Run(2, 6.5)]


def test_every_run_takes_its_own_time() -> None:
    assert detector_runs(arrivals(5), cycle([2.0, 1.0])) == [
        Run(0, 2),
        Run(2, 3),
        Run(3, 5),
    ]


def test_rounding_of_times_delays_no_output() -> None:
    # Ten runs of 1.1 frames end at 11, which floating-point numbers miss by 2e-15.
    runs = detector_runs(arrivals(12), repeat(1.1))

    assert sum(1.1 for _ in range(10)) != 11
    assert streaming_outputs([run.finished for run in runs], arrivals(12))[11] == 9
    assert runs[9].frame == 9


@pytest.mark.parametrize(
    ("duration", "judged", "num_runs"),
    [
        (0.0, [0, 1, 2, 3, 4], 5),
        (0.5, [None, 0, 1, 2, 3], 5),
        (1.0, [None, 0, 1, 2, 3], 5),
        (1.5, [None, None, 0, 1, 1], 4),
        (2.0, [None, None, 0, 0, 2], 3),
        (5.0, [None, None, None, None, None], 1),
    ],
)
def test_what_is_judged_at_each_of_five_frames(
    duration: float, judged: list[int | None], num_runs: int
) -> None:
    assert judged_frames(arrivals(5), repeat(duration)) == (judged, num_runs)


@given(
    st.lists(st.integers(0, 40), min_size=1, max_size=12, unique=True),
    st.lists(st.floats(0, 6), min_size=1, max_size=8),
)
def test_outputs_are_never_of_later_frames_and_never_go_back(
    numbers: list[int], durations: list[float]
) -> None:
    times = [float(number) for number in sorted(numbers)]

    judged, num_runs = judged_frames(times, cycle(durations))

    known = [frame for frame in judged if frame is not None]
    assert all(frame is None or frame <= at for at, frame in enumerate(judged))
    assert known == sorted(known)
    assert len(set(known)) <= num_runs <= len(times)


def by_clock(num_frames: int, ticks: int, durations: list[int]) -> list[int | None]:
    """The frame whose output is judged at each frame, from a clock that ticks several times within
    a frame, and a detector that looks at it."""
    times, judged = cycle(durations), list[int | None]()
    had, running, output = -1, None, None
    for now in range(num_frames * ticks):
        if running is not None and running[1] <= now:
            output, running = running[0], None
        if running is None and now // ticks > had:
            had = now // ticks
            running = (had, now + next(times))
            if running[1] == now:
                output, running = had, None
        if now % ticks == 0:
            judged.append(output)
    return judged


@given(
    st.integers(1, 20),
    st.sampled_from([1, 3, 7, 10]),
    st.lists(st.integers(0, 40), min_size=1, max_size=6),
)
def test_the_schedule_is_that_of_a_detector_that_looks_at_a_clock(
    num_frames: int, ticks: int, durations: list[int]
) -> None:
    judged, _ = judged_frames(arrivals(num_frames), cycle([each / ticks for each in durations]))

    assert judged == by_clock(num_frames, ticks, durations)
