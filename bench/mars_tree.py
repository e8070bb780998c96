"""Write a made-up dataset in the layout of MARS: as long tracklets, or the very same ones."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.files import arrays, texts

SIZE = (64, 128)
PICTURES, CLIP = 320, 40
# MARS: logarithms of the lengths of all 20,478 tracklets; kinds of its test tracklets.
LOG_LENGTH, SHORTEST, LONGEST = (3.62, 0.93), 2, 920
TRAIN_SHARE, DISTRACTORS, JUNK = 0.41, 0.27, 0.07
PER_PERSON, CAMERAS = 13, 6
_FIX = "Put the official split files there"


@dataclass(frozen=True)
class Walk:
    """A tracklet: its person (0 distractor, -1 junk), its camera from 1, and its length."""

    pid: int
    camera: int
    frames: int
    name: str = ""

    @property
    def person(self) -> str:
        """The name of the person's folder."""
        return f"{self.pid:04d}" if self.pid >= 0 else "00-1"


def own_walks(info: Path, part: str) -> list[Walk]:
    """Return the tracklets of MARS' own split files, under their names.

    Args:
        info: The folder with `list_train_seq.txt`, `tracks_train_info.mat` and so for `test`.
        part: `train` or `test`.
    """
    lines = texts.lines(info / f"list_{part}_seq.txt", _FIX)
    names = [Path(line.split()[0]).name for line in lines]
    key = f"track_{part}_info"
    rows = arrays.read_mat(info / f"tracks_{part}_info.mat", key, _FIX, (f"tracks_{part}_info",))
    return [
        Walk(int(pid), int(camera), int(last - first + 1), name)
        for name, (first, last, pid, camera) in zip(names, rows.tolist(), strict=True)
    ]


def walks(frames: int, train: bool, rng: np.random.Generator) -> list[Walk]:
    """Draw tracklets of about `frames` frames, in the order of their persons."""
    lengths: list[int] = []
    while sum(lengths) < frames:
        length = round(float(rng.lognormal(*LOG_LENGTH)))
        lengths.append(min(max(length, SHORTEST), LONGEST))
    first = 1 if train else 1001
    pids = first + rng.integers(0, max(1, len(lengths) // PER_PERSON), len(lengths))
    if not train:
        kind = rng.random(len(lengths))
        pids = np.where(kind < DISTRACTORS + JUNK, 0, pids)
        pids = np.where(kind < JUNK, -1, pids)
    cameras = rng.integers(1, CAMERAS + 1, len(lengths))
    drawn = zip(pids.tolist(), cameras.tolist(), lengths, strict=True)
    return [Walk(*walk) for walk in sorted(drawn)]


def pictures() -> list[bytes]:
    """Render the JPEGs that all frames are copies of."""
    import cv2

    from extract.walkers.clip import film
    from extract.walkers.frame import scene
    from extract.walkers.person import distractor

    made = []
    for number in range(PICTURES // CLIP):
        rng = np.random.default_rng(number)
        for jpeg in film(distractor(rng), scene(0, number % 4), np.arange(CLIP), rng).jpegs:
            image: Any = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
            small = cv2.resize(image, SIZE, interpolation=cv2.INTER_AREA)
            made.append(cv2.imencode(".jpg", small)[1].tobytes())
    return made


def write_part(root: Path, part: str, tracklets: list[Walk], jpegs: list[bytes]) -> None:
    """Write the frames of `train` or `test`, and the files that list them.

    The first tracklet of each person and camera is a query.
    """
    from scipy.io import savemat

    names, rows, seen = [], [], set()
    queries = []
    for number, walk in enumerate(tracklets):
        folder = root / f"bbox_{part}" / walk.person
        stem = walk.name or f"{walk.person}C{walk.camera}T{number:05d}"
        folder.mkdir(parents=True, exist_ok=True)
        rows.append((len(names) + 1, len(names) + walk.frames, walk.pid, walk.camera))
        for frame in range(walk.frames):
            name = f"{stem}F{frame + 1:03d}.jpg"
            (folder / name).write_bytes(jpegs[(7 * number + frame) % len(jpegs)])
            names.append(name)
        if walk.pid > 0 and (walk.pid, walk.camera) not in seen:
            seen.add((walk.pid, walk.camera))
            queries.append(number + 1)
    info = root / "info"
    info.mkdir(exist_ok=True)
    (info / f"{part}_name.txt").write_text("\n".join(names) + "\n")
    savemat(info / f"tracks_{part}_info.mat", {f"track_{part}_info": np.array(rows)})
    if part == "test":
        savemat(info / "query_IDX.mat", {"query_IDX": np.array([queries])})
