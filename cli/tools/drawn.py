"""Draws what an exported detector finds on images and videos. Imports torch."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import typer

from cli.progress import progress
from detection.data.image_files import read_pixels
from detection.deployment.drawing import Picture, cover, draw
from detection.deployment.opened import Opened, Seen
from detection.deployment.videos import Recorder, Video
from searchd.domain.errors import DataError


@dataclass(slots=True, kw_only=True)
class Drawn:
    """What was drawn, and detections in COCO's result format."""

    header: Sequence[str]
    rows: list[Sequence[object]] = field(default_factory=list)
    """One for each image, or one for the video."""
    results: list[dict[str, Any]] = field(default_factory=list)
    problems: int = 0
    """Number of files that could not be used completely; each was named on stderr."""

    def blame(self, message: str) -> None:
        """Name what cannot be used."""
        self.problems += 1
        typer.echo(f"error: {message}", err=True)


def draw_images(opened: Opened, files: Mapping[Path, Path], least_score: float) -> Drawn:
    """Write the drawing of each image. What cannot be read is named and left out.

    Args:
        opened: The detector.
        files: Path of the drawing of each image.
        least_score: Smallest score of a detection.
    """
    drawn = Drawn(header=("IMAGE", "DETECTIONS"))
    with progress("images", len(files)) as advance:
        for number, (file, target) in enumerate(files.items(), start=1):
            found = _draw_image(opened, file, target, least_score, drawn)
            drawn.rows.append((file, None if found is None else len(found)))
            drawn.results += _results(opened, found or [], image_id=number, file_name=str(file))
            advance()
    return drawn


def draw_video(opened: Opened, file: Path, stem: Path, *, every: int, score: float) -> Drawn:
    """Write a video with what is found on every n-th frame of a video.

    Args:
        opened: The detector.
        file: The video.
        stem: Path of the drawn video, without its ending.
        every: n.
        score: Smallest score of a detection.

    Raises:
        DataError: The file cannot be read as a video, or no video can be written.
    """
    video, drawn = Video(file), Drawn(header=("VIDEO", "FRAMES", "DETECTIONS", "DRAWN"))
    num_frames = 0
    with (
        progress("frames", -(-video.num_frames // every)) as advance,
        Recorder(stem, video.fps / every) as recorder,
    ):
        for number, frame in _until_damaged(video.frames(every), drawn):
            found = opened.detect(frame, score)
            recorder.write(_with_detections(opened, frame, found))
            at = {"image_id": number, "time_s": round(number / video.fps, 3)}
            drawn.results += _results(opened, found, **at, file_name=str(file))
            num_frames += 1
            advance()
    drawn.rows.append((file, num_frames, len(drawn.results), recorder.path))
    return drawn


def _until_damaged(frames: Iterable[Any], drawn: Drawn) -> Iterator[Any]:
    try:
        yield from frames
    except DataError as error:
        drawn.blame(str(error))


def _draw_image(
    opened: Opened, file: Path, target: Path, least_score: float, drawn: Drawn
) -> list[Seen] | None:
    """Write a drawing; return what was found, or None if the image cannot be read."""
    try:
        image = read_pixels(file)
    except (DataError, OSError):
        drawn.blame(f"{file} cannot be read as an image; it is left out")
        return None
    found = opened.detect(image, least_score)
    target.parent.mkdir(parents=True, exist_ok=True)
    if not _written(target, _with_detections(opened, image, found)):
        drawn.blame(f"{target} cannot be written; its detections are in the results")
    return found


def _written(target: Path, picture: Picture) -> bool:
    try:
        return bool(cv2.imwrite(str(target), picture[..., ::-1]))
    except cv2.error:  # it has no encoder for the ending
        return False


def _with_detections(opened: Opened, picture: Picture, found: Sequence[Seen]) -> Picture:
    names = opened.request.class_names
    cover(picture, ((each.label, each.segmentation) for each in found))
    boxes = ((each.label, f"{names[each.label]} {each.score:.2f}", each.box) for each in found)
    draw(picture, boxes)
    return picture


def _results(opened: Opened, found: Sequence[Seen], **image: Any) -> list[dict[str, Any]]:
    return [
        {
            **image,
            "category_id": each.label + 1,
            "category": opened.request.class_names[each.label],
            "bbox": _bbox(each),
            "score": each.score,
            **({} if each.segmentation is None else {"segmentation": each.segmentation}),
        }
        for each in found
    ]


def _bbox(seen: Seen) -> list[float]:
    left, top, right, bottom = seen.box
    return [left, top, right - left, bottom - top]
