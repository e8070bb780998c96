"""Frames of a video, or of a folder of pictures, one after the other."""

import os
from collections.abc import Container, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np

from pipeline import images
from pipeline.errors import PipelineError
from pipeline.paths import file_name

_FPS = 30.0


@dataclass(frozen=True)
class Looks:
    """Which frames of a video are looked at; `number in looks` says whether one is.

    Attributes:
        every: Every how many frames one is.
        limit: How many frames there are to look at, 0 for all.
    """

    every: int = 1
    limit: int = 0

    def __contains__(self, number: object) -> bool:
        """Return whether a frame is looked at."""
        assert isinstance(number, int)
        return number % self.every == 0 and not (self.limit and number >= self.limit)


@dataclass(frozen=True)
class Video:
    """A video, or a folder of pictures in the order of their names.

    Attributes:
        path: Where it is.
    """

    path: Path

    @property
    def stem(self) -> str:
        """Its name without the suffix."""
        return self.path.name if self.is_folder else self.path.stem

    @property
    def camera(self) -> str:
        """What its camera is called: the name of the file, fit for a folder."""
        return file_name(self.stem)

    @cached_property
    def is_folder(self) -> bool:
        """Whether it is a folder of pictures."""
        return self.path.is_dir()

    @cached_property
    def pictures(self) -> list[str]:
        """Names of the pictures of a folder."""
        return images.list_images(self.path) if self.is_folder else []

    @cached_property
    def _told(self) -> tuple[int, int, int, float]:
        """Width, height, number of frames as the file says (0: it does not), frames per second.

        Raises:
            PipelineError: If it does not decode.
        """
        first = next((image for _, image in self.frames([0])), None)
        if first is None:
            if not self.path.exists():
                raise PipelineError(f"{self.path} does not exist")
            if self.is_folder and not self.pictures:
                kinds = ", ".join(images.SUFFIXES)
                raise PipelineError(f"{self.path} holds no pictures ({kinds})")
            raise PipelineError(f"{self.path} does not decode as a video")
        count, fps = len(self.pictures), _FPS
        if not self.is_folder:
            capture = _opened(self.path)
            count = int(max(0, capture.get(cv2.CAP_PROP_FRAME_COUNT)))
            fps = float(capture.get(cv2.CAP_PROP_FPS))
            capture.release()
        height, width = first.shape[:2]
        return width, height, count, fps if 1 <= fps <= 1000 else _FPS

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the first frame, turned as the file says."""
        return self._told[:2]

    @property
    def told_frames(self) -> int:
        """How many frames the file says it has; 0 where it does not say."""
        return self._told[2]

    @property
    def fps(self) -> float:
        """Frames per second, 30 where the file does not say."""
        return self._told[3]

    def stats(self) -> list[list[object]]:
        """Return what changes when a picture of a folder does; nothing for a video."""
        found = ((name, (self.path / name).stat()) for name in self.pictures)
        return [[name, stat.st_size, stat.st_mtime_ns] for name, stat in found]

    def count(self) -> int:
        """Return how many frames can be read, by reading them."""
        if self.is_folder:
            return len(self.pictures)
        capture, number = _opened(self.path), 0
        while capture.grab():
            number += 1
        capture.release()
        return number

    def frames(self, wanted: Container[int]) -> Iterator[tuple[int, np.ndarray | None]]:
        """Yield the number of every frame and, of wanted ones, its BGR pixels `(H, W, 3)`.

        Ends where the video does, or where it is broken. A picture of a folder that does not
        decode is None.
        """
        if self.is_folder:
            for number, name in enumerate(self.pictures):
                image = images.read(self.path / name)[0] if number in wanted else None
                yield number, image if image is None else image[..., ::-1]
            return
        capture, number = _opened(self.path), 0
        try:
            # Seeking is not exact with every codec; decoding in order is.
            while capture.grab():
                image = capture.retrieve()[1] if number in wanted else None
                yield number, image
                number += 1
        finally:
            capture.release()


def _opened(path: Path) -> cv2.VideoCapture:
    # FFmpeg would complain on the terminal in its own words; -8 is its "quiet".
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    return cv2.VideoCapture(str(path))
