"""A project with a model that is published, and what its tracklets' frames are."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from safetensors.torch import save_file

from evaluate.publish.folder import Config
from evaluate.publish.make import publish as publish_folder
from pipeline.images import decode
from pipeline.stage import start
from tests.models import publish
from tests.stages import make
from tests.train.tiny import rows, write_project
from train.weights.checkpoint import load

PEOPLE = {"train": [1, 2, 5, 8], "query": [3, 4, 6], "gallery": [3, 4, 6]}
MODEL = Path("models/tiny/stage2.safetensors")
# Of pairs of strangers, as if twelve people had been held out.
NOTED = {"shares": [0.5, 0.04, 0.01], "distances": [0.8, 0.4, 0.2]}


def note(**about: object) -> None:
    """Write what is said about the model anew."""
    state, metadata = load(MODEL)
    save_file(state, MODEL, {"about": json.dumps(metadata["about"] | about)})


def make_project(folder: Path, made: list[dict] | None = None, *overrides: str) -> None:
    """Make a project in the current folder whose model has learnt nothing, and score it."""
    write_project(folder, made or rows(PEOPLE))
    publish("tiny")
    noted = {"visual": NOTED}
    note(strangers={"before": noted, "after": noted}, held_out=12)
    make("embed", "tiny", *overrides)
    make("score", "tiny", *overrides)


def take(folder: Path, *overrides: str, onnx: bool = False, licence: str = "") -> Config:
    """Publish the model as a folder."""
    stage = start("publish", "tiny", list(overrides), trial="trial" if overrides else "")
    return publish_folder(stage, folder, licence, onnx)


def features(*, trial: bool = False) -> dict[str, np.ndarray]:
    """Return what `evaluate.embed` made of each tracklet."""
    folder = Path("work/try/trial") if trial else Path()
    table = pq.read_table(folder / "data/features/tiny.parquet")
    return {row["tracklet"]: np.array(row["feature"]) for row in table.to_pylist()}


def tracklets() -> dict[str, list[dict]]:
    """Return the frames of each tracklet that can be seen, as rows of shards."""
    found: dict[str, list[dict]] = {}
    for split in ("query", "gallery"):
        for row in pq.read_table(f"data/shards/tiny/{split}-00000.parquet").to_pylist():
            if row["jpeg"]:
                found.setdefault(row["tracklet"], []).append(row)
    return found


def pictures(own: list[dict]) -> list[np.ndarray]:
    return [decode(row["jpeg"]) for row in own]


def joints(own: list[dict]) -> np.ndarray:
    """Return `(T, 17, 3)` joints of frames, NaN where there are none."""
    return np.array([row["xyz"] or [np.nan] * 51 for row in own], np.float32).reshape(-1, 17, 3)
