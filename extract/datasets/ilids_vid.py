"""Read iLIDS-VID, unpacked or from its tar.

Where: xiatian-zhu.github.io/downloads_qmul_iLIDS-VID_ReID_dataset.html (Wang et al., "Person
Re-Identification by Video Ranking", ECCV 2014).

    iLIDS-VID.tar, or what is in it:
    i-LIDS-VID/sequences/cam1/person001/cam1_person001_00317.png
    train-test people splits/train_test_splits_ilidsvid.mat    ls_set (10, 300)

300 persons, one tracklet in each of two cameras. Each of the ten rows of ls_set is a permutation
of 1..300: positions in the sorted list of person folders, not person numbers, which have gaps up
to 319. The first 150 are the test half (Wang et al.); queries come from camera 1, the gallery is
camera 2. `index.split_id` chooses the row.

Known faults of public code: halves swapped, folders in unsorted order so that positions mean
other persons, and every window of frames scored as a query of its own.
"""

import lzma
import os
import tarfile
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from extract.tracklets import (
    DatasetFacts,
    ParserInput,
    Tracklet,
    from_folder,
    list_folders,
)
from pipeline import console, paths
from pipeline.errors import PipelineError
from pipeline.files.arrays import read_mat, whole
from pipeline.files.reading import reason

SOURCE = "Get iLIDS-VID.tar from its home page (docs/datasets.md)."


def _camera(camid: int) -> str:
    """Return a camera as names of folders have it: cam1."""
    return f"cam{camid + 1}"


FACTS = DatasetFacts(
    source=SOURCE,
    published={
        "train_tracklets": 300,
        "train_pids": 150,
        "query_tracklets": 150,
        "query_pids": 150,
        "gallery_tracklets": 150,
        "gallery_pids": 150,
    },
    random_splits=10,
    camera=_camera,
)
PREFIX = "person"
SEQUENCES = "i-LIDS-VID/sequences"
SPLITS = "train-test people splits"
WANTED = (f"{SEQUENCES}/", f"{SPLITS}/")


def read(reading: ParserInput) -> Iterator[Tracklet]:
    """Yield the tracklets of one of the ten official splits."""
    if not (reading.root / SEQUENCES).is_dir():
        _unpack_somewhere(reading.file("iLIDS-VID.tar", SOURCE), reading)
    file = reading.file(f"{SPLITS}/train_test_splits_ilidsvid.mat", SOURCE)
    permutations = whole(file, read_mat(file, "ls_set", SOURCE), SOURCE)
    if reading.split_id >= len(permutations):
        raise PipelineError(
            f"{file} holds {len(permutations)} splits, and index.split_id is {reading.split_id}. "
            f"{SOURCE}"
        )
    persons = sorted(
        set(list_folders(reading.file(f"{SEQUENCES}/cam1", SOURCE)))
        & set(list_folders(reading.file(f"{SEQUENCES}/cam2", SOURCE)))
    )
    order = (permutations[reading.split_id] - 1).tolist()
    if len(persons) != len(order):
        raise PipelineError(
            f"{reading.root}/{SEQUENCES} has {len(persons)} persons in both cameras, {file} "
            f"speaks of {len(order)}: positions would mean other persons. {SOURCE}"
        )
    if sorted(order) != list(range(len(order))):
        raise PipelineError(f"{file}: a split does not name every person once. {SOURCE}")
    pids = reading.number_people(person.removeprefix(PREFIX) for person in persons)
    test = {persons[i] for i in order[: len(order) // 2]}
    parts = (("gallery", test, (2,)), ("query", test, (1,)), ("train", set(persons) - test, (1, 2)))
    for split, chosen, cameras in parts:
        people = {person: pids[person.removeprefix(PREFIX)] for person in chosen}
        in_order = dict(sorted(people.items(), key=lambda item: item[1]))
        yield from _tracklets(reading, split, in_order, cameras)


def _tracklets(
    reading: ParserInput, split: str, people: dict[str, int], cameras: tuple[int, ...]
) -> Iterator[Tracklet]:
    for person, pid in people.items():
        for camera in cameras:
            folder = f"{SEQUENCES}/cam{camera}/{person}"
            name = f"cam{camera}_{person}"
            tracklet = from_folder(reading, folder, name, pid, camera - 1, split)
            if tracklet:
                yield tracklet


def _unpack_somewhere(archive: Path, reading: ParserInput) -> None:
    """Unpack beside the archive, or in the project where that folder cannot be written to."""
    if os.access(reading.root, os.W_OK):
        _unpack(archive, reading.root)
        return
    final = paths.unpacked_dir(reading.root.name)
    made = final.with_name(f".{final.name}.unpacking")
    made.mkdir(parents=True, exist_ok=True)
    _unpack(archive, made)
    paths.publish_dir(made, final)
    console.say(f"{reading.root} cannot be written to: unpacked to {final}")
    reading.root = final


def _unpack(archive: Path, root: Path) -> None:
    """Unpack the sequences and splits beside the archive; they appear when complete."""
    try:
        with tempfile.TemporaryDirectory(dir=root, prefix=".unpack-") as folder:
            with tarfile.open(archive) as tar:
                # Python before 3.11.4 has no filter; `_wanted` refuses what it would.
                tar.extraction_filter = getattr(tarfile, "data_filter", lambda member, _: member)
                tar.extractall(folder, _wanted(tar, archive))
            # Sequences last: their folder says that everything is there.
            for part in (SPLITS, SEQUENCES):
                if (Path(folder) / part).is_dir() and not (root / part).exists():
                    (root / part).parent.mkdir(parents=True, exist_ok=True)
                    (Path(folder) / part).replace(root / part)
    except (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, ValueError) as error:
        raise PipelineError(f"{archive} is damaged ({reason(error)}). {SOURCE}") from None


def _wanted(tar: tarfile.TarFile, archive: Path) -> Iterator[tarfile.TarInfo]:
    for member in tar:
        if not (member.isfile() or member.isdir()):
            raise PipelineError(
                f"{archive} is refused: {member.name} is no file and no folder. {SOURCE}"
            )
        paths.below(archive, member.name)
        if member.name.removeprefix("./").startswith(WANTED):
            yield member
