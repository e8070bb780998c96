"""Read any dataset from folders, or from a CSV file of paths.

    <split>/<pid>/<camera>/<tracklet>/*.jpg      split: train, val, query or gallery

or `frames.csv` in the dataset's folder, one line per frame in any order, with the columns
`path,split,pid,camid,tracklet` and optionally `frame` (a number to sort by), `clothes`, `spectrum`
(visible, infrared), `platform` (ground, aerial), `altitude_m`, `distance_m`, `angle_deg`: those of
a tracklet's first frame count, and so does its `caption` (`extract.captions`). Paths are relative
to the dataset's folder.

Person 0 is a distractor, -1 is junk, which is left out. The others keep their number where all
names are numbers; else they are numbered from 1 in the order of their names. Cameras are numbered
from 0 in the order of their names. Numbers in names sort as numbers, and 0001 beside 1 is an error.
The index keeps both lists in its metadata. The scorer leaves a gallery tracklet of the query's own
person and camera out, so cameras must have the same name in all splits.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from extract.tracklets import (
    DatasetFacts,
    ParserInput,
    Tracklet,
    from_folder,
    last_number,
    list_folders,
)
from pipeline.errors import PipelineError, did_you_mean
from pipeline.files.texts import read_csv
from pipeline.names import DISTRACTOR, JUNK, natural, refuse_two_spellings, whole_number
from pipeline.schema import PLATFORMS, SPECTRA

FACTS = DatasetFacts(
    source="docs/datasets.md shows the folders to make, or the CSV file.", shared_people="error"
)
COLUMNS = ("path", "split", "pid", "camid", "tracklet")
SPLITS = ("gallery", "query", "train", "val")
NOBODY = (DISTRACTOR, JUNK)


def read(reading: ParserInput) -> Iterator[Tracklet]:
    """Yield the tracklets of the folders, or of the CSV file if there is one."""
    table = reading.root / "frames.csv"
    yield from _read_csv(reading) if table.exists() else _read_folders(reading)


def _read_folders(reading: ParserInput) -> Iterator[Tracklet]:
    found = [
        (split, person, camera, tracklet)
        for split in list_folders(reading.root)
        for person in list_folders(reading.root / _known(split, reading.root))
        for camera in list_folders(reading.root / split / person)
        for tracklet in list_folders(reading.root / split / person / camera)
    ]
    if not found:
        raise PipelineError(
            f"{reading.root} has neither frames.csv nor <split>/<pid>/<camera>/<tracklet>/ "
            f"folders. {FACTS.source}"
        )
    pids = reading.number_people((person for _, person, _, _ in found), NOBODY)
    camids = _camera_numbers(reading, (camera for _, _, camera, _ in found), reading.root)
    named = sorted((split, pids[p], f"{split}_{p}_{c}_{t}", p, c, t) for split, p, c, t in found)
    for split, pid, name, person, camera, tracklet in named:
        if pid == JUNK:
            reading.counted["junk_tracklets"] += 1
            continue
        folder = f"{split}/{person}/{camera}/{tracklet}"
        if read_one := from_folder(reading, folder, name, pid, camids[camera], split):
            yield read_one


def _read_csv(reading: ParserInput) -> Iterator[Tracklet]:
    path = reading.root / "frames.csv"
    rows = read_csv(path, COLUMNS, FACTS.source)
    if not rows:
        raise PipelineError(f"{path} lists no frames. {FACTS.source}")
    for number, line in rows:
        for column in COLUMNS:
            if not line[column]:
                raise PipelineError(f"{path}:{number}: {column} is empty. {FACTS.source}")
    pids = reading.number_people((line["pid"] for _, line in rows), NOBODY, path)
    camids = _camera_numbers(reading, (line["camid"] for _, line in rows), path)
    tracklets: dict[tuple, list] = {}
    for number, line in rows:
        split = _known(line["split"], f"{path}:{number}")
        key = (split, pids[line["pid"]], line["tracklet"], camids[line["camid"]])
        order, where = line.get("frame"), f"{path}:{number}"
        at = whole_number(order, where) if order else last_number(line["path"], number)
        frame = (at, natural(line["path"]), line["path"], _view(line, where))
        tracklets.setdefault(key, []).append(frame)
    for (split, pid, name, camid), frames in sorted(tracklets.items()):
        if pid == JUNK:
            reading.counted["junk_tracklets"] += 1
            continue
        ordered = sorted(frames, key=lambda frame: frame[:2])
        numbers, _, names, views = (list(column) for column in zip(*ordered, strict=True))
        yield Tracklet(name, pid, camid, split, names, numbers, **views[0])


def _view(line: dict[str, str], where: str) -> dict[str, Any]:
    """Return what a line says about how its tracklet was seen."""
    found: dict[str, Any] = {}
    if line.get("clothes"):
        found["clothes"] = whole_number(line["clothes"], where)
    for name, known in (("spectrum", SPECTRA), ("platform", PLATFORMS)):
        if value := line.get(name):
            if value not in known:
                hint = did_you_mean(value, known)
                raise PipelineError(f"{where}: {value!r} is no {name}. {hint}")
            found[name] = value
    for name in ("altitude_m", "distance_m", "angle_deg"):
        if value := line.get(name):
            try:
                found[name] = float(value)
            except ValueError:
                raise PipelineError(f"{where}: {name} is {value!r}. Give a number") from None
    return found


def _known(split: str, where: object) -> str:
    if split not in SPLITS:
        raise PipelineError(f"{where}: {split!r} is no split. {did_you_mean(split, SPLITS)}")
    return split


def _camera_numbers(reading: ParserInput, names: Iterable[str], where: Path) -> dict[str, int]:
    ordered = sorted(set(names), key=natural)
    refuse_two_spellings(ordered, where)
    numbers = {name: i for i, name in enumerate(ordered)}
    reading.cameras |= numbers
    return numbers
