"""Read MARS, or any dataset in its layout.

Where: the frames from the authors (Zheng et al., "MARS: A Video Benchmark for Large-Scale Person
Re-Identification", ECCV 2016), the folder `info/` from github.com/liangzheng06/MARS-evaluation.
Mirrors often hold the frames alone.

    bbox_train/0001/0001C1T0001F001.jpg     person, camera, tracklet of the person, frame
    bbox_test/{0000 distractors, 00-1 junk, 0002, ...}/
    info/{train,test}_name.txt              one frame name per line, in tracklet order
    info/tracks_{train,test}_info.mat       first and last line (from 1, inclusive), pid, camera
    info/query_IDX.mat                      rows (from 1) of tracks_test_info that are queries

Train: 8,298 tracklets of 625 persons, 509,914 frames. Test: 12,180 rows = 1,980 queries, 6,082
more of the same persons, 3,248 distractors (pid 0) and 870 junk (pid -1), which is left out: it
never counts in a ranking. Officially the queries are part of the gallery, 11,310 tracklets.

Known faults: frame and tracklet numbers have gaps, so names cannot be made up from lengths; six
test tracklets do not start at frame 1; query_IDX is uint16; 1,988 pairs of person and camera
exist, but the eight persons seen by one camera have no query; 140 queries have no match once the
queries are taken out of the gallery; the name lists end lines with CR LF in some copies.
"""

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from extract.tracklets import DatasetFacts, ParserInput, Tracklet
from pipeline.errors import PipelineError
from pipeline.files import arrays, texts
from pipeline.names import JUNK

if TYPE_CHECKING:
    import numpy as np

SOURCE = "Get info/ from github.com/liangzheng06/MARS-evaluation (docs/datasets.md)."


def _camera(camid: int) -> str:
    """Return a camera as names of tracklets have it: C4."""
    return f"C{camid + 1}"


FACTS = DatasetFacts(
    source=SOURCE,
    published={
        "train_tracklets": 8298,
        "train_pids": 625,
        "train_frames": 509_914,
        "query_tracklets": 1980,
        "query_pids": 626,
        "query_frames": 114_493,
        "gallery_tracklets": 9330,
        "gallery_frames": 543_216,
        "distractor_tracklets": 3248,
        "junk_tracklets": 870,
    },
    gallery_includes_queries=True,
    camera=_camera,
)
NAME = re.compile(r"^((?:\d{4}|00-1)C(\d)T\d{4,})F(\d{3,})\.jpe?g$", re.IGNORECASE)


def read(reading: ParserInput) -> Iterator[Tracklet]:
    """Yield the tracklets of the official split, without junk."""
    test = _tracks(reading, "test")
    path = reading.file("info/query_IDX.mat", SOURCE)
    query = arrays.whole(path, arrays.read_mat(path, "query_IDX", SOURCE), SOURCE)
    is_query = set((query.ravel() - 1).tolist())
    if not is_query or min(is_query) < 0 or max(is_query) >= len(test):
        raise PipelineError(
            f"{reading.root}/info/query_IDX.mat does not point into the {len(test)} rows of "
            f"tracks_test_info.mat: they do not belong together. {SOURCE}"
        )
    reading.counted["junk_tracklets"] = int((test[:, 2] == JUNK).sum())
    rows = [i for i in range(len(test)) if test[i, 2] != JUNK]
    names = _names(reading, "test", test)
    yield from _tracklets(reading, "gallery", test, [i for i in rows if i not in is_query], names)
    yield from _tracklets(reading, "query", test, [i for i in rows if i in is_query], names)
    train = _tracks(reading, "train")
    names = _names(reading, "train", train)
    yield from _tracklets(reading, "train", train, list(range(len(train))), names)


def _tracks(reading: ParserInput, part: str) -> "np.ndarray":
    """Return first line, last line, person and camera of every tracklet of a half, `(N, 4)`."""
    path = reading.file(f"info/tracks_{part}_info.mat", SOURCE)
    # X-MARS, another split of the same frames, has other names.
    others = (f"tracks_{part}_info", f"tracks_{part}", "tracks")
    found = arrays.read_mat(path, f"track_{part}_info", SOURCE, others)
    found = arrays.whole(path, found, SOURCE)
    if found.shape[1] != 4 or not len(found):
        raise PipelineError(
            f"{path} is no table of four columns: first line, last line, person, camera. {SOURCE}"
        )
    if found[:, 0].min() < 1 or (found[:, 1] < found[:, 0]).any():
        raise PipelineError(f"{path}: a tracklet does not end behind its first frame. {SOURCE}")
    return found


def _names(reading: ParserInput, part: str, tracks: "np.ndarray") -> list[str]:
    path = reading.file(f"info/{part}_name.txt", SOURCE)
    names = texts.read(path, SOURCE).split()
    needed = int(tracks[:, 1].max())
    if len(names) != needed:
        raise PipelineError(
            f"{path} lists {len(names):,} frames, tracks_{part}_info.mat speaks of {needed:,}: "
            f"they do not belong together. {SOURCE}"
        )
    reading.file(f"bbox_{part}", "Get the frames from the authors (docs/datasets.md).")
    return names


def _tracklets(
    reading: ParserInput, split: str, tracks: "np.ndarray", rows: list[int], names: list[str]
) -> Iterator[Tracklet]:
    part = "train" if split == "train" else "test"
    found = []
    for row in rows:
        start, end, pid, camera = (int(value) for value in tracks[row])
        match = NAME.match(names[start - 1])
        if match is None or int(match[1][:4]) != pid or int(match[2]) != camera:
            raise PipelineError(
                f"{reading.root}/info/{part}_name.txt: line {start} is {names[start - 1]!r}, where "
                f"tracks_{part}_info.mat starts a tracklet of person {pid}, camera {camera}."
            )
        found.append((pid, match[1], camera, start, end))
    for pid, tracklet, camera, start, end in sorted(found):
        frames = names[start - 1 : end]
        odd = next((name for name in frames if not name.startswith(f"{tracklet}F")), None)
        if odd:
            raise PipelineError(
                f"{reading.root}/info/{part}_name.txt: {odd!r} stands among the frames of "
                f"{tracklet}. {SOURCE}"
            )
        folder = f"bbox_{part}/{tracklet[:4]}"
        numbers = [_number(reading, part, name) for name in frames]
        paths = [f"{folder}/{name}" for name in frames]
        yield Tracklet(tracklet, pid, camera - 1, split, paths, numbers)


def _number(reading: ParserInput, part: str, name: str) -> int:
    match = NAME.match(name)
    if match is None:
        raise PipelineError(
            f"{reading.root}/info/{part}_name.txt: {name!r} is no name of a frame. {SOURCE}"
        )
    return int(match[3])
