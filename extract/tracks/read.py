"""Which format a file of boxes has, and the boxes of people in it."""

import importlib
import re
from collections import Counter
from pathlib import Path

from extract.tracks.boxes import Box, checked, people_among
from extract.tracks.video import Video
from pipeline.errors import PipelineError, did_you_mean

# By the names of --format; each is a module of this room with a function `read`.
FORMATS = {
    "mot": "extract.tracks.mot",
    "ultralytics": "extract.tracks.ultralytics",
    "cvat": "extract.tracks.cvat",
    "coco": "extract.tracks.coco_video",
    "csv": "extract.tracks.own",
}
_BEGINNING_BYTES = 4096


def read_boxes(
    path: Path, video: Video, left_out: Counter, kind: str = "", label: str | None = None
) -> list[Box]:
    """Return the boxes of people, in the order of frames and tracks.

    Args:
        path: A file, or Ultralytics' folder.
        video: What they are of.
        left_out: Counts what is not around people.
        kind: One of FORMATS; by default its content tells.
        label: What people are called in the file.

    Raises:
        PipelineError: If the file is broken, or nobody can tell what it is.
    """
    if kind and kind not in FORMATS:
        raise PipelineError(f"--format {kind} is not known. {did_you_mean(kind, FORMATS)}")
    if not path.exists():
        raise PipelineError(f"{path} does not exist")
    module = importlib.import_module(FORMATS[kind or format_of(path)])
    boxes = list(checked(module.read(path, video, left_out)))
    boxes = people_among(boxes, label, path, left_out)
    if not boxes:
        raise PipelineError(f"{path} holds no boxes of people")
    return sorted(boxes, key=lambda box: (box.frame, box.track, box.x))


def format_of(path: Path) -> str:
    """Return the name of a file's format, by its content.

    Raises:
        PipelineError: If it looks like none.
    """
    if path.is_dir():
        return "ultralytics"
    with path.open("rb") as file:
        beginning = file.read(_BEGINNING_BYTES).decode("utf-8-sig", errors="replace").lstrip()
    first = beginning.partition("\n")[0].strip()
    if beginning.startswith("<"):
        return "cvat"
    if beginning.startswith("{"):
        return "coco"
    if re.match(r"-?\d+(\.\d*)?[,;\s]", first):
        if len(first.split()) in (5, 6, 7) and "," not in first and "." in first.split()[1]:
            raise PipelineError(
                f"{path} looks like one frame that Ultralytics saved. Name its folder"
            )
        return "mot"
    if "frame" in first.lower():
        return "csv"
    raise PipelineError(
        f"{path} looks like no file of boxes: its first line is {first!r:.60}. "
        f"Say what it is: --format {' | '.join(FORMATS)}"
    )
