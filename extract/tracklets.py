"""What every parser yields, and how its tracklets are counted and written as the index table.

A parser is a module of `extract.datasets` with a constant `FACTS` and a function
`read(reading) -> Iterator[Tracklet]` that yields in the order of `Tracklet.key`.
"""

import json
import os
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Literal, NamedTuple

from extract.cameras import told_cameras
from extract.rules import BY_CLOTHES, RULES, NamedSearch
from pipeline.errors import PipelineError
from pipeline.names import DISTRACTOR, number_in, person_numbers
from pipeline.paths import below

BATCH_TRACKLETS = 512
# What the columns of the index hold.
_LARGEST = {"pid": 2**31 - 1, "camid": 2**15 - 1, "clothes": 2**15 - 1}
_LARGEST_FRAME_NUMBER = 2**31 - 1
# What systems and programs of their own put beside anybody's folders.
_OF_SYSTEMS = ("__MACOSX", "@eaDir", "$RECYCLE.BIN", "System Volume Information", "lost+found")


class Tracklet(NamedTuple):
    """One person seen by one camera for a while; `frames` are relative to the dataset's root.

    `pid` means what `pipeline.names` says: a parser of a dataset in which 0 is a person, or -1 no
    junk, numbers its people with `ParserInput.number_people`. What follows `frame_numbers` is None
    where the dataset does not say: an outfit, what the camera sees (`visible`, `infrared`), where
    it is (`ground`, `aerial`), how high and how far, and how steeply it looks down.
    """

    tracklet: str
    pid: int
    camid: int
    split: str
    frames: list[str]
    frame_numbers: list[int]
    clothes: int | None = None
    spectrum: str | None = None
    platform: str | None = None
    altitude_m: float | None = None
    distance_m: float | None = None
    angle_deg: float | None = None

    @property
    def key(self) -> tuple[str, int, str]:
        """Return what the index is sorted by."""
        return self.split, self.pid, self.tracklet


@dataclass(frozen=True)
class DatasetFacts:
    """What a parser knows about its dataset beside the files.

    Attributes:
        source: Where to get the data and the split files.
        published: Counts that the complete dataset has, by the keys of `count`.
        gallery_includes_queries: The official rule.
        same_camera_counts: Whether the official rule ranks the query's own camera too.
        random_splits: Number of random splits over which results are averaged.
        searches: What is searched for where, beside all queries in all of the gallery.
        camera: What the files call the camera of a `camid`.
        shared_people: What somebody is who is both trained on and tested: an `error` of who made
            the split, a fault of the dataset that deserves a `warning`, or `usual`: its protocol,
            or equal numbers of lists that count for themselves.
    """

    source: str
    published: Mapping[str, int] = field(default_factory=dict)
    gallery_includes_queries: bool = False
    same_camera_counts: bool = False
    random_splits: int = 1
    searches: tuple[NamedSearch, ...] = BY_CLOTHES
    camera: Callable[[int], str] = str
    shared_people: Literal["error", "warning", "usual"] = "warning"

    @property
    def rules(self) -> dict[str, Any]:
        """How the dataset's authors score, for the index to carry."""
        return {name: getattr(self, name) for name in (*RULES, "searches")}


@dataclass
class ParserInput:
    """What a parser is asked to read, and what it noticed on the way.

    Attributes:
        root: The dataset's folder.
        split_id: Which random split, where there are several.
        case: Which test case, where there are several.
        missing: Files or tracklets that should be there and are not.
        counted: Numbers of persons, tracklets and frames, and of junk that is left out.
        people: Who is in each split, distractors left out.
        notes: Further metadata for the index; `cameras`: their numbers by name.
    """

    root: Path
    split_id: int = 0
    case: str | None = None
    missing: list[str] = field(default_factory=list)
    counted: Counter[str] = field(default_factory=Counter)
    people: defaultdict[str, set[int]] = field(default_factory=lambda: defaultdict(set))
    notes: dict[str, str] = field(default_factory=dict)
    cameras: dict[str, int] = field(default_factory=dict)

    def number_people(
        self, names: Iterable[str], nobody: Collection[int] = (), where: Path | None = None
    ) -> dict[str, int]:
        """Number people as `person_numbers` does; the index notes who got another number."""
        numbers = person_numbers(names, where or self.root, nobody)
        if any(number != number_in(name) for name, number in numbers.items()):
            self.notes["persons"] = json.dumps(numbers)
        return numbers

    def tested_and_trained(self) -> set[int]:
        """Return who is both trained on and tested."""
        return self.people["train"] & (self.people["query"] | self.people["gallery"])

    def file(self, relative: str, source: str) -> Path:
        """Return a file or folder of the dataset.

        Raises:
            PipelineError: If it is not there.
        """
        path = self.root / relative
        if not path.exists():
            raise PipelineError(f"{path} is missing. {source}")
        return path


def write_index(
    path: Path, tracklets: Iterable[Tracklet], metadata: Mapping[str, object], reading: ParserInput
) -> None:
    """Write tracklets as they come; memory is one batch.

    Args:
        path: The file to write.
        tracklets: Sorted by `Tracklet.key`.
        metadata: What the file should say about itself, beside the counts and notes.
        reading: Where counts and notes stand when the last tracklet has come.

    Raises:
        PipelineError: If two tracklets have one name, or a tracklet has no frame, or one that lies
            outside the dataset's folder.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    from pipeline.schema import INDEX, with_metadata

    schema = with_metadata(INDEX, **metadata)
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        ordered = (_fitting(one, reading.root) for one in _in_order(tracklets, reading))
        while batch := list(islice(ordered, BATCH_TRACKLETS)):
            rows = [tracklet._asdict() for tracklet in batch]
            writer.write_table(pa.Table.from_pylist(rows, schema=schema))
        counts = json.dumps(dict(sorted(reading.counted.items())))
        told = {"counts": counts, **reading.notes, **told_cameras(reading.cameras)}
        writer.add_key_value_metadata(told)


def count(tracklets: Iterable[Tracklet], reading: ParserInput) -> Iterator[Tracklet]:
    """Pass tracklets on, counting `<split>_{pids,tracklets,frames}` and distractors in `reading`.

    `pids` are persons, so distractors are none of them.
    """
    counts = reading.counted
    for tracklet in tracklets:
        split = tracklet.split
        if tracklet.pid != DISTRACTOR and tracklet.pid not in reading.people[split]:
            reading.people[split].add(tracklet.pid)
            counts[f"{split}_pids"] += 1
        counts[f"{split}_tracklets"] += 1
        counts[f"{split}_frames"] += len(tracklet.frames)
        if tracklet.pid == DISTRACTOR:
            counts["distractor_tracklets"] += 1
        yield tracklet


def mismatch(counts: Mapping[str, int], published: Mapping[str, int]) -> str:
    """Return how counts differ from the published ones, or nothing if they agree.

    >>> mismatch({"query_tracklets": 1979}, {"query_tracklets": 1980})
    '1,979 query tracklets instead of 1,980 (-1)'
    """
    differences = []
    for key, expected in published.items():
        found = counts.get(key, 0)
        if found != expected:
            name = key.replace("_", " ")
            differences.append(f"{found:,} {name} instead of {expected:,} ({found - expected:+,})")
    return "; ".join(differences)


def note_missing_frames(tracklets: Iterable[Tracklet], reading: ParserInput) -> Iterator[Tracklet]:
    """Pass tracklets on, noting frames that are not on disk.

    A folder is listed once as long as its tracklets come one after the other, as they do in
    sorted order: that is much cheaper than a stat per frame.
    """
    listed, names = None, frozenset()
    for tracklet in tracklets:
        for frame in tracklet.frames:
            folder, _, name = frame.rpartition("/")
            if folder != listed:
                listed, names = folder, frozenset(_names(reading.root / folder))
            if name not in names:
                reading.missing.append(frame)
        yield tracklet


def list_folders(folder: Path) -> list[str]:
    """Return the sorted names of the folders in a folder, but not those of systems."""
    try:
        with os.scandir(folder) as entries:
            found = [entry.name for entry in entries if entry.is_dir()]
    except NotADirectoryError:
        raise PipelineError(f"{folder} is a file and should be a folder. Copy it again") from None
    return sorted(name for name in found if name[0] != "." and name not in _OF_SYSTEMS)


def last_number(name: str, otherwise: int) -> int:
    """Return the last number in a file's stem.

    >>> last_number("cam1_person001_00317.png", 1), last_number("first.png", 1)
    (317, 1)
    """
    found = re.findall(r"\d+", name.rpartition(".")[0])
    return int(found[-1]) if found else otherwise


def from_folder(
    reading: ParserInput, folder: str, tracklet: str, pid: int, camid: int, split: str
) -> Tracklet | None:
    """Read a tracklet whose frames are all images of one folder; none are noted as missing."""
    from pipeline.images import list_images

    names = list_images(reading.root / folder)
    if not names:
        reading.missing.append(f"{folder}/ (no frames)")
        return None
    numbers = [last_number(name, i + 1) for i, name in enumerate(names)]
    return Tracklet(tracklet, pid, camid, split, [f"{folder}/{n}" for n in names], numbers)


def _fitting(tracklet: Tracklet, root: Path) -> Tracklet:
    """Return a tracklet whose numbers fit into the columns of the index.

    Frames that are numbered by a clock, in milliseconds or nanoseconds, are counted from 1 instead.

    Raises:
        PipelineError: If a person, camera or outfit has a larger number than a column holds.
    """
    for name, largest in _LARGEST.items():
        number = getattr(tracklet, name)
        if number is not None and not -largest <= number <= largest:
            raise PipelineError(
                f"{root}: {name} of tracklet {tracklet.tracklet} is {number}, and the largest "
                f"that there can be is {largest}. Give smaller numbers"
            )
    if max(map(abs, tracklet.frame_numbers), default=0) > _LARGEST_FRAME_NUMBER:
        return tracklet._replace(frame_numbers=list(range(1, len(tracklet.frames) + 1)))
    return tracklet


def _names(folder: Path) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return [entry.name for entry in entries]
    except OSError:
        return []


def _in_order(tracklets: Iterable[Tracklet], reading: ParserInput) -> Iterator[Tracklet]:
    seen: set[str] = set()
    last = ("", 0, "")
    for tracklet in tracklets:
        name = tracklet.tracklet
        if name in seen:
            raise PipelineError(
                f"{reading.root}: two tracklets are called {name}. Rename one of them"
            )
        if not tracklet.frames:
            raise PipelineError(
                f"{reading.root}: tracklet {name} has no frames. Remove it from the lists"
            )
        assert last < tracklet.key, f"{name} is out of order"
        for frame in tracklet.frames:
            below(reading.root, frame)
        seen.add(name)
        last = tracklet.key
        yield tracklet
