"""A tiny dataset in shards: people told apart by the colour of their frames and their bones."""

from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from pipeline import schema
from pipeline.params.config import merge
from pipeline.schema import Status
from tests.conftest import ROOT

FRAMES = 6
KNOBS = {
    "stage1": {
        "identities": 2, "clips": 2, "clip_frames": 4, "epochs": 3, "seed": 0,
        "lr": 1e-3, "warmup_lr": 1e-4, "warmup_epochs": 2, "skeleton_epochs": 0,
    },
    "stage2": {
        "identities": 2, "clips": 2, "clip_frames": 4, "epochs": 3, "seed": 0,
        "lr": 1e-3, "warmup_epochs": 2, "milestones": [2], "refresh_epochs": 2,
    },
    "runtime": {"workers": 1, "checkpoint_minutes": 0},
}  # fmt: skip


def frame(pid: int, tracklet: str, number: int, split: str, camid: int) -> dict:
    """Return one row of a shard."""
    rng = np.random.default_rng((pid, camid, number))
    colour = np.random.default_rng(pid).integers(40, 215, 3)
    picture = np.clip(rng.normal(colour, 12, (64, 32, 3)), 0, 255).astype(np.uint8)
    bones = np.random.default_rng(pid).normal(size=(17, 3))
    xyz = (bones - bones[:1]) + rng.normal(scale=0.02, size=(17, 3))
    return {
        "tracklet": tracklet, "pid": pid, "camid": camid, "split": split, "frame": number,
        "frame_number": number + 1, "path": f"{tracklet}F{number}.jpg", "width": 32, "height": 64,
        "xy_px": [0.0] * 34, "score": [1.0] * 17, "interpolated": False, "status": int(Status.OK),
        "xyz": (xyz - xyz[:1]).astype(np.float32).ravel().tolist(),
        "jpeg": cv2.imencode(".png", picture)[1].tobytes(),
    }  # fmt: skip


def spoil(row: dict, status: Status) -> None:
    """Turn a frame bad, the way extraction reports it."""
    row |= {"status": int(status), "xyz": None}
    if status != Status.LOW_SCORE:
        row |= {"xy_px": None, "score": None, "width": None, "height": None, "jpeg": None}


def rows(pids: dict[str, list[int]], cameras: int = 2, frames: int = FRAMES) -> list[dict]:
    """Return the frames of one tracklet per person and camera, by split."""
    return [
        frame(pid, f"{pid:04}C{camid + 1}T0001", number, split, camid)
        for split, own in pids.items()
        for pid in own
        for camid in range(cameras)
        if split not in ("query", "gallery") or (split == "query") == (camid == 0)
        for number in range(frames)
    ]


def write_shards(folder: Path, made: list[dict]) -> Path:
    """Write rows, sorted as shards are, to one file per split."""
    folder.mkdir(parents=True, exist_ok=True)
    for split in {row["split"] for row in made}:
        own = [row for row in made if row["split"] == split]
        own.sort(key=lambda row: (row["pid"], row["tracklet"], row["frame"]))
        columns = schema.with_metadata(schema.SHARD, dataset=folder.name, embed_frames=True)
        table = pa.Table.from_pylist(own, columns)
        pq.write_table(table, folder / f"{split}-00000.parquet", use_dictionary=False)
    return folder


def write_params(folder: Path, **knobs: dict) -> None:
    """Write a params.yaml whose only dataset is `tiny`."""
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    params["datasets"] = {"tiny": params["datasets"]["walkers"]}
    line = {"train": "tiny", "recipe": "params.yaml"}
    conf = "conf/encoder/conv_stem.yaml"
    params["pretraining"] = {"tiny": line | {"encoder": "conv_stem", "start": conf}}
    start = "models/tiny/stage1.safetensors"
    params["runs"] = {"tiny": line | {"test": "tiny", "model": "csip", "start": start}}
    for section, values in (*KNOBS.items(), *knobs.items()):
        params[section] = merge(params[section], values)
    (folder / "params.yaml").write_text(yaml.safe_dump(params))


def write_project(folder: Path, made: list[dict], **knobs: dict) -> Path:
    """Make a project folder whose only dataset is `tiny`, with shards and index."""
    write_params(folder, **knobs)
    write_shards(folder / "data/shards/tiny", made)
    tracklets = {row["tracklet"]: row for row in made}.values()
    index = [
        {key: row[key] for key in ("tracklet", "pid", "camid", "split")}
        | {"frames": [], "frame_numbers": []}
        for row in tracklets
    ]
    (folder / "data/index").mkdir(parents=True)
    rules = '{"gallery_includes_queries": true, "same_camera_counts": false, "both_ways": false}'
    columns = schema.with_metadata(schema.INDEX, dataset="tiny", rules=rules)
    pq.write_table(pa.Table.from_pylist(index, columns), folder / "data/index/tiny.parquet")
    return folder
