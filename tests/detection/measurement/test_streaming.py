"""Streaming AP: outputs that are late meet the objects of a later frame."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detection.data.coco import CocoSplit
from detection.measurement.evaluation import Detection, score
from detection.measurement.streaming import Stream, newest_outputs, streaming_accuracy
from searchd.domain.errors import DataError, InvalidValueError
from tests.small_streams import stream_of

STANDING = (20, 40, 20, 20)
"""A car that stands."""


def driving(frame: int) -> tuple[int, int, int, int]:
    """A car that drives 2 pixels to the right in each frame."""
    return (100 + 2 * frame, 40, 20, 20)


def found_by(split: CocoSplit) -> list[Detection]:
    """What a perfect detector finds in every frame: cars that stand with more certainty."""
    return [
        {
            "image_id": record.image_id,
            "category_id": 0,
            "bbox": [x1, y1, x2 - x1, y2 - y1],
            "score": 0.9 if x1 == STANDING[0] else 0.8,
        }
        for record in split.records
        for x1, y1, x2, y2 in record.boxes.tolist()
    ]


@pytest.fixture
def street(tmp_path: Path) -> CocoSplit:
    """Four frames with a car that stands and one that drives."""
    return stream_of(tmp_path, [[[STANDING, driving(frame)] for frame in range(4)]])


def test_an_example_that_can_be_computed_by_hand(street: CocoSplit) -> None:
    stream = Stream(fps=10, latencies_s=[0.15])

    found = streaming_accuracy(street, found_by(street), stream)

    # The detector takes frames 0, 1 and 3 at 0, 0.15 and 0.3 s. At frames 0 and 1 nothing is
    # there; at 2 the output of frame 0, at 3 that of frame 1. Both show the driving car where it
    # was two frames before: 4 of 20 pixels apart, IoU 16 / 24 = 0.667.
    assert newest_outputs(street, stream) == ({0: None, 1: None, 2: 0, 3: 1}, 3)
    assert (found.num_frames, found.num_taken, found.num_without_output) == (4, 3, 2)
    assert found.mean_age == 2
    # At IoU .50 to .65 all four detections are right: 4 of 8 objects, 51 of COCO's 101 recalls. At
    # .70 to .95 those of the standing car alone, which come first: 2 of 8 objects, 26 recalls.
    assert found.streaming.ap == pytest.approx((4 * 51 + 6 * 26) / 10 / 101)
    assert found.streaming.ap50 == pytest.approx(51 / 101)
    assert found.streaming.ap75 == pytest.approx(26 / 101)
    assert found.offline.ap == pytest.approx(1)


def test_a_detector_that_is_slower_than_the_sequence_finds_nothing(street: CocoSplit) -> None:
    found = streaming_accuracy(street, found_by(street), Stream(fps=10, latencies_s=[2]))

    assert (found.streaming.ap, found.num_without_output, found.mean_age) == (0, 4, None)


def test_sequences_are_streams_of_their_own_and_frames_are_sorted(tmp_path: Path) -> None:
    split = stream_of(tmp_path, [[[STANDING]] * 3, [[STANDING]] * 2], first_frame=1)
    split.records = tuple(reversed(split.records))

    shown, num_taken = newest_outputs(split, Stream(fps=30, latencies_s=[1 / 30]))

    # Reversed: frames 2 and 1 of the second sequence, then 3, 2 and 1 of the first.
    assert (shown, num_taken) == ({1: None, 0: 1, 4: None, 3: 4, 2: 3}, 5)


def test_frames_without_image_pass_all_the_same(tmp_path: Path) -> None:
    split = stream_of(tmp_path, [[[STANDING]] * 6])
    split.records = tuple(split.records[number] for number in (0, 1, 5))

    shown, num_taken = newest_outputs(split, Stream(fps=10, latencies_s=[0.2]))

    # Frame 0 is ready at 2, frame 1 is taken then and ready at 4.
    assert (shown, num_taken) == ({0: None, 1: None, 2: 1}, 3)


@st.composite
def noisy_streams(draw: st.DrawFn) -> tuple[list[int], list[Detection]]:
    """Lengths of sequences, and detections near their cars or anywhere."""
    lengths = draw(st.lists(st.integers(1, 6), min_size=1, max_size=3))
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    found: list[Detection] = []
    for image in range(sum(lengths)):
        for _ in range(int(rng.integers(0, 4))):
            box = np.array(STANDING) + rng.normal(0, 4, 4)
            found.append(
                {
                    "image_id": image,
                    "category_id": 0,
                    "bbox": box.tolist(),
                    "score": float(rng.uniform()),
                }
            )
    return lengths, found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("streams")


@settings(max_examples=20)
@given(drawn=noisy_streams())
def test_without_latency_streaming_ap_is_plain_ap(
    folder: Path, drawn: tuple[list[int], list[Detection]]
) -> None:
    lengths, detections = drawn
    split = stream_of(folder, [[[STANDING]] * length for length in lengths])

    found = streaming_accuracy(split, detections, Stream(latencies_s=[0]))

    assert found.streaming == found.offline == score(split, detections)
    assert (found.num_taken, found.num_without_output, found.mean_age) == (sum(lengths), 0, 0)


@settings(max_examples=20)
@given(drawn=noisy_streams(), fps=st.sampled_from([7, 10, 24, 29.97, 30, 60]))
def test_a_latency_of_one_frame_is_ap_of_outputs_that_are_shifted_by_one_frame(
    folder: Path, drawn: tuple[list[int], list[Detection]], fps: float
) -> None:
    lengths, detections = drawn
    split = stream_of(folder, [[[STANDING]] * length for length in lengths])
    last = set(np.cumsum(lengths) - 1)
    shifted = [
        each | {"image_id": each["image_id"] + 1}
        for each in detections
        if each["image_id"] not in last
    ]

    found = streaming_accuracy(split, detections, Stream(fps=fps, latencies_s=[1 / fps]))

    assert found.streaming == score(split, shifted)
    assert found.num_without_output == len(lengths)


def test_latencies_are_drawn_from_the_measured_ones_by_seed() -> None:
    def durations(seed: int) -> list[float]:
        drawn = Stream(fps=10, latencies_s=[0.1, 0.2, 0.4], seed=seed).durations()
        return [next(drawn) for _ in range(30)]

    assert set(durations(0)) == {1, 2, 4}
    assert durations(0) == durations(0) != durations(1)


def test_images_without_sequence_are_refused(tmp_path: Path) -> None:
    split = stream_of(tmp_path, [[[STANDING]] * 3])
    document = split.spec.annotations.read_text().replace('"video_id": 0, "frame_id": 1', '"x": 0')
    split.spec.annotations.write_text(document)

    with pytest.raises(DataError, match="1 of 3 images are in no sequence, and a stream needs"):
        streaming_accuracy(CocoSplit(split.spec), [], Stream(latencies_s=[0]))


@pytest.mark.parametrize(
    ("fps", "latencies", "message"),
    [
        (0, [0.1], "fps=0 must be above 0"),
        (float("inf"), [0.1], "fps=inf must be above 0 and finite"),
        (30, [0.1, -1], r"latencies_s=\[0.1, -1\] must be"),
        (30, [], r"latencies_s=\[\] must be at least one number"),
    ],
)
def test_streams_that_cannot_be_are_refused(
    fps: float, latencies: list[float], message: str
) -> None:
    with pytest.raises(InvalidValueError, match=message):
        Stream(fps=fps, latencies_s=latencies)
