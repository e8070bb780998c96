"""Run every stage on a made-up dataset of the size of MARS, and write down what that took.

Run it:   python -m bench.scale
As MARS:  python -m bench.scale --info data/raw/mars/info

The dataset has the layout and the tracklet lengths of MARS, or with `--info` every tracklet of its
split files under its own name. Its frames are rendered people, a few hundred different pictures,
each frame a file of its own. The stages run as the commands a user types, in a project folder under
`work/scale/`; the same command goes on after it was stopped. The table goes to docs/performance.md.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from bench.mars_tree import JUNK, SIZE, TRAIN_SHARE, own_walks, pictures, walks, write_part
from bench.measure import PAGE, machine, rewrite
from pipeline import console, paths
from pipeline.cli import run
from pipeline.errors import PipelineError

ROOT = Path(__file__).parent.parent
DATASET, WEIGHTS = "scale", "walkers_pose"
# What runs, for which line of params.yaml, and what it writes. Training is an epoch of each stage:
# what grows with the dataset is the cache of the frozen encoder's features, and the prototypes.
STAGES = {
    "index": ("extract.index", "--dataset", paths.index_file(DATASET)),
    "pose2d": ("extract.pose2d", "--dataset", paths.pose2d_dir(DATASET)),
    "silhouettes": ("extract.silhouettes", "--dataset", paths.silhouettes_file(DATASET)),
    "pose3d": ("extract.pose3d", "--dataset", paths.pose3d_dir(DATASET)),
    "shards": ("shards.write", "--dataset", paths.shards_dir(DATASET)),
    "stage1, features and an epoch": ("train.stage1", "--run", paths.stage1_file(DATASET)),
    "stage2, prototypes and an epoch": ("train.stage2", "--run", paths.stage2_file(DATASET)),
    "embed": ("evaluate.embed", "--run", paths.features_file(DATASET)),
    "score, re-ranked too": ("evaluate.score", "--run", paths.report_dir(DATASET)),
}
SAMPLE_S = 0.5


def make_project(home: Path, frames: int, info: Path | None) -> dict[str, float]:
    """Make the project folder with the dataset; return how much of it there is."""
    root = Path("data/raw") / DATASET
    _set_knobs(home, root, "published" if info else "none")
    if info:
        train, test = own_walks(info, "train"), own_walks(info, "test")
    else:
        rng = np.random.default_rng(0)
        train = walks(round(frames * TRAIN_SHARE), True, rng)
        # Junk is not indexed: more test tracklets make up for it.
        test = walks(round(frames * (1 - TRAIN_SHARE) / (1 - 2 * JUNK)), False, rng)
    jpegs = pictures()
    start = time.monotonic()
    write_part(home / root, "train", train, jpegs)
    write_part(home / root, "test", test, jpegs)
    if info:
        shutil.copy(info / "query_IDX.mat", home / root / "info")
    indexed = [walk for walk in train + test if walk.pid >= 0]
    return {
        "seconds": time.monotonic() - start,
        "tracklets": len(indexed),
        "frames": sum(walk.frames for walk in indexed),
        "bytes": size_of(home / root),
    }


def _set_knobs(home: Path, root: Path, counts: str) -> None:
    """Put models and knobs of the default run into the folder, with the dataset in their place."""
    import yaml

    if not paths.weights_dir(WEIGHTS).is_dir():
        raise PipelineError(f"the weights are missing. Run: dvc repro weights@{WEIGHTS}")
    (home / "data/weights").mkdir(parents=True, exist_ok=True)
    for folder in (Path("conf"), paths.weights_dir(WEIGHTS)):
        shutil.copytree(ROOT / folder, home / folder, dirs_exist_ok=True)
    knobs = yaml.safe_load((ROOT / "params.yaml").read_text())
    knobs["datasets"] = {
        DATASET: {
            "format": "mars", "source": f"{root}/info", "pose2d": WEIGHTS, "pose3d": WEIGHTS,
            "counts": counts,
        }
    }  # fmt: skip
    knobs |= {"weights": [WEIGHTS], "kinect": {}}
    for section in ("pretraining", "runs"):
        line = knobs[section]["walkers"]
        knobs[section] = {
            DATASET: line | {key: DATASET for key in ("train", "test") if key in line}
        }
    knobs["pretraining"][DATASET]["start"] = str(_random_encoder(home).relative_to(home))
    knobs["runs"][DATASET]["start"] = str(paths.stage1_file(DATASET))
    knobs["stage1"] |= {"train_visual": False, "skeleton_epochs": 1, "epochs": 1}
    knobs["stage2"]["epochs"] = 1
    knobs["runtime"]["workers"] = len(os.sched_getaffinity(0))
    (home / "params.yaml").write_text(yaml.safe_dump(knobs))


def _random_encoder(home: Path) -> Path:
    """Write random weights of the default encoder, which stands for a pretrained one."""
    from omegaconf import OmegaConf
    from safetensors.torch import save_file

    from train.encoders.image import CnnEncoder

    told: Any = OmegaConf.to_container(OmegaConf.load("conf/encoder/conv_stem.yaml").visual)
    told.pop("type")
    path = home / "data/weights/random_encoder.safetensors"
    state = CnnEncoder(**told).cnn.state_dict()
    save_file({name: weight.contiguous() for name, weight in state.items()}, path)
    return path


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


def watch(module: str, option: str, home: Path) -> Iterator[tuple[float, int]]:
    """Run a stage's command; yield the seconds that passed and the memory in use, over and over.

    Raises:
        PipelineError: If the command fails.
    """
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    environment.pop("REID_DATA_ROOT", None)
    last = time.monotonic()
    with subprocess.Popen(
        [sys.executable, "-m", module, option, DATASET], cwd=home, env=environment
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
    module, option, output = STAGES[name]
    part = record.parts.setdefault(name, {"seconds": 0.0, "peak": 0, "bytes": None})
    if part["bytes"] is not None:
        return
    for seconds, memory in watch(module, option, home):
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
    info: Annotated[
        Path | None, typer.Option(help="MARS' own split files: its very tracklets, by name.")
    ] = None,
    write: Annotated[bool, typer.Option(help="Write the table to docs/performance.md.")] = True,
) -> None:
    """Extract a made-up dataset of the size of MARS, and write down what that took."""
    home = paths.WORK / "scale" / ("mars" if info else str(frames))
    home.mkdir(parents=True, exist_ok=True)
    record = Record(home / "measured.json")
    if "frames" not in record.parts:
        console.say(f"making {f'all of {info}' if info else f'{frames:,} frames'} in {home}")
        record.parts["frames"] = make_project(home, frames, info)
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
