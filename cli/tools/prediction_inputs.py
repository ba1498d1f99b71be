"""What detectors are to be tried on: images with the paths of their drawings, or a video."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from searchd.domain.errors import InvalidValueError

IMAGES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"})
"""Endings of the files that are images, in lower case."""
VIDEOS = frozenset({".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv"})
"""Endings of the files that are videos, in lower case."""


def video_among(given: Sequence[Path], out: Path) -> Path | None:
    """Return the video; None if images are given.

    Raises:
        InvalidValueError: A video is not given alone, does not exist, or would be overwritten.
    """
    videos = [path for path in given if path.suffix.lower() in VIDEOS and not path.is_dir()]
    if not videos:
        return None
    (video, *_) = videos
    if len(given) > 1:
        raise InvalidValueError(
            f"{video} is a video, whose frames are numbered in the results; give one video alone"
        )
    if not video.is_file():
        raise InvalidValueError(f"{video} does not exist")
    if out.resolve() == video.parent.resolve():
        raise InvalidValueError(f"--out {out} would overwrite {video}; give another folder")
    return video


def targets(given: Sequence[Path], out: Path) -> dict[Path, Path]:
    """Return the path of the drawing of each image.

    Raises:
        InvalidValueError: A path does not exist, a folder has no images, or a drawing would
            overwrite an image or another drawing.
    """
    drawn: dict[Path, Path] = {}
    for file, relative in _images_in(given):
        if (out / relative).resolve() == file.resolve():
            raise InvalidValueError(f"--out {out} would overwrite {file}; give another folder")
        if relative in drawn:
            raise InvalidValueError(
                f"{drawn[relative]} and {file} are both drawn as {relative}; give their folder, or "
                "draw them one after another with another --out"
            )
        drawn[relative] = file
    return {file: out / relative for relative, file in drawn.items()}


def _images_in(given: Sequence[Path]) -> Iterator[tuple[Path, Path]]:
    """Yield each image with the path, relative to the output, that its drawing gets."""
    for path in given:
        if path.is_file():
            yield path, Path(path.name)
            continue
        inside = sorted(each for each in path.rglob("*") if each.suffix.lower() in IMAGES)
        if not inside:
            raise InvalidValueError(_nothing_in(path))
        yield from ((each, each.relative_to(path)) for each in inside)


def _nothing_in(path: Path) -> str:
    if not path.is_dir():
        return f"{path} does not exist"
    text = f"{path} has no images ({', '.join(sorted(IMAGES))})"
    videos = [each for each in path.iterdir() if each.suffix.lower() in VIDEOS]
    return f"{text}; give its videos one by one, such as {videos[0]}" if videos else text
