"""Boxes as CVAT exports them as "CVAT for video 1.1": XML with a track per person.

    <track id="0" label="person"><box frame="0" outside="0" xtl="1" ytl="2" xbr="3" ybr="4"/>

Frames count from 0. A box that is outside is none: the person is not in the picture.
https://docs.cvat.ai/docs/manual/advanced/formats/format-cvat
"""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.parsers import expat

from extract.tracks.boxes import Box, number, whole
from extract.tracks.video import Video
from pipeline.errors import PipelineError


def read(path: Path, video: Video, left_out: Counter) -> Iterator[Box]:
    """Yield the boxes of all tracks of a file."""
    found = _Found(path, left_out)
    parser = expat.ParserCreate()
    parser.StartElementHandler = lambda name, marks: found.start(
        name, marks, parser.CurrentLineNumber
    )
    # Nobody's boxes need entities of their own: they are a way to fill the memory.
    parser.EntityDeclHandler = lambda *_: found.refuse(parser.CurrentLineNumber)
    try:
        with path.open("rb") as file:
            parser.ParseFile(file)
    except expat.ExpatError as error:
        reason = expat.ErrorString(error.code)
        raise PipelineError(
            f"{path}:{error.lineno}: no valid XML ({reason}). Export it again"
        ) from None
    if not found.has_tracks:
        raise PipelineError(
            f"{path} has no tracks. Export it from CVAT as 'CVAT for video 1.1', not for images"
        )
    return iter(found.boxes)


class _Found:
    """Collects the boxes while the file is parsed."""

    def __init__(self, path: Path, left_out: Counter) -> None:
        self.path, self.left_out = path, left_out
        self.boxes: list[Box] = []
        self.has_tracks = False
        self._track, self._label = "", ""

    def start(self, name: str, marks: dict[str, Any], line: int) -> None:
        where = f"{self.path}:{line}"
        if name == "track":
            self.has_tracks = True
            self._track = str(whole(marks.get("id"), "the id of a track", where))
            self._label = marks.get("label", "")
        elif name == "box" and self.has_tracks:
            self._box(marks, where)
        elif name in ("polygon", "polyline", "points", "cuboid", "mask", "ellipse", "skeleton"):
            self.left_out[f"a {name}, no box"] += 1

    def _box(self, marks: dict[str, Any], where: str) -> None:
        if marks.get("outside") == "1":
            return
        frame = whole(marks.get("frame"), "frame", where)
        left, top, right, bottom = (
            number(marks.get(key), key, where) for key in ("xtl", "ytl", "xbr", "ybr")
        )
        size = (right - left, bottom - top)
        self.boxes.append(Box(frame, self._track, left, top, *size, 1.0, self._label, where))

    def refuse(self, line: int) -> None:
        raise PipelineError(f"{self.path}:{line}: it declares entities, which CVAT never does")
