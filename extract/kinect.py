"""What the Kinect text formats have in common: recordings of 3D joints, without pictures.

A parser of them is a module of `extract.datasets` with these names, beside the usual `FACTS`:

- `JOINTS`, the layout of `pipeline.skeleton` that its skeletons have;
- `TRAIN_STEP`, frames from one training sequence to the next;
- `recordings(reading) -> Iterator[Recording]`, in the order of split, pid and name.

As everybody who publishes on these datasets (TranSG, CVPR 2023, and before) we cut recordings into
sequences of six frames. At test each is a query or a gallery tracklet of its own; they do not
overlap, and none is left out, while the public code drops the last incomplete batch of each part.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from extract.tracklets import ParserInput, Tracklet, list_folders
from pipeline.errors import PipelineError
from pipeline.files import texts
from pipeline.names import listed, natural
from pipeline.skeleton import Layout

FRAMES = 6
# Recordings begin and end with a person who enters, leaves or is not found yet.
CUT = 10
# The Kinect's axes are x left, y up, z away; ours are x right, y down, z away.
_AXES = np.array([-1.0, -1.0, 1.0])
# Beyond this nobody walks, in whatever unit; as far as float32 goes.
_FARTHEST = 1e30
# Columns of BIWI and IAS-Lab: number, X, Y, Z, x in the image, y, TrackingState, QualityFlag, ...
_POSITION, _TRACKING_STATE = (1, 2, 3), 6


@dataclass(frozen=True)
class Recording:
    """The good frames of one person on one occasion.

    Attributes:
        name: Unique in the dataset.
        pid: The person, from 1.
        camid: Where the camera stood, from 0.
        split: `train`, `query` or `gallery`.
        files: Where each frame was read, relative to the dataset's folder, `F` paths.
        frame_numbers: Place of each in the recording, bad frames counted too, `(F,)`.
        xyz: `(F, J, 3)` joints in the order of the layout.
    """

    name: str
    pid: int
    camid: int
    split: str
    files: list[str]
    frame_numbers: np.ndarray
    xyz: np.ndarray

    def starts(self, train_step: int) -> range:
        """Return the first frame of every sequence."""
        step = train_step if self.split == "train" else FRAMES
        return range(0, len(self.files) - FRAMES + 1, step)

    def tracklets(self, train_step: int) -> list[Tracklet]:
        """Return every sequence as a tracklet."""
        return [
            Tracklet(
                f"{self.name}_{start:05}",
                self.pid,
                self.camid,
                self.split,
                self.files[start : start + FRAMES],
                self.frame_numbers[start : start + FRAMES].tolist(),
            )
            for start in self.starts(train_step)
        ]


def centred(xyz: np.ndarray, joints: Layout) -> np.ndarray:
    """Return `(F, J, 3)` joints around the root in the project's axes, float32."""
    root = joints.root or 0
    return ((xyz - xyz[:, root : root + 1]) * _AXES).astype(np.float32)


def by_person(
    reading: ParserInput,
    parts: Mapping[str, str],
    cut: Mapping[str, slice],
    joints: Layout,
    source: str,
) -> Iterator[Recording]:
    """Read `<part>/<person>/*skel.txt`, a file per frame: the layout of BIWI and IAS-Lab.

    A frame with a joint that was not tracked (TrackingState 0) is left out; the ends are cut off
    what remains.

    Args:
        reading: The dataset's folder; frames left out are counted there.
        parts: Folder of each split, the splits in order.
        cut: Which of the good frames are kept.
        joints: The layout.
        source: What to tell someone whose folder is another.
    """
    people = {split: list_folders(reading.file(part, source)) for split, part in parts.items()}
    pids = reading.number_people(name for names in people.values() for name in names)
    for split, part in parts.items():
        for person in sorted(people[split], key=pids.__getitem__):
            folder = reading.root / part / person
            names = sorted((file.name for file in listed(folder, "*skel.txt")), key=natural)
            if not names:
                reading.missing.append(f"{part}/{person}/ (no *skel.txt)")
                continue
            frames = [_tracked(folder / name, joints) for name in names]
            good = [i for i, xyz in enumerate(frames) if xyz is not None]
            reading.counted["rejected_frames"] += len(names) - len(good)
            kept = good[cut[split]]
            yield Recording(
                f"{split}_{pids[person]:04}",
                pids[person],
                0,
                split,
                [f"{part}/{person}/{names[i]}" for i in kept],
                np.array(kept, np.int32),
                np.array([frames[i] for i in kept]).reshape(-1, len(joints.joints), 3),
            )


def _tracked(path: Path, joints: Layout) -> np.ndarray | None:
    found = read_skeletons(path, ",", (*_POSITION, _TRACKING_STATE), len(joints.joints))[0]
    return found[:, :3] if found[:, 3].all() else None


def read_skeletons(path: Path, separator: str, columns: Iterable[int], joints: int) -> np.ndarray:
    """Read a file of one joint per line.

    Args:
        path: The file.
        separator: What stands between two columns.
        columns: Which are wanted, from 0.
        joints: Lines of a skeleton.

    Returns:
        `(F, J, len(columns))`: as many skeletons as the file holds.

    Raises:
        PipelineError: If the file is empty, ends within a skeleton or holds no numbers.
    """
    columns = list(columns)
    rows = []
    for number, line in enumerate(texts.lines(path, "Copy the file again or remove it"), 1):
        if not line.strip():
            continue
        fields = line.split(separator)
        try:
            rows.append([_finite(fields[column]) for column in columns])
        except (ValueError, IndexError):
            raise PipelineError(
                f"{path}:{number}: expected numbers in columns {columns} (from 0, between "
                f"{separator!r}), found {line.strip()[:60]!r}. Copy the file again or remove it"
            ) from None
    if not rows or len(rows) % joints:
        raise PipelineError(
            f"{path} holds {len(rows)} lines; a skeleton has {joints}, one per joint. "
            "Copy the file again or remove it"
        )
    return np.array(rows).reshape(-1, joints, len(columns))


def _finite(text: str) -> float:
    number = float(text)
    # As far as a float32 reaches: a damaged file can claim that somebody walks beyond.
    if not abs(number) < _FARTHEST:
        raise ValueError(text)
    return number


def deal(items: list, split_id: int, pid: int, gallery: Callable[[int], int]) -> dict[str, list]:
    """Deal a person's occasions to gallery, query (one) and training (the rest), by a seed.

    Fewer than three all go to training.

    Args:
        items: The occasions, in order.
        split_id: Number of the random split.
        pid: The person: each has draws of its own.
        gallery: How many of how many go to the gallery.
    """
    if len(items) < 3:
        return {"gallery": [], "query": [], "train": items}
    order = np.random.default_rng((split_id, pid)).permutation(len(items)).tolist()
    count = gallery(len(items))
    places = {"gallery": order[:count], "query": [order[count]], "train": order[count + 1 :]}
    return {split: [items[i] for i in sorted(own)] for split, own in places.items()}
