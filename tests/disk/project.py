"""A small project in which every stage has run, and every command with the files it reads."""

import contextlib
import io
import json
import os
import runpy
import shutil
import sys
import warnings
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from pipeline.params.config import merge
from tests.conftest import ROOT
from tests.disk.layouts import LAYOUTS, picture
from tests.extract.conftest import TINY_SPEC
from tests.fake_kinect import biwi, kgbd
from tests.stages import make
from tests.train.tiny import KNOBS

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
        picture(folder / f"person/{number}.png", 9, number)
    _video(folder / "street.avi")
    (folder / "boxes.csv").write_text("frame,x,y,width,height\n0,2,2,20,40\n2,3,2,20,40\n")
    with contextlib.chdir(folder):
        _captions(make("index", "tiny").output, make("index", "table").output)
        for stage in ("captions", "pose2d", "pose3d", "shards", "stage1", "stage2"):
            make(stage, "tiny")
        for stage in ("embed", "score", "report"):
            make(stage, "tiny")
        shutil.rmtree("work/done")
        _extras()
    return folder


def _captions(*indexes: Path) -> None:
    """Say something about every tracklet, as lines and as a table."""
    lines, table = (
        [
            {"tracklet": name, "source": "x", "text": f"a hat {i}", "embedding": [0.5, 1.0 * i]}
            for i, name in enumerate(pq.read_table(index)["tracklet"].to_pylist())
        ]
        for index in indexes
    )
    Path("data/raw/tiny/captions.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n")
    pq.write_table(pa.Table.from_pylist(table), "data/raw/table/captions.parquet")


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
    words = {"model": "cg_clip", "encoder": "conv_stem", "start": first["start"]}
    knobs["runs"] = {"tiny": second, "words": second | words}
    for section, values in KNOBS.items():
        knobs[section] = merge(knobs[section], values)
    for stage in ("stage1", "stage2"):
        knobs[stage] |= {"epochs": 1, "warmup_epochs": 0}
    knobs["stage2"]["milestones"] = []
    knobs["score"]["bootstrap"]["samples"] = 20
    knobs["pose2d"]["min_score"] = 0.0
    knobs["runtime"]["scheduler"] = scheduler
    return knobs


def _video(file: Path) -> None:
    writer = cv2.VideoWriter(str(file), cv2.VideoWriter.fourcc(*"MJPG"), 15, (64, 64))
    for number in range(4):
        writer.write(np.full((64, 64, 3), 40 * number, np.uint8))
    writer.release()


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
    "captions": Command(
        "extract.captions -d tiny", ("data/raw/tiny/captions.jsonl", "data/index/tiny.parquet")
    ),
    "captions in a table": Command(
        "extract.captions -d table", ("data/raw/table/captions.parquet",)
    ),
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
    "stage2 with words": Command("train.stage2 -r words", ("data/captions/tiny.parquet",)),
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
