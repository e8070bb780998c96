"""Writes a scene: a video or a folder of pictures, and the true boxes beside it."""

import shutil
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np

from extract.scene.crowd import FPS
from extract.scene.film import Scene
from extract.walkers.camera import IMAGE_SIZE
from pipeline import console, paths
from pipeline.errors import PipelineError

# Lossless where the suffix is .avi.
_CODECS = {".mp4": "mp4v", ".avi": "FFV1"}


def write(scene: Scene, out: Path) -> tuple[Path, int]:
    """Write the frames of a scene and its true boxes.

    Args:
        scene: What to render.
        out: A video by its suffix, else a folder of JPEGs, made anew.

    Returns:
        The file of boxes, and how many there are.
    """
    lines = []
    with _frames(out) as add, console.progress(scene.frames, "frames", "scene") as meter:
        for number, (image, boxes) in enumerate(scene.film(), start=1):
            add(image)
            for track, x, y, width, height, visible in boxes:
                lines.append(f"{number},{track},{x:g},{y:g},{width:g},{height:g},1,1,{visible:g}\n")
            meter.advance()
    file = out.with_suffix(".txt")
    with paths.write_atomic(file) as temporary:
        temporary.write_text("".join(lines))
    return file, len(lines)


@contextmanager
def _frames(out: Path) -> Generator[Callable[[np.ndarray], object]]:
    """Yield a function that takes the next frame; all appear at their place when the block ends."""
    out.parent.mkdir(parents=True, exist_ok=True)
    if not out.suffix:
        with _pictures(out) as add:
            yield add
        return
    with paths.write_atomic(out) as temporary:
        # FFmpeg goes by the suffix.
        unfinished = temporary.with_suffix(f".tmp{out.suffix}")
        codec = cv2.VideoWriter.fourcc(*_CODECS[out.suffix])
        writer = cv2.VideoWriter(str(unfinished), codec, FPS, IMAGE_SIZE)
        if not writer.isOpened():
            raise PipelineError(f"{out} cannot be written. Name a folder in place of a video")
        try:
            yield writer.write
            writer.release()
            unfinished.replace(temporary)
        finally:
            writer.release()
            unfinished.unlink(missing_ok=True)


@contextmanager
def _pictures(out: Path) -> Generator[Callable[[np.ndarray], object]]:
    if out.exists() and any(file.suffix != ".jpg" for file in out.iterdir()):
        raise PipelineError(f"{out} holds other files. Name another folder")
    made, number = out.with_name(f".{out.name}.making"), 0
    shutil.rmtree(made, ignore_errors=True)
    made.mkdir()

    def add(image: np.ndarray) -> None:
        nonlocal number
        number += 1
        cv2.imwrite(str(made / f"{number:06d}.jpg"), image, [cv2.IMWRITE_JPEG_QUALITY, 92])

    yield add
    paths.publish_dir(made, out)
