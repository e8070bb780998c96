"""Read HITSZ-VCM: people seen in visible and in infrared light.

Where: the authors of "Learning Modal-Invariant and Temporal-Memory for Video-Based Visible-Infrared
Person Re-Identification" (Lin et al., CVPR 2022), for research on request.

    Train/, Test/                            as handed out; or both merged into the root
    0001/rgb/D4/1.jpg, 0001/ir/D4/1.jpg      person, spectrum, camera, frame
    info/train_name.txt, test_name.txt       one frame name per line: person, then `1` at place 5
                                             of an infrared one, D<camera>T<tracklet>F<file>
    info/track_{train,test}_info.txt         spectrum (1 infrared), first, last line, person, camera
    info/query_IDX.txt                       rows of track_test_info.txt, infrared ones

Lines and rows count from 1. The lists may also lie in the root. 500 persons are trained on and 427
tested; numbers of tracklets are not asserted, since loaders leave out short ones (MITML those of
fewer than 12 frames) and here none is. The queries are those of query_IDX.txt, all others the
gallery. Infrared is searched in visible, which is the headline; the way back exchanges both sides.
"""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from extract.rules import NamedSearch
from extract.tracklets import DatasetFacts, ParserInput, Tracklet, last_number
from pipeline.errors import PipelineError
from pipeline.files import texts
from pipeline.files.reading import reading as reading_file

SOURCE = "Ask its authors for the frames and lists (docs/datasets.md)."
I2V = NamedSearch("spectrum.I2V", {"spectrum": "infrared"}, {"spectrum": "visible"})
V2I = NamedSearch("spectrum.V2I", I2V.gallery, I2V.query, is_reversed=True)
FACTS = DatasetFacts(
    source=SOURCE,
    published={"train_pids": 500, "gallery_pids": 427},
    searches=(replace(I2V, name=""), I2V, V2I),
)
INFRARED = 1
NAME = re.compile(r"^((\d{4}).(\d)D(\d+)T(\d+))F(.+\.jpe?g)$", re.IGNORECASE)


def read(reading: ParserInput) -> Iterator[Tracklet]:
    """Yield the tracklets of the official split."""
    lists = "info/" if (reading.root / "info").is_dir() else ""
    found = {part: _tracklets(reading, lists, part) for part in ("test", "train")}
    path = reading.file(f"{lists}query_IDX.txt", SOURCE)
    is_query = {number - 1 for number in _numbers(path)}
    if not is_query <= set(range(len(found["test"]))):
        raise PipelineError(
            f"{path} does not point into the {len(found['test'])} rows of track_test_info.txt: "
            f"they do not belong together. {SOURCE}"
        )
    found["gallery"] = [one for i, one in enumerate(found["test"]) if i not in is_query]
    found["query"] = [one for i, one in enumerate(found["test"]) if i in is_query]
    pids = reading.number_people(str(one.pid) for own in found.values() for one in own)
    for split in ("gallery", "query", "train"):
        made = [one._replace(split=split, pid=pids[str(one.pid)]) for one in found[split]]
        yield from sorted(made, key=lambda one: one.key)


def _tracklets(reading: ParserInput, lists: str, part: str) -> list[Tracklet]:
    """Return the rows of a table in their order."""
    names = texts.read(reading.file(f"{lists}{part}_name.txt", SOURCE), SOURCE).split()
    path = reading.file(f"{lists}track_{part}_info.txt", SOURCE)
    numbers = _numbers(path)
    if len(numbers) % 5:
        raise PipelineError(f"{path} is no table of five columns. {SOURCE}")
    own = reading.root / part.title()
    folder = f"{part.title()}/" if own.is_dir() else ""
    rows = (numbers[at : at + 5] for at in range(0, len(numbers), 5))
    return [_tracklet(path, names, folder, *row) for row in rows]


def _tracklet(
    path: Path, names: list[str], folder: str, kind: int, start: int, end: int, pid: int, cam: int
) -> Tracklet:
    own = names[start - 1 : end] if 1 <= start <= end <= len(names) else []
    read = [match for name in own if (match := NAME.match(name))]
    says = {(match[1], int(match[2]), match[3] == "1", int(match[4])) for match in read}
    tracklet = read[0][1] if read else ""
    if len(read) < len(own) or says != {(tracklet, pid, kind == INFRARED, cam)}:
        raise PipelineError(
            f"{path}: lines {start}..{end} of the names are not one tracklet of person {pid}, "
            f"camera {cam}, spectrum {kind}: they do not belong together. {SOURCE}"
        )
    seen, light = ("infrared", "ir") if kind == INFRARED else ("visible", "rgb")
    frames = [f"{folder}{match[2]}/{light}/D{match[4]}/{match[6]}" for match in read]
    order = [last_number(match[6], i + 1) for i, match in enumerate(read)]
    return Tracklet(tracklet, pid, cam, "", frames, order, spectrum=seen)


def _numbers(path: Path) -> list[int]:
    found = texts.read(path, SOURCE).split()
    with reading_file(path, "list of whole numbers", SOURCE):
        return [int(text) for text in found]
