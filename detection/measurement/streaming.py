"""Streaming AP (docs/papers.md 9): at the time of each frame, the newest output that the detector
has finished is compared with the objects of that frame.

The detections of every frame are given; the stream is simulated from the latency.
"""

import math
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from detection.data.coco import CocoSplit
from detection.data.record_ids import RecordId
from detection.data.sequences import by_sequence
from detection.measurement.evaluation import Detection, score
from detection.measurement.frame_schedule import judged_frames
from searchd.domain.accuracy import Accuracy
from searchd.domain.errors import DataError, InvalidValueError

FPS = 30.0
"""Default frame rate, that of Argoverse-HD."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """The rate of the frames, and the latency of the detector."""

    fps: float = FPS
    """Frames in a second, above 0."""
    latencies_s: Sequence[float]
    """Seconds that a frame may take, each at least 0; one for a constant latency. Every run draws
    one of them."""
    seed: int = 0
    """Seed of the draws."""

    def __post_init__(self) -> None:
        if not 0 < self.fps < math.inf:
            raise InvalidValueError(f"fps={self.fps} must be above 0 and finite")
        if not self.latencies_s or not all(0 <= each < math.inf for each in self.latencies_s):
            raise InvalidValueError(
                f"latencies_s={list(self.latencies_s)} must be at least one number, each at least 0"
            )

    def durations(self) -> Iterator[float]:
        """Return the time of each run, in frames; always the same ones."""
        draw = random.Random(self.seed)
        while True:
            yield self.fps * draw.choice(self.latencies_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamingAccuracy:
    """The result of a stream."""

    streaming: Accuracy
    """COCO's metrics of the newest output at each frame."""
    offline: Accuracy
    """The same of each frame's own output, as if the detector took no time."""
    num_frames: int
    num_taken: int
    """Number of frames that the detector took; the others were skipped."""
    num_without_output: int
    """Number of frames before the first output of their sequence."""
    mean_age: float | None
    """Mean of how many frames ago the judged outputs saw the stream. None: there was no output."""


def check_sequences(split: CocoSplit) -> None:
    """Check that every image is a frame of a sequence.

    Raises:
        DataError: An image is not.
    """
    single = sum(record.frame is None for record in split.records)
    if single:
        raise DataError(
            f"{split.spec.annotations}: {single} of {len(split)} images are in no sequence, and a "
            "stream needs the order of its frames; give each image a video_id and a frame_id, or "
            "use Argoverse-HD (docs/data.md)"
        )


def streaming_accuracy(
    split: CocoSplit, detections: Sequence[Detection], stream: Stream
) -> StreamingAccuracy:
    """Return the streaming AP of a detector on the sequences of a split.

    Args:
        split: The split; every image is in a sequence.
        detections: What the detector finds on every image.
        stream: Frame rate and latency.

    Raises:
        DataError: An image is in no sequence, or a detection of an image that the split does not
            have.
    """
    check_sequences(split)
    shown, num_taken = newest_outputs(split, stream)
    numbers = _frame_numbers(split)
    ages = [numbers[at] - numbers[seen] for at, seen in shown.items() if seen is not None]
    return StreamingAccuracy(
        streaming=score(split, _as_judged(split, detections, shown)),
        offline=score(split, list(detections)),
        num_frames=len(split),
        num_taken=num_taken,
        num_without_output=len(split) - len(ages),
        mean_age=sum(ages) / len(ages) if ages else None,
    )


def newest_outputs(split: CocoSplit, stream: Stream) -> tuple[dict[int, int | None], int]:
    """Return which image the newest output at the time of each image is of, as indices of the
    records, None if there is no output yet; and the number of images that the detector took."""
    numbers = _frame_numbers(split)
    durations = stream.durations()
    shown: dict[int, int | None] = {}
    num_taken = 0
    for members in by_sequence([record.frame for record in split.records]).values():
        arrivals = [float(numbers[index] - numbers[members[0]]) for index in members]
        seen, taken = judged_frames(arrivals, durations)
        shown |= {
            at: None if frame is None else members[frame]
            for at, frame in zip(members, seen, strict=True)
        }
        num_taken += taken
    return shown, num_taken


def _frame_numbers(split: CocoSplit) -> list[int]:
    return [record.frame.number for record in split.records if record.frame is not None]


def _as_judged(
    split: CocoSplit, detections: Sequence[Detection], shown: Mapping[int, int | None]
) -> list[Detection]:
    """Return the detections of the newest outputs, as detections of the images at whose time they
    are judged."""
    found: dict[RecordId, list[Detection]] = {}
    for each in detections:
        found.setdefault(each["image_id"], []).append(each)
    return [
        {**each, "image_id": split.records[at].image_id}
        for at, seen in shown.items()
        if seen is not None
        for each in found.get(split.records[seen].image_id, ())
    ]
