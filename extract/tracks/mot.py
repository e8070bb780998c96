"""Boxes as MOTChallenge writes them: one line each, numbers between commas or spaces.

    frame, track, x, y, width, height[, confidence[, class, visibility | x, y, z]]

Frames count from 1. A confidence of 0 in a file of nine columns (true boxes) says that the line is
not to be looked at, and the eighth column there is the class: 1 is a pedestrian. Track -1 is nobody
yet: such boxes are linked. https://motchallenge.net/instructions
"""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from extract.tracks.boxes import Box, number, whole
from extract.tracks.text import lines_of
from extract.tracks.video import Video
from pipeline.errors import PipelineError

_COLUMNS = "frame, track, x, y, width, height, confidence, ..."
_TRUE_BOXES, _PEDESTRIAN = 9, 1


def read(path: Path, video: Video, left_out: Counter) -> Iterator[Box]:
    """Yield the boxes of a file."""
    for line, text in lines_of(path):
        where = f"{path}:{line}"
        parts = re.split(r"[,;\s]+", text.strip(" ,;"))
        if len(parts) < 6:
            raise PipelineError(f"{where}: {len(parts)} numbers. Expected {_COLUMNS}")
        frame, track = whole(parts[0], "frame", where), whole(parts[1], "track", where)
        x, y, width, height = (
            number(part, what, where)
            for part, what in zip(parts[2:6], ("x", "y", "width", "height"), strict=True)
        )
        score = number(parts[6], "confidence", where) if len(parts) > 6 else 1.0
        if frame < 1:
            raise PipelineError(
                f"{where}: frame {frame}, but MOTChallenge counts from 1. If this file counts from "
                "0, give it a header frame,track,x,y,width,height"
            )
        if len(parts) == _TRUE_BOXES:
            if score == 0:
                left_out["marked as not to be looked at"] += 1
                continue
            if whole(parts[7], "class", where) not in (_PEDESTRIAN, -1):
                left_out["around something else"] += 1
                continue
        name = str(track) if track >= 0 else ""
        # Trackers write 1 or -1 where they mean that they do not say.
        score = score if 0 < score <= 1 else 1.0
        yield Box(frame - 1, name, x, y, width, height, score, "", where)
