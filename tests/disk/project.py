"""A small project in which every stage has run, and every command with the files it reads."""

import contextlib
import io
import json
import os
import runpy
import shutil
import sys
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import cv2
import h5py
import numpy as np
import yaml
from scipy.io import savemat

from pipeline.params.config import merge
from tests.conftest import ROOT
from tests.extract.conftest import TINY_SPEC
from tests.fake_kinect import biwi, kgbd
from tests.stages import make
from tests.train.tiny import KNOBS

PEOPLE = {"train": (1, 2, 3, 4), "query": (5, 6, 7), "gallery": (5, 6, 7)}
OTHERS = ("mars", "ls_vid", "ilids_vid", "prid", "mevid", "ccvid")
KINECT = ("biwi", "kgbd")


def build(folder: Path, weights: Path, scheduler: str) -> Path:
    """Make the project; every output is what the real stages made of the files beside it."""
    for name, lay_out in LAYOUTS.items():
        lay_out(folder / "data/raw" / name)
    biwi(folder / "data/raw/biwi", (1, 2, 3), 40)
    kgbd(folder / "data/raw/kgbd", (1, 2), 40, 3)
    for place, kind in (("data/weights", "safetensors"), ("conf/weights", "json")):
        (folder / place / "tiny").mkdir(parents=True)
        for file in weights.glob(f"*.{kind}"):
            shutil.copy(file, folder / place / "tiny")
    (folder / "data/weights/tiny/metrics.json").write_text('{"pck": {"mean": 0.9}}')
    (folder / "conf/weights/tiny.yaml").write_text(TINY_SPEC)
    (folder / "params.yaml").write_text(yaml.safe_dump(_knobs(scheduler)))
    (folder / "person").mkdir()
    for number in range(3):
        _picture(folder / f"person/{number}.png", 9, number)
    _video(folder / "street.avi")
    (folder / "boxes.csv").write_text("frame,x,y,width,height\n0,2,2,20,40\n2,3,2,20,40\n")
    with contextlib.chdir(folder):
        for stage in ("index", "pose2d", "pose3d", "shards", "stage1", "stage2"):
            make(stage, "tiny")
        for stage in ("embed", "score", "report"):
            make(stage, "tiny")
        shutil.rmtree("work/done")
        _extras()
    return folder


def _extras() -> None:
    """Leave what only some commands read: distances, joints of another project, a gallery."""
    np.save("distances.npy", np.linspace(0, 1, 9).reshape(3, 3))
    for command in ("export tiny csip", "export tiny npy", "fill"):
        argv = EXTRA[command]
        done = call(argv[0], argv[1:])
        assert done.code == 0, done.err


def _knobs(scheduler: str) -> dict:
    knobs = yaml.safe_load((ROOT / "params.yaml").read_text())
    line = {"format": "folder", "source": "x", "pose2d": "tiny", "pose3d": "tiny", "counts": "none"}
    knobs["datasets"] = {"tiny": line, "table": line}
    knobs["datasets"] |= {name: line | {"format": name} for name in OTHERS}
    kinect = {"source": "x", "counts": "none"}
    knobs["kinect"] = {name: kinect | {"format": name} for name in KINECT}
    knobs["weights"] = ["tiny"]
    run = {"train": "tiny", "recipe": "params.yaml"}
    first = run | {"encoder": "conv_stem", "start": "conf/encoder/conv_stem.yaml"}
    second = run | {"test": "tiny", "model": "csip", "start": "models/tiny/stage1.safetensors"}
    knobs["pretraining"] = {"tiny": first}
    knobs["runs"] = {"tiny": second}
    for section, values in KNOBS.items():
        knobs[section] = merge(knobs[section], values)
    for stage in ("stage1", "stage2"):
        knobs[stage] |= {"epochs": 1, "warmup_epochs": 0}
    knobs["stage2"]["milestones"] = []
    knobs["score"]["bootstrap"]["samples"] = 20
    knobs["pose2d"]["min_score"] = 0.0
    knobs["runtime"]["scheduler"] = scheduler
    return knobs


def _picture(file: Path, pid: int, number: int) -> None:
    rng = np.random.default_rng((pid, number))
    colour = np.random.default_rng(pid).integers(40, 215, 3)
    file.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(file), np.clip(rng.normal(colour, 12, (48, 24, 3)), 0, 255).astype(np.uint8))


def _video(file: Path) -> None:
    writer = cv2.VideoWriter(str(file), cv2.VideoWriter.fourcc(*"MJPG"), 15, (64, 64))
    for number in range(4):
        writer.write(np.full((64, 64, 3), 40 * number, np.uint8))
    writer.release()


def _tiny(root: Path) -> None:
    for split, pids in PEOPLE.items():
        for pid in pids:
            for camera in range(2):
                if split == "train" or (split == "query") == (camera == 0):
                    for number in range(3):
                        _picture(root / f"{split}/{pid}/c{camera}/t/{number}.jpg", pid, number)


def _table(root: Path) -> None:
    root.mkdir(parents=True)
    lines = ["path,split,pid,camid,tracklet,frame,clothes"]
    for split, pids in PEOPLE.items():
        lines += [
            f"{pid}/{camera}/{i}.jpg,{split},{pid},c{camera},{split}{pid}{camera},{i},1"
            for pid in pids
            for camera in range(2)
            for i in range(2)
        ]
    (root / "frames.csv").write_text("\n".join(lines) + "\n")


def _mars(root: Path) -> None:
    rows = {
        "test": [("0000C2T0001", 0, 2), ("0002C1T0001", 2, 1), ("0002C3T0004", 2, 3)],
        "train": [("0001C1T0001", 1, 1), ("0003C6T0002", 3, 6)],
    }
    (root / "info").mkdir(parents=True)
    for part, own in rows.items():
        (root / f"bbox_{part}").mkdir()
        names = [f"{name}F{i:03}.jpg" for name, _, _ in own for i in (1, 2)]
        table = [(2 * i + 1, 2 * i + 2, pid, camera) for i, (_, pid, camera) in enumerate(own)]
        (root / f"info/{part}_name.txt").write_text("\n".join(names) + "\n")
        tracks = {f"track_{part}_info": np.array(table, np.int32)}
        savemat(root / f"info/tracks_{part}_info.mat", tracks)
    savemat(root / "info/query_IDX.mat", {"query_IDX": np.array([[2]], np.uint16)})


def _ls_vid(root: Path) -> None:
    (root / "list_sequence").mkdir(parents=True)
    (root / "test/data").mkdir(parents=True)
    rows = {
        "test": {"tracklet_test/0003/0003-1": (3, 2), "tracklet_test/0003/0003-2": (3, 5)},
        "train": {"tracklet_train/0000/0000-1": (0, 3)},
    }
    for part, own in rows.items():
        lines = [f"{prefix} {pid}" for prefix, (pid, _) in own.items()]
        (root / f"list_sequence/list_seq_{part}.txt").write_text("\n".join(lines))
        for prefix, (_, camera) in own.items():
            for number in (1, 2):
                _touch(root, [f"{prefix}_{number:06}_{camera}_x7.jpg"])
    with h5py.File(root / "test/data/info_test.mat", "w") as file:
        file["query"] = np.array([[1.0]])


def _ilids_vid(root: Path) -> None:
    for camera in (1, 2):
        for person in range(1, 7):
            name = f"cam{camera}/person{person:03}/cam{camera}_person{person:03}_1.png"
            _touch(root / "i-LIDS-VID/sequences", [name])
    splits = root / "train-test people splits"
    splits.mkdir()
    permutations = np.stack([np.roll(np.arange(1, 7), i) for i in range(10)]).astype(np.uint16)
    savemat(splits / "train_test_splits_ilidsvid.mat", {"ls_set": permutations})


def _prid(root: Path) -> None:
    people = [f"person_{i:04}" for i in range(1, 5)]
    _touch(root, [f"multi_shot/cam_{c}/{p}/0001.png" for c in "ab" for p in people])
    split = {"train": people[:2], "test": people[2:]}
    (root / "splits_prid2011.json").write_text(json.dumps([split] * 10))


def _mevid(root: Path) -> None:
    names = {"test": ["0201O003C330T000", "0201O004C329T001"], "train": ["0103O001C330T000"]}
    for part, own in names.items():
        listed = [f"{name}F{i:05}.jpg" for name in own for i in range(2)]
        _touch(root, [f"bbox_{part}/{name[:4]}/{name}" for name in listed])
        (root / f"{part}_name.txt").write_text("\n".join(listed) + "\n")
        rows = [
            f"{2 * i}.0 {2 * i + 1}.0 {int(name[:4])}.0 {int(name[5:8])}.0 {int(name[9:12])}.0"
            for i, name in enumerate(own)
        ]
        (root / f"track_{part}_info.txt").write_text("\n".join(rows) + "\n")
    (root / "query_IDX.txt").write_text("0.000e+00\n")


def _ccvid(root: Path) -> None:
    for split, session, person in (("train", 1, 1), ("query", 1, 2), ("gallery", 2, 2)):
        _touch(root, [f"session{session}/{person:03}_0{session}/00001.jpg"])
        line = f"session{session}/{person:03}_0{session}\t{person:03}\tu0_l0_s0_c0_a0\n"
        (root / f"{split}.txt").write_text(line)


def _touch(root: Path, names: Iterable[str]) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


LAYOUTS = {
    "tiny": _tiny, "table": _table, "mars": _mars, "ls_vid": _ls_vid, "ilids_vid": _ilids_vid,
    "prid": _prid, "mevid": _mevid, "ccvid": _ccvid,
}  # fmt: skip
EXTRA = {
    "export tiny csip": ["shards.convert", "export", "theirs_csip", "-d", "tiny"],
    "export tiny npy": ["shards.convert", "export", "theirs_npy", "-d", "tiny", "--format", "npy"],
    "fill": [
        "evaluate.search",
        "--query",
        "person",
        "-r",
        "tiny",
        "--gallery",
        "mine.parquet",
        "--add",
    ],
}


class Command(NamedTuple):
    """A command line, the files that it reads (patterns), and what to take away before it."""

    argv: str
    reads: tuple[str, ...]
    without: tuple[str, ...] = ()


_KNOBS = ("params.yaml",)
COMMANDS = {
    "index": Command("extract.index -d tiny --check-frames", (*_KNOBS, "data/raw/tiny/*/*/*/*/*")),
    "index of a table": Command("extract.index -d table", ("data/raw/table/frames.csv",)),
    **{
        f"index of {name}": Command(
            f"extract.index -d {name}", (f"data/raw/{name}/**/*.[mtj][axs][tto]*",)
        )
        for name in OTHERS
    },
    **{
        f"kinect of {name}": Command(f"shards.kinect -d {name}", (f"data/raw/{name}/**/*.txt",))
        for name in KINECT
    },
    "pose2d": Command(
        "extract.pose2d -d tiny",
        (
            "data/index/tiny.parquet", "data/index/tiny.parquet", "data/raw/tiny/*/*/*/*/*",
            "conf/weights/tiny.yaml", "conf/weights/tiny/pose2d.json",
            "data/weights/tiny/pose2d.safetensors", "data/weights/tiny/metrics.json",
        ),
    ),
    "pose3d": Command(
        "extract.pose3d -d tiny",
        (
            "data/pose2d/tiny/*.parquet", "data/pose2d/tiny/*.parquet", "conf/weights/tiny.yaml",
            "conf/weights/tiny/pose3d.json", "data/weights/tiny/pose3d.safetensors",
        ),
    ),
    "shards": Command(
        "shards.write -d tiny",
        (
            "data/index/tiny.parquet", "data/pose2d/tiny/*.parquet", "data/pose3d/tiny/*.parquet",
            "data/raw/tiny/*/*/*/*/*",
        ),
    ),
    "stage1": Command("train.stage1 -r tiny", ("data/shards/tiny/*.parquet", *_KNOBS)),
    "stage2": Command(
        "train.stage2 -r tiny",
        ("data/shards/tiny/*.parquet", "models/tiny/stage1.safetensors"),
    ),
    "embed": Command(
        "evaluate.embed -r tiny",
        ("data/shards/tiny/*.parquet", "models/tiny/stage2.safetensors", "data/index/tiny.parquet"),
        ("data/features",),
    ),
    "score": Command(
        "evaluate.score -r tiny",
        ("data/features/*.parquet", "data/features/*.parquet", "data/index/tiny.parquet"),
        ("reports",),
    ),
    "score of a table": Command(
        "evaluate.score --features data/features/tiny.parquet --out scores "
        "--distances distances.npy",
        ("data/features/tiny.parquet", "distances.npy"),
    ),
    "report": Command(
        "evaluate.report -r tiny",
        (
            "reports/tiny/*.json", "reports/tiny/*.parquet", "reports/tiny/*/*.json",
            "reports/tiny/*/*.yaml", "reports/tiny/**/*.tsv", "data/features/*.parquet",
            "models/tiny/stage2.safetensors", "data/shards/tiny/*.parquet", "work/times/tiny/*",
        ),
    ),
    "search": Command(
        "evaluate.search --query person -r tiny",
        ("person/*", "models/tiny/stage2.safetensors", "data/features/tiny.parquet"),
    ),
    "search a gallery": Command(
        "evaluate.search --query person -r tiny --gallery mine.parquet --add --name other",
        ("mine.parquet",),
    ),
    "search a video": Command(
        "evaluate.search --query street.avi --boxes boxes.csv -r tiny", ("boxes.csv", "street.avi")
    ),
    "attention": Command(
        "evaluate.attention -r tiny --tracklet query_5_c0_t",
        ("data/shards/tiny/query*.parquet", "models/tiny/stage2.safetensors"),
    ),
    "inspect": Command("shards.inspect tiny", ("data/shards/tiny/*.parquet",)),
    "inspect the worst": Command(
        "shards.inspect tiny --worst 2 --walk", ("data/shards/tiny/*.parquet",)
    ),
    "export": Command(
        "shards.convert export out -d tiny",
        ("data/index/tiny.parquet", "data/pose3d/tiny/*.parquet", *_KNOBS),
    ),
    "import json": Command(
        "shards.convert import theirs_csip -d tiny",
        ("data/index/tiny.parquet", "theirs_csip/**/*.json", "theirs_csip/**/*.json"),
    ),
    "import npy": Command(
        "shards.convert import theirs_npy -d tiny --format npy", ("theirs_npy/*.npy",)
    ),
    "params": Command("pipeline.params --run tiny", _KNOBS),
    "weights": Command("extract.weights --model tiny", ("conf/weights/tiny.yaml",)),
    "finish": Command("pipeline.finish", (*_KNOBS, "reports/tiny/scores.json")),
}  # fmt: skip


class Done(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str
    raised: BaseException | None = None


def call(module: str, argv: list[str]) -> Done:
    """Run a command inside this process, by the entry that `python -m` takes."""
    out, err = io.StringIO(), io.StringIO()
    code, raised, before = 0, None, sys.argv
    environment = dict(os.environ)
    try:
        sys.argv = [module, *argv]
        with (
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")
            runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(bool(end.code))
    except BaseException as error:
        code, raised = 99, error
    finally:
        sys.argv = before
        os.environ.clear()
        os.environ.update(environment)
    return Done(code, out.getvalue(), err.getvalue(), raised)
