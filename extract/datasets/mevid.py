"""Read MEVID.

Where: github.com/Kitware/MEVID (Davila et al., "MEVID: Multi-view Extended Videos with Identities
for Video Person Re-Identification", WACV 2023).

    bbox_{train,test}/0201/0201O003C330T000F00000.jpg     person, outfit, camera, tracklet, frame
    {train,test}_name.txt                                 one frame name per line
    track_{train,test}_info.txt                           first, last line, pid, outfit, camera
    query_IDX.txt                                         rows of track_test_info.txt

Unlike MARS, whose layout it borrows, everything counts from 0, and the numbers are written as
floats. Train: 6,338 tracklets of 104 persons. Test: 316 queries of 52 persons against 1,438
others of 54 persons; the queries stay out of the gallery.

Known faults: track_test_scale.txt and track_test_sizes.txt lack the last tracklet (not read here);
six test tracklets have a single frame.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from extract.tracklets import DatasetFacts, ParserInput, Tracklet
from pipeline.errors import PipelineError
from pipeline.files import arrays, texts
from pipeline.files.reading import reading as reading_file

if TYPE_CHECKING:
    import numpy as np

SOURCE = "Get the lists from github.com/Kitware/MEVID (docs/datasets.md)."


def _camera(camid: int) -> str:
    """Return a camera as names of tracklets have it: C330."""
    return f"C{camid + 1:03}"


FACTS = DatasetFacts(
    source=SOURCE,
    published={
        "train_tracklets": 6338,
        "train_pids": 104,
        "query_tracklets": 316,
        "query_pids": 52,
        "gallery_tracklets": 1438,
        "gallery_pids": 54,
    },
    camera=_camera,
)
NAME = re.compile(r"^((\d{4})O(\d{3})C(\d{3})T\d{3})F(\d{5})\.jpe?g$", re.IGNORECASE)


def read(reading: ParserInput) -> Iterator[Tracklet]:
    """Yield the tracklets of the official split."""
    tables = {
        part: _numbers(reading.file(f"track_{part}_info.txt", SOURCE), 5)
        for part in ("test", "train")
    }
    names = {
        part: texts.read(reading.file(f"{part}_name.txt", SOURCE), SOURCE).split()
        for part in tables
    }
    found = {part: _named(reading, part, tables[part], names[part]) for part in tables}
    pids = reading.number_people(str(pid) for rows in found.values() for pid, *_ in rows)
    outfits = sorted({(pid, outfit) for rows in found.values() for pid, _, _, outfit, *_ in rows})
    clothes = {pair: i for i, pair in enumerate(outfits)}
    path = reading.file("query_IDX.txt", SOURCE)
    is_query = set(_numbers(path, 1)[:, 0].tolist())
    if not is_query <= set(range(len(found["test"]))):
        raise PipelineError(
            f"{path} does not point into the {len(found['test'])} rows of track_test_info.txt: "
            f"they do not belong together. {SOURCE}"
        )
    gallery = [row for i, row in enumerate(found["test"]) if i not in is_query]
    query = [row for i, row in enumerate(found["test"]) if i in is_query]
    for split, part, rows in (
        ("gallery", "test", gallery),
        ("query", "test", query),
        ("train", "train", found["train"]),
    ):
        for pid, tracklet, camera, outfit, start, end in sorted(rows):
            frames = names[part][start : end + 1]
            numbers = [int(name[len(tracklet) + 1 :].partition(".")[0]) for name in frames]
            paths = [f"bbox_{part}/{tracklet[:4]}/{name}" for name in frames]
            clothes_id = clothes[pid, outfit]
            yield Tracklet(tracklet, pids[str(pid)], camera - 1, split, paths, numbers, clothes_id)


def _numbers(path: Path, columns: int) -> "np.ndarray":
    import numpy as np

    text = texts.read(path, SOURCE)
    with reading_file(path, f"table of {columns} columns", SOURCE):
        table = np.loadtxt(text.splitlines(), ndmin=2).reshape(-1, columns)
    return arrays.whole(path, table, SOURCE)


def _named(
    reading: ParserInput, part: str, table: "np.ndarray", names: list[str]
) -> list[tuple[int, str, int, int, int, int]]:
    """Return pid, name, camera, outfit, first and last line of every row of the table."""
    rows = []
    for start, end, pid, *_ in table.tolist():
        match = NAME.match(names[start]) if 0 <= start <= end < len(names) else None
        if (
            match is None
            or int(match[2]) != pid
            or any(
                not name.startswith(match[1]) or not NAME.match(name)
                for name in names[start : end + 1]
            )
        ):
            raise PipelineError(
                f"{reading.root}/track_{part}_info.txt: lines {start}..{end} of {part}_name.txt "
                f"are not one tracklet of person {pid}: they do not belong together. {SOURCE}"
            )
        rows.append((pid, match[1], int(match[4]), int(match[3]), start, end))
    return rows
