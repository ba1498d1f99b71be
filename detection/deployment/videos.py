"""Reads the frames of video files, and writes videos, by OpenCV."""

from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import cv2
import numpy as np

from detection.deployment.drawing import Picture
from searchd.domain.errors import DataError

_CODECS = (("mp4v", ".mp4"), ("MJPG", ".avi"))
"""Codecs to write with, the first that OpenCV has here, with the ending of their files."""
_USUAL_FPS = 25.0
"""Frames in a second of a file that does not tell."""
_LOST = 0.02
"""Share of the frames by which the number in a file's header may be too large."""


class Video:
    """The frames of a video file."""

    def __init__(self, path: Path) -> None:
        """Open the file.

        Raises:
            DataError: OpenCV cannot read it.
        """
        self.path = path
        self._capture = cv2.VideoCapture(str(path))
        if not self._capture.isOpened():
            raise DataError(
                f"{path} cannot be read as a video: it is damaged, or OpenCV has no codec for it "
                f"here; if others play it, convert it: ffmpeg -i {path.name} -c:v mjpeg "
                f"{path.stem}.avi"
            )
        self.fps: float = self._positive(cv2.CAP_PROP_FPS) or _USUAL_FPS
        """Frames in a second."""
        self.num_frames = round(self._positive(cv2.CAP_PROP_FRAME_COUNT) or 0)
        """Number of frames that the header tells; 0 if it does not."""

    def frames(self, every: int) -> Iterator[tuple[int, Picture]]:
        """Yield every n-th frame with its number, from 0.

        Raises:
            DataError: The file ends earlier than its header tells, or has no frame. All frames
                before were yielded.
        """
        number = 0
        while self._capture.grab():
            if number % every == 0:
                has_pixels, frame = self._capture.retrieve()
                if not has_pixels:
                    break
                yield number, np.asarray(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB), dtype=np.uint8)
            number += 1
        self._capture.release()
        if number == 0 or number < (1 - _LOST) * self.num_frames - 1:
            raise DataError(
                f"{self.path} can be read up to frame {number} of {self.num_frames}; the rest is "
                "damaged or missing"
            )

    def _positive(self, name: int) -> float | None:
        value = float(self._capture.get(name))
        return value if 0 < value < float("inf") else None


class Recorder:
    """Writes frames of one size as a video: MPEG-4, or Motion JPEG where OpenCV has no MPEG-4."""

    def __init__(self, stem: Path, fps: float) -> None:
        """
        Args:
            stem: The file without its ending.
            fps: Frames in a second.
        """
        self._stem, self._fps = stem, fps
        self._writer: Any = None
        self.path: Path | None = None
        """The file; None before the first frame."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        if self._writer is not None:
            self._writer.release()

    def write(self, frame: Picture) -> None:
        """Append a frame.

        Raises:
            DataError: OpenCV cannot write a video here.
        """
        if self._writer is None:
            self._writer = self._opened(frame.shape[1], frame.shape[0])
        self._writer.write(frame[..., ::-1])

    def _opened(self, width: int, height: int) -> Any:
        for codec, ending in _CODECS:
            self.path = self._stem.with_name(self._stem.name + ending)
            writer = cv2.VideoWriter(
                str(self.path), cv2.VideoWriter.fourcc(*codec), self._fps, (width, height)
            )
            if writer.isOpened():
                return writer
        raise DataError(
            f"{self._stem} cannot be written as a video: the folder cannot be written to, or "
            "OpenCV has no codec here; install opencv-python-headless, which has some"
        )
