"""Read LS-VID.

Where: from the authors by e-mail (Li et al., "Global-Local Temporal Representations for Video
Person Re-Identification", ICCV 2019); unpack LS-VID_V2.zip.

    list_sequence/list_seq_{train,test}.txt    lines "<start of the frames' paths> <pid>"
    tracklet_{train,test}/0000/*.jpg           <tracklet>_<frame>_<camera 1..15>_<...>.jpg
    test/data/info_test.mat                    MATLAB; `query`: lines (from 1) of list_seq_test.txt
    list_sequence/list_seq_val.txt             optional, with tracklet_val/

Train: 2,831 tracklets of 842 persons. Test: 3,504 queries against 7,829 other tracklets; the
authors' protocol keeps the queries out of the gallery.

People are counted from 0 in each list, so 0 is a person, and equal numbers of two lists are two
people; -1 is junk. Where there is a person 0, all numbers here are one higher.

Known faults: the counts in several loaders are copied from MARS. Frames are found by the start of
their path; a start that ends in a digit is not followed by another one, or 0001_1 would also take
the frames of 0001_10. Public loaders disagree on tracklets shorter than a training chunk; here
every tracklet is kept.
"""

import re
from bisect import bisect_left
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

from extract.tracklets import DatasetFacts, ParserInput, Tracklet
from pipeline.errors import PipelineError
from pipeline.files import arrays, texts
from pipeline.names import JUNK, natural

SOURCE = "Ask the authors for LS-VID_V2.zip (docs/datasets.md)."


def _camera(camid: int) -> str:
    """Return a camera as names of frames have it, from 1."""
    return f"{camid + 1}"


FACTS = DatasetFacts(
    source=SOURCE,
    published={
        "train_tracklets": 2831,
        "train_pids": 842,
        "query_tracklets": 3504,
        "gallery_tracklets": 7829,
    },
    camera=_camera,
    shared_people="usual",
)
NAME = re.compile(r"^[^_]+_(\d+)_(\d{1,2})_[^.]+\.(?:jpe?g|png)$", re.IGNORECASE)


def read(reading: ParserInput) -> Iterator[Tracklet]:
    """Yield the tracklets of the official split."""
    test = _lines(reading.file("list_sequence/list_seq_test.txt", SOURCE))
    query = _query_lines(reading.file("test/data/info_test.mat", SOURCE), len(test))
    splits = {
        "gallery": [line for i, line in enumerate(test) if i not in query],
        "query": [test[i] for i in sorted(query)],
        "train": _lines(reading.file("list_sequence/list_seq_train.txt", SOURCE)),
    }
    val = reading.root / "list_sequence" / "list_seq_val.txt"
    if val.exists():
        splits["val"] = _lines(val)
    names = (pid for lines in splits.values() for pid, _ in lines)
    pids = reading.number_people(names, [JUNK])
    for split, lines in splits.items():
        yield from _tracklets(reading, split, [(pids[pid], path) for pid, path in lines])


def _lines(path: Path) -> list[tuple[str, str]]:
    """Return the person and the start of the frames' paths of every line."""
    lines = []
    for number, line in enumerate(texts.lines(path, SOURCE), 1):
        if not line.strip():
            continue
        prefix, _, pid = line.strip().rpartition(" ")
        if not prefix or not re.fullmatch(r"-?\d+", pid):
            message = f'{path}:{number}: {line[:80]!r} is not "<path> <pid>". {SOURCE}'
            raise PipelineError(message)
        lines.append((pid, prefix.strip().removeprefix("./")))
    return lines


def _query_lines(path: Path, lines: int) -> set[int]:
    found = arrays.whole(path, arrays.read_mat(path, "query", SOURCE), SOURCE)
    query = {line - 1 for line in found.ravel().tolist()}
    if not query or min(query) < 0 or max(query) >= lines:
        raise PipelineError(
            f"{path}: query lines must lie in 1..{lines}, the length of list_seq_test.txt. {SOURCE}"
        )
    return query


def _tracklets(
    reading: ParserInput, split: str, lines: list[tuple[int, str]]
) -> Iterator[Tracklet]:
    reading.counted["junk_tracklets"] += sum(pid == JUNK for pid, _ in lines)
    named = sorted((pid, _tracklet_name(path), path) for pid, path in lines if pid != JUNK)
    from pipeline.images import list_images

    for folder, group in groupby(named, key=lambda line: line[2].rpartition("/")[0]):
        names = sorted(list_images(reading.root / folder))
        for pid, tracklet, path in group:
            frames = _with_prefix(names, path.rpartition("/")[2])
            if not frames:
                reading.missing.append(f"{path}* (no frames)")
                continue
            cameras_numbers = [_camera_and_number(folder, name) for name in frames]
            camids = {camid for camid, _ in cameras_numbers}
            if len(camids) > 1:
                raise PipelineError(f"{reading.root}/{path}*: frames of several cameras.")
            paths = [f"{folder}/{name}" for name in frames]
            numbers = [number for _, number in cameras_numbers]
            yield Tracklet(tracklet, pid, camids.pop(), split, paths, numbers)


def _tracklet_name(path: str) -> str:
    """Return a name that is unique in all splits.

    >>> _tracklet_name("tracklet_test/0003/0003_02")
    'test_0003_0003_02'
    """
    return path.removeprefix("tracklet_").replace("/", "_")


def _with_prefix(names: list[str], prefix: str) -> list[str]:
    """Return the names that start with `prefix` and do not go on with a digit, in natural order.

    Args:
        names: Sorted as text, so that those with one start stand together.
        prefix: The start.

    >>> _with_prefix(["1_10_a", "1_1_a", "1_2_a"], "1_1")
    ['1_1_a']
    """
    found = []
    for name in names[bisect_left(names, prefix) :]:
        if not name.startswith(prefix):
            break
        rest = name[len(prefix) :]
        if not (prefix[-1:].isdigit() and rest[:1].isdigit()):
            found.append(name)
    return sorted(found, key=natural)


def _camera_and_number(folder: str, name: str) -> tuple[int, int]:
    match = NAME.match(name)
    if match is None:
        raise PipelineError(
            f"{folder}/{name} is not named <tracklet>_<frame>_<camera>_<...>.jpg as in LS-VID."
        )
    return int(match[2]) - 1, int(match[1])
