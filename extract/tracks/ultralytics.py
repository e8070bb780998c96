"""Boxes as Ultralytics saves them with save_txt: a folder, a file per frame.

    labels/<video>_<frame>.txt      frames count from 1; or <picture>.txt for a folder of pictures
    class x y width height [confidence] [track]

x and y are the middle, and all four are shares of the picture's sides. Class 0 is a person. What
tracks has a track at the end, a whole number from 1; six columns without one end with a confidence.
https://docs.ultralytics.com/modes/track
"""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from extract.tracks.boxes import Box, number, whole
from extract.tracks.text import lines_of
from extract.tracks.video import Video
from pipeline.errors import PipelineError
from pipeline.names import natural

_PERSON = 0
_PARTS = ("x", "y", "width", "height")


def read(path: Path, video: Video, left_out: Counter) -> Iterator[Box]:
    """Yield the boxes of a folder of files, or of its folder `labels`."""
    folder = path / "labels" if (path / "labels").is_dir() else path
    files = _files(folder, video)
    width, height = video.size
    rows = [
        (frame, f"{file}:{line}", text.split())
        for frame, file in files
        for line, text in lines_of(file)
    ]
    tracked = _are_tracked(rows)
    for frame, where, parts in rows:
        if len(parts) not in (5, 6, 7):
            raise PipelineError(
                f"{where}: {len(parts)} numbers. Expected class x y width height, and a confidence "
                "and a track if there are"
            )
        if whole(parts[0], "class", where) != _PERSON:
            left_out["around something else"] += 1
            continue
        shares = [number(part, what, where) for part, what in zip(parts[1:5], _PARTS, strict=True)]
        has_track = len(parts) == 7 or (len(parts) == 6 and tracked)
        track = str(whole(parts[-1], "track", where)) if has_track else ""
        has_score = len(parts) == 7 or (len(parts) == 6 and not tracked)
        score = number(parts[5], "confidence", where) if has_score else 1.0
        if max(shares) > 2:
            raise PipelineError(f"{where}: {max(shares):g} is no share of the picture's side")
        x, y, wide, high = (
            share * side for share, side in zip(shares, 2 * (width, height), strict=True)
        )
        yield Box(frame, track, x - wide / 2, y - high / 2, wide, high, score, "", where)


def _files(folder: Path, video: Video) -> list[tuple[int, Path]]:
    """Return the frame and the file of all files of a video, in order.

    Raises:
        PipelineError: If there are none, or one says frame 0.
    """
    found = []
    known = {Path(name).stem: i for i, name in enumerate(video.pictures)}
    for file in sorted(folder.glob("*.txt"), key=lambda file: natural(file.name)):
        ending = re.fullmatch(re.escape(video.stem) + r"_(\d+)", file.stem)
        if file.stem in known:
            found.append((known[file.stem], file))
        elif ending:
            if int(ending[1]) == 0:
                raise PipelineError(f"{file}: frame 0, but Ultralytics counts from 1")
            found.append((int(ending[1]) - 1, file))
    if not found:
        example = f"{video.stem}_1.txt" if not known else f"{min(known)}.txt"
        raise PipelineError(f"{folder} holds no boxes of {video.path}, such as {example}")
    return sorted(found)


def _are_tracked(rows: list[tuple[int, str, list[str]]]) -> bool:
    """Return whether six columns end with a track.

    A line of seven is a tracker's, where a sixth column is a confidence. Else the sixth is a track
    if it is a whole number from 1 everywhere and no two of a frame are equal: of confidences all
    would have to be 1.
    """
    if any(len(parts) == 7 for _, _, parts in rows):
        return False
    last = [(frame, parts[5]) for frame, _, parts in rows if len(parts) == 6]
    are_whole = all(re.fullmatch(r"[1-9]\d*", text) for _, text in last)
    return bool(last) and are_whole and len(set(last)) == len(last)
