"""Boxes as CSV with a header: `frame,track,x,y,width,height`, and if there are `score`, `label`.

Frames count from 0, pixels from the upper left corner. A track is a number or a name; without the
column `track` all boxes are of one person, and where it is empty nobody knows whose the box is.
"""

import csv
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from extract.tracks.boxes import Box, number, whole
from extract.tracks.text import lines_of
from extract.tracks.video import Video
from pipeline.errors import PipelineError, did_you_mean

COLUMNS = ("frame", "x", "y", "width", "height")


def read(path: Path, video: Video, left_out: Counter) -> Iterator[Box]:
    """Yield the boxes of a file."""
    lines = lines_of(path)
    _, first = next(lines, (0, ""))
    header = [name.strip().lower() for name in next(csv.reader([first]), [])]
    for column in COLUMNS:
        if column not in header:
            raise PipelineError(f"{path}:1: no column {column}. {did_you_mean(column, header)}")
    for line, text in lines:
        where = f"{path}:{line}"
        values = next(csv.reader([text]))
        if len(values) != len(header):
            raise PipelineError(f"{where}: {len(values)} values under {len(header)} names")
        row = dict(zip(header, (value.strip() for value in values), strict=True))
        frame = whole(row["frame"], "frame", where)
        x, y, width, height = (number(row[name], name, where) for name in COLUMNS[1:])
        score = number(row["score"], "score", where) if row.get("score") else 1.0
        track = row.get("track", "1")
        yield Box(frame, track, x, y, width, height, score, row.get("label", ""), where)
