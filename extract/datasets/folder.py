"""Read any dataset from folders, or from a CSV file of paths.

    <split>/<pid>/<camera>/<tracklet>/*.jpg      split: train, val, query or gallery

or `frames.csv` in the dataset's folder, one line per frame in any order, with the columns
`path,split,pid,camid,tracklet` and optionally `frame` (a number to sort by) and `clothes`. Paths
are relative to the dataset's folder.

Persons keep their number where all names are numbers (0: distractor, -1: junk, which is left
out); other names are numbered from 1 in sorted order. Cameras are numbered from 0 in sorted order
(numbers sort as numbers). The index keeps both lists in its metadata. The scorer leaves a gallery
tracklet of the query's own person and camera out, so cameras must have the same name in all splits.
"""

import csv
import json
from collections.abc import Iterable, Iterator

from extract.tracklets import (
    Format,
    Reading,
    Tracklet,
    from_folder,
    last_number,
    list_folders,
)
from pipeline.errors import PipelineError, did_you_mean

FORMAT = Format(source="docs/datasets.md shows the folders to make, or the CSV file.")
COLUMNS = ("path", "split", "pid", "camid", "tracklet")
SPLITS = ("gallery", "query", "train", "val")
JUNK = -1


def read(reading: Reading) -> Iterator[Tracklet]:
    """Yield the tracklets of the folders, or of the CSV file if there is one."""
    table = reading.root / "frames.csv"
    yield from _read_csv(reading) if table.exists() else _read_folders(reading)


def _read_folders(reading: Reading) -> Iterator[Tracklet]:
    found = [
        (split, person, camera, tracklet)
        for split in list_folders(reading.root)
        for person in list_folders(reading.root / _known(split))
        for camera in list_folders(reading.root / split / person)
        for tracklet in list_folders(reading.root / split / person / camera)
    ]
    if not found:
        raise PipelineError(
            f"{reading.root} has neither frames.csv nor <split>/<pid>/<camera>/<tracklet>/ "
            f"folders. {FORMAT.source}"
        )
    pids = _person_numbers(reading, (person for _, person, _, _ in found))
    camids = _camera_numbers(reading, (camera for _, _, camera, _ in found))
    named = sorted((split, pids[p], f"{split}_{p}_{c}_{t}", p, c, t) for split, p, c, t in found)
    for split, pid, name, person, camera, tracklet in named:
        if pid == JUNK:
            reading.counted["junk_tracklets"] += 1
            continue
        folder = f"{split}/{person}/{camera}/{tracklet}"
        if read_one := from_folder(reading, folder, name, pid, camids[camera], split):
            yield read_one


def _read_csv(reading: Reading) -> Iterator[Tracklet]:
    path = reading.root / "frames.csv"
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = csv.DictReader(file)
        for column in COLUMNS:
            if column not in (rows.fieldnames or ()):
                raise PipelineError(
                    f"{path} has no column {column}. {did_you_mean(column, rows.fieldnames or ())}"
                )
        lines = list(rows)
    pids = _person_numbers(reading, (line["pid"] for line in lines))
    camids = _camera_numbers(reading, (line["camid"] for line in lines))
    tracklets: dict[tuple, list] = {}
    for number, line in enumerate(lines, 2):
        key = (_known(line["split"]), pids[line["pid"]], line["tracklet"], camids[line["camid"]])
        clothes = line.get("clothes")
        order = line.get("frame") or last_number(line["path"], number)
        try:
            frame = (int(order), line["path"], int(clothes) if clothes else None)
        except ValueError:
            raise PipelineError(
                f"{path}:{number}: frame and clothes must be whole numbers."
            ) from None
        tracklets.setdefault(key, []).append(frame)
    for (split, pid, name, camid), frames in sorted(tracklets.items()):
        if pid == JUNK:
            reading.counted["junk_tracklets"] += 1
            continue
        numbers, names, clothes = (list(column) for column in zip(*sorted(frames), strict=True))
        yield Tracklet(name, pid, camid, split, names, numbers, clothes[0])


def _known(split: str) -> str:
    if split not in SPLITS:
        raise PipelineError(f"{split!r} is no split. {did_you_mean(split, SPLITS)}")
    return split


def _person_numbers(reading: Reading, names: Iterable[str]) -> dict[str, int]:
    unique = sorted(set(names))
    try:
        numbers = {name: int(name) for name in unique}
    except ValueError:
        numbers = {name: i for i, name in enumerate(unique, 1)}
    reading.notes["persons"] = json.dumps(numbers)
    return numbers


def _camera_numbers(reading: Reading, names: Iterable[str]) -> dict[str, int]:
    unique = set(names)
    as_numbers = all(name.isdigit() for name in unique)
    ordered = sorted(unique, key=lambda name: (int(name) if as_numbers else 0, name))
    numbers = {name: i for i, name in enumerate(ordered)}
    reading.notes["cameras"] = json.dumps(numbers)
    return numbers
