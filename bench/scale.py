"""Extract a made-up dataset of the size of MARS, and write down what that took.

Run it:   python -m bench.scale

The dataset has the layout and the tracklet lengths of MARS. Its frames are rendered people, a few
hundred different pictures, each frame a file of its own. The stages run as the commands a user
types, in a project folder under `work/scale/`; the same command goes on after it was stopped.
The table goes to docs/performance.md.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from bench.measure import PAGE, machine, rewrite
from pipeline import console, paths
from pipeline.cli import run
from pipeline.errors import PipelineError

ROOT = Path(__file__).parent.parent
DATASET, WEIGHTS = "scale", "walkers_pose"
STAGES = {
    "index": ("extract.index", paths.index_file(DATASET)),
    "pose2d": ("extract.pose2d", paths.pose2d_dir(DATASET)),
    "pose3d": ("extract.pose3d", paths.pose3d_dir(DATASET)),
    "shards": ("shards.write", paths.shards_dir(DATASET)),
}
SAMPLE_S = 0.5
SIZE = (64, 128)
PICTURES, CLIP = 320, 40
# MARS: logarithms of the lengths of all 20,478 tracklets; kinds of its test tracklets.
LOG_LENGTH, SHORTEST, LONGEST = (3.62, 0.93), 2, 920
TRAIN_SHARE, DISTRACTORS, JUNK = 0.41, 0.27, 0.07
PER_PERSON, CAMERAS = 13, 6


@dataclass(frozen=True)
class Walk:
    """A tracklet: its person (0 distractor, -1 junk), its camera from 1, and its length."""

    pid: int
    camera: int
    frames: int


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
            image = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
            small = cv2.resize(image, SIZE, interpolation=cv2.INTER_AREA)
            made.append(cv2.imencode(".jpg", small)[1].tobytes())
    return made


def write_part(root: Path, part: str, tracklets: list[Walk], jpegs: list[bytes]) -> None:
    """Write the frames of `train` or `test`, and the files that list them."""
    from scipy.io import savemat

    names, rows, seen = [], [], set()
    queries = []
    for number, walk in enumerate(tracklets):
        person = f"{walk.pid:04d}" if walk.pid >= 0 else "00-1"
        folder = root / f"bbox_{part}" / person
        folder.mkdir(parents=True, exist_ok=True)
        rows.append((len(names) + 1, len(names) + walk.frames, walk.pid, walk.camera))
        for frame in range(walk.frames):
            name = f"{person}C{walk.camera}T{number:05d}F{frame + 1:03d}.jpg"
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


def make_project(home: Path, frames: int) -> dict[str, float]:
    """Make the project folder with the dataset; return how much of it there is."""
    import yaml

    if not paths.weights_dir(WEIGHTS).is_dir():
        raise PipelineError(f"the weights are missing. Run: dvc repro weights@{WEIGHTS}")
    (home / "data/weights").mkdir(parents=True, exist_ok=True)
    for folder in (Path("conf/weights"), paths.weights_dir(WEIGHTS)):
        shutil.copytree(ROOT / folder, home / folder, dirs_exist_ok=True)
    knobs = yaml.safe_load((ROOT / "params.yaml").read_text())
    root = Path("data/raw") / DATASET
    knobs["datasets"] = {
        DATASET: {
            "format": "mars", "source": f"{root}/info", "pose2d": WEIGHTS, "pose3d": WEIGHTS,
            "counts": "none",
        }
    }  # fmt: skip
    knobs |= {"weights": [WEIGHTS], "kinect": {}, "pretraining": {}, "runs": {}}
    knobs["runtime"]["workers"] = len(os.sched_getaffinity(0))
    (home / "params.yaml").write_text(yaml.safe_dump(knobs))
    rng = np.random.default_rng(0)
    train = walks(round(frames * TRAIN_SHARE), True, rng)
    # Junk is not indexed: more test tracklets make up for it.
    test = walks(round(frames * (1 - TRAIN_SHARE) / (1 - 2 * JUNK)), False, rng)
    jpegs = pictures()
    start = time.monotonic()
    write_part(home / root, "train", train, jpegs)
    write_part(home / root, "test", test, jpegs)
    indexed = [walk for walk in train + test if walk.pid >= 0]
    return {
        "seconds": time.monotonic() - start,
        "tracklets": len(indexed),
        "frames": sum(walk.frames for walk in indexed),
        "bytes": size_of(home / root),
    }


def size_of(path: Path) -> int:
    """Return the bytes of a file or of all files in a folder."""
    files = [path] if path.is_file() else path.rglob("*")
    return sum(file.stat().st_size for file in files if file.is_file())


def memory_of(pid: int) -> int:
    """Return the resident bytes of a process and all its descendants."""
    import psutil

    total = 0
    try:
        parent = psutil.Process(pid)
        family = [parent, *parent.children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0
    for process in family:
        try:
            total += process.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return total


class Record:
    """What was measured so far, kept in a file so that a stopped run goes on counting."""

    def __init__(self, file: Path) -> None:
        """Read the file if there is one."""
        self._file = file
        self.parts: dict[str, dict[str, Any]] = (
            json.loads(file.read_text()) if file.exists() else {}
        )

    def save(self) -> None:
        """Write the file."""
        with paths.write_atomic(self._file) as temporary:
            temporary.write_text(json.dumps(self.parts, indent=2))


def watch(module: str, home: Path) -> Iterator[tuple[float, int]]:
    """Run a stage's command; yield the seconds that passed and the memory in use, over and over.

    Raises:
        PipelineError: If the command fails.
    """
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    environment.pop("REID_DATA_ROOT", None)
    last = time.monotonic()
    with subprocess.Popen(
        [sys.executable, "-m", module, "--dataset", DATASET], cwd=home, env=environment
    ) as process:
        running = True
        while running:
            try:
                process.wait(SAMPLE_S)
                running = False
            except subprocess.TimeoutExpired:
                pass
            now = time.monotonic()
            yield now - last, memory_of(process.pid) if running else 0
            last = now
    if process.returncode:
        raise PipelineError(f"{module} failed in {home}. The same command goes on from there")


def measure(name: str, home: Path, record: Record) -> None:
    """Run one stage to its end and note what it took, on top of what stopped runs took."""
    module, output = STAGES[name]
    part = record.parts.setdefault(name, {"seconds": 0.0, "peak": 0, "bytes": None})
    if part["bytes"] is not None:
        return
    for seconds, memory in watch(module, home):
        part["seconds"] += seconds
        part["peak"] = max(part["peak"], memory)
        record.save()
    part["bytes"] = size_of(home / output)
    record.save()


def table(parts: dict[str, dict[str, Any]]) -> str:
    """Return the Markdown table of a finished run."""
    tree = parts["frames"]
    lines = [
        f"{tree['frames']:,} frames of {SIZE[0]} x {SIZE[1]} pixels in {tree['tracklets']:,} "
        f"tracklets, {console.size(tree['bytes'])}, in the layout of MARS; the pose models are "
        f"those of `{WEIGHTS}`. Measured on {machine()}. Times include starting Python and the "
        "workers; memory is that of all processes of the stage together.",
        "",
        "| stage | time | frames/s | peak memory | written |",
        "|---|---:|---:|---:|---:|",
    ]
    for name in STAGES:
        part = parts[name]
        lines.append(
            f"| {name} | {console.duration(part['seconds'])} "
            f"| {tree['frames'] / part['seconds']:,.0f} "
            f"| {console.size(part['peak'])} | {console.size(part['bytes'])} |"
        )
    return "\n".join(lines)


def main(
    frames: Annotated[int, typer.Option(min=100, help="Frames of the dataset.")] = 200_000,
    write: Annotated[bool, typer.Option(help="Write the table to docs/performance.md.")] = True,
) -> None:
    """Extract a made-up dataset of the size of MARS, and write down what that took."""
    home = paths.WORK / "scale" / str(frames)
    home.mkdir(parents=True, exist_ok=True)
    record = Record(home / "measured.json")
    if "frames" not in record.parts:
        console.say(f"making {frames:,} frames in {home}")
        record.parts["frames"] = make_project(home, frames)
        record.save()
    for name in STAGES:
        measure(name, home, record)
    text = table(record.parts)
    console.say(text)
    if write:
        rewrite("scale", text)
        console.summary(PAGE, f"{len(STAGES)} stages", f"rm -r {home}")


if __name__ == "__main__":
    run(main)
