"""Frames of a person that is in no dataset: from a folder of images, or from boxes in a video."""

import os
from pathlib import Path

import cv2
import numpy as np

from pipeline import images
from pipeline.errors import PipelineError
from pipeline.files import texts

# More pixels or frames than any video has.
LARGEST = 2**31
BOX_COLUMNS = ("frame", "x", "y", "width", "height")


def from_folder(folder: Path) -> list[np.ndarray]:
    """Return the images of a folder in the order of their names, `(H, W, 3)` RGB each.

    Raises:
        PipelineError: If there are none, or one does not decode.
    """
    names = images.list_images(folder)
    if not names:
        raise PipelineError(f"{folder} holds no images ({', '.join(images.SUFFIXES)})")
    frames = []
    for name in names:
        frame, _ = images.read(folder / name)
        if frame is None:
            raise PipelineError(f"{folder / name} does not decode as an image. Remove it")
        frames.append(frame)
    return frames


def from_video(file: Path, boxes: Path) -> list[np.ndarray]:
    """Cut a person out of a video.

    Args:
        file: Anything OpenCV reads.
        boxes: CSV with a header `frame,x,y,width,height`: frame numbers from 0, pixels from the
            upper left corner. A box that reaches over the edge is cut off there.

    Returns:
        A crop per box, in the order of the frames.

    Raises:
        PipelineError: If the video does not decode, has too few frames, or a box lies outside.
    """
    wanted = _read_boxes(boxes)
    # FFmpeg would complain on the terminal in its own words; -8 is its "quiet".
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    video = cv2.VideoCapture(str(file))
    crops: list[np.ndarray] = []
    number = 0
    try:
        while len(crops) < len(wanted):
            # Seeking is not exact with every codec; decoding in order is.
            is_read, image = video.read()
            if not is_read:
                break
            while len(crops) < len(wanted) and wanted[len(crops)][0] == number:
                line, box = wanted[len(crops)][1:]
                crops.append(_crop(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), box, boxes, line))
            number += 1
    finally:
        video.release()
    if not number:
        raise PipelineError(f"{file} does not decode as a video")
    if len(crops) < len(wanted):
        raise PipelineError(
            f"{boxes}: frame {wanted[len(crops)][0]} is asked for, but {file} ends after {number}"
        )
    return crops


def _read_boxes(file: Path) -> list[tuple[int, int, tuple[float, ...]]]:
    """Return frame number, line and box, sorted by frame."""
    fix = f"Its header is {','.join(BOX_COLUMNS)}"
    found = []
    for line, row in texts.read_csv(file, BOX_COLUMNS, fix):
        try:
            frame, *box = (float(row[name]) for name in BOX_COLUMNS)
            if not (np.abs([frame, *box]) < LARGEST).all() or frame % 1:
                raise ValueError
        except (KeyError, TypeError, ValueError):
            raise PipelineError(
                f"{file}:{line}: expected numbers under the header {','.join(BOX_COLUMNS)}"
            ) from None
        found.append((int(frame), line, tuple(box)))
    if not found:
        raise PipelineError(f"{file} holds no boxes. Its header is {','.join(BOX_COLUMNS)}")
    return sorted(found)


def _crop(image: np.ndarray, box: tuple[float, ...], file: Path, line: int) -> np.ndarray:
    height, width = image.shape[:2]
    x, y, w, h = box
    left, right = max(0, round(x)), min(width, round(x + w))
    top, bottom = max(0, round(y)), min(height, round(y + h))
    if right <= left or bottom <= top:
        raise PipelineError(
            f"{file}:{line}: box {x:g},{y:g},{w:g},{h:g} lies outside the {width} x {height} frame"
        )
    return image[top:bottom, left:right]
