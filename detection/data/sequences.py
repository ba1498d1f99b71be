"""Frames of image sequences (videos), from the `video_id` and `frame_id` of image records."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from detection.data.findings import Findings, shown
from detection.data.kinds import FRAME
from detection.data.record_ids import RecordId, record_id


@dataclass(frozen=True, slots=True)
class Frame:
    """The place of an image in a sequence."""

    sequence: RecordId
    """Id of the sequence in the annotation file."""
    number: int
    """Number of the frame in its sequence; the first may be 0 or 1, or any other. Frames follow
    each other by one, and those that are missing have no image."""


def read_frames(
    images: Sequence[Mapping[str, Any]], file: Path, findings: Findings
) -> dict[RecordId, Frame]:
    """Return the frame of each image that is in a sequence, by the id of the image.

    Args:
        images: Image records, which may have `video_id` and `frame_id`.
        file: Path of the annotation file, for findings.
        findings: Gets what is wrong: a frame without number, or a second image of a frame.
    """
    found: dict[RecordId, Frame] = {}
    taken: dict[Frame, RecordId] = {}
    for image in images:
        identity, sequence = record_id(image.get("id")), record_id(image.get("video_id"))
        if identity is None or sequence is None:
            continue
        number = record_id(image.get("frame_id"))
        frame = Frame(sequence, number) if isinstance(number, int) else None
        if frame is None or frame in taken:
            _report(image, identity, taken.get(frame) if frame else None, file, findings)
            continue
        found[identity] = frame
        taken[frame] = identity
    return found


def by_sequence(frames: Sequence[Frame | None]) -> dict[RecordId, list[int]]:
    """Return the images of each sequence in the order of their frames, as indices of `frames`; the
    sequences in the order of their first images. Images without a sequence are left out."""
    found: dict[RecordId, list[tuple[int, int]]] = {}
    for index, frame in enumerate(frames):
        if frame is not None:
            found.setdefault(frame.sequence, []).append((frame.number, index))
    return {name: [index for _, index in sorted(members)] for name, members in found.items()}


def _report(
    image: Mapping[str, Any],
    identity: RecordId,
    other: RecordId | None,
    file: Path,
    findings: Findings,
) -> None:
    number = image.get("frame_id")
    of_video = f"of video_id={shown(image.get('video_id'))}"
    wrong = f"frame_id={shown(number)} {of_video} must be a whole number"
    twice = f"frame_id={shown(number)} {of_video} is also that of image {other}"
    problem = wrong if other is None else twice
    findings.add(FRAME, file, f"image {identity}", problem, value=number)
