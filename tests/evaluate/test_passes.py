"""Each clip is decoded once, whatever describes it."""

import pyarrow.parquet as pq
import pytest
import torch
from torch.utils.data import default_collate

from pipeline import images
from pipeline.stage import start
from tests.models import publish
from tests.stages import make
from tests.train.tiny import FRAMES, rows, write_project
from train import describe as train_describe
from train.data import clips
from train.trained import Trained
from train.weights.checkpoint import load

PEOPLE = {"train": [1, 2, 5, 8], "query": [3, 4, 6], "gallery": [3, 4, 6]}


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Return a project with a model that has learnt nothing."""
    monkeypatch.chdir(tmp_path)
    write_project(tmp_path, rows(PEOPLE))
    publish("tiny")
    return tmp_path


def test_every_frame_is_decoded_once_for_all_that_describes_it(project, monkeypatch):
    decoded, decode = [], images.decode
    monkeypatch.setattr(images, "decode", lambda *given: decoded.append(1) or decode(*given))
    # Loaded in this process, so that decoding can be counted.
    original = train_describe.described
    monkeypatch.setattr(
        train_describe,
        "described",
        lambda data, describer, workers, *rest: original(data, describer, 0, *rest),
    )
    make("embed", "tiny", "embed.frames=dense")
    # Six tracklets of six frames: a clip of four, and one of two frames, each shown twice.
    # The first clip is looked at before, for its size.
    assert len(decoded) == 6 * FRAMES + 4


def test_held_out_people_are_decoded_once_and_by_the_datasets_rules(tmp_path, monkeypatch):
    # One camera sees all: where a person's own camera does not count, nobody has a match.
    monkeypatch.chdir(tmp_path)
    people = [
        row | {"tracklet": f"{row['pid']:04}C1T{row['camid'] + 1:04}", "camid": 0}
        for row in rows({"train": [1, 2, 5, 8]})
    ]
    knobs = {"held_out": 2, "epochs": 1, "milestones": [1]}
    write_project(tmp_path, people, stage1={"epochs": 1}, stage2=knobs)
    index = tmp_path / "data/index/tiny.parquet"
    table = pq.read_table(index)
    rules = '{"gallery_includes_queries": true, "same_camera_counts": true, "both_ways": false}'
    about = table.schema.metadata | {b"rules": rules.encode()}
    pq.write_table(table.replace_schema_metadata(about), index)
    make("stage1", "tiny")
    built = []
    monkeypatch.setattr(
        clips.TestDataset,
        "__init__",
        lambda self, *given, own=clips.TestDataset.__init__, **options: (
            built.append(1) or own(self, *given, **options)
        ),
    )
    loaded, load_clip = [], clips.TestDataset.__getitem__
    monkeypatch.setattr(
        clips.TestDataset,
        "__getitem__",
        lambda self, index: loaded.append(index) or load_clip(self, index),
    )
    make("stage2", "tiny")
    weight = load(tmp_path / "models/tiny/stage2.safetensors")[1]["about"]["skeleton_weight"]
    assert set(weight) == {"before", "after"}
    assert len(built) == 1
    # Once after the epoch, and the first for its size; who asks for weights decodes elsewhere.
    assert sorted(loaded) == [0, 0, 1, 2, 3]


def test_calibration_finds_what_each_descriptor_and_neck_says(project):
    model = Trained.of(start("embed", "tiny")).model()
    data = clips.TestDataset(
        "data/shards/tiny", ["query", "gallery"], 4, (128, 64), needs=["frames", "camids"]
    )
    inputs = model.data_preprocessor(default_collate([data[i] for i in range(4)]))["inputs"]
    for name in ("visual", "skeleton"):
        both = model.describe_at_necks(inputs, name)
        for neck, made in both.items():
            model.neck = neck
            torch.testing.assert_close(made, model.describe(inputs, name))
