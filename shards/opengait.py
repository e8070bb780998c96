"""2D joints as OpenGait reads them: PERSON/CAMERA/TRACKLET/TRACKLET.pkl, and a partition as JSON.

Pickles are written alone. To read one is to run what stands in it, so nobody does here.
"""

import json
import pickle
from collections import Counter
from pathlib import Path
from typing import NoReturn

import numpy as np
import pyarrow as pa

from pipeline import console, paths, schema
from pipeline.errors import PipelineError
from pipeline.names import DISTRACTOR, listed
from pipeline.paths import file_name
from shards.columns import joints
from shards.write.join import by_tracklet


def export(dataset: str, folder: Path) -> int:
    """Write COCO-17 joints of each tracklet: `(T, 17, 3)` of x, y in pixels, and the score.

    Frames without joints are left out, and so are tracklets that have none, distractors and junk.
    FOLDER/DATASET.json says who is trained on and tested, and which tracklets are probes.

    Returns:
        The number of files.

    Raises:
        PipelineError: If there are no joints.
    """
    rebuild = f"dvc repro pose2d@{dataset}"
    files = listed(paths.pose2d_dir(dataset), "*.parquet")
    if not files:
        raise PipelineError(f"{paths.pose2d_dir(dataset)} holds no joints. Run: {rebuild}")
    for file in files:
        schema.check(file, schema.POSE2D, rebuild)
    partition = _Partition()
    left_out: Counter[str] = Counter()
    for table in by_tracklet(files, schema.POSE2D, rebuild):
        pid, camid, name, split = (
            table[key][0].as_py() for key in ("pid", "camid", "tracklet", "split")
        )
        points = _points(table)
        if pid <= DISTRACTOR or not len(points):
            left_out["distractors or junk" if pid <= DISTRACTOR else "without a good frame"] += 1
            continue
        where = (f"{pid:04}", f"camera{camid}", file_name(name))
        _write(folder.joinpath(*where, f"{where[-1]}.pkl"), points)
        partition.add(where, split)
    for why, number in left_out.items():
        console.say(f"left out {number:,} tracklets: {why}")
    partition.write(folder / f"{file_name(dataset)}.json")
    return partition.files


def refuse() -> NoReturn:
    """Say that pickles are not read.

    Raises:
        PipelineError: Always.
    """
    raise PipelineError(
        "pickles are not read: they run what stands in them. Let their owner write NumPy files of "
        "3D joints, and import them with --format npy"
    )


class _Partition:
    """Who is trained on, and who is looked for by what."""

    def __init__(self) -> None:
        self.people: dict[str, set[str]] = {"TRAIN_SET": set(), "TEST_SET": set()}
        self.probes: list[str] = []
        self.files = 0

    def add(self, where: tuple[str, str, str], split: str) -> None:
        """Note a tracklet."""
        self.people["TRAIN_SET" if split in ("train", "val") else "TEST_SET"].add(where[0])
        if split == "query":
            self.probes.append("-".join(where))
        self.files += 1

    def write(self, file: Path) -> None:
        """Write the partition."""
        found = {name: sorted(people) for name, people in self.people.items()}
        with paths.write_atomic(file) as temporary:
            text = json.dumps(found | {"PROBE_SET": sorted(self.probes)}, indent=1)
            temporary.write_text(f"{text}\n", encoding="utf-8")


def _points(table: pa.Table) -> np.ndarray:
    """Return `(T, 17, 3)` joints of the frames that have some."""
    xy, score = joints(table["xy_px"], (17, 2)), joints(table["score"], (17,))
    found = np.concatenate([xy, score[..., None]], axis=2)
    return found[np.isfinite(found).all((1, 2))]


def _write(file: Path, points: np.ndarray) -> None:
    """Write an array that NumPy of every version reads.

    NumPy 2 calls its core by a name that older ones, which OpenGait is run with, do not know. With
    protocol 3 names stand in lines of their own, of any length.
    """
    data = pickle.dumps(points, protocol=3)
    own, known = b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n"
    with paths.write_atomic(file) as temporary:
        temporary.write_bytes(data.replace(own, known, 1))
