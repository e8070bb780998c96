import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from pipeline.errors import PipelineError
from pipeline.stage import start
from tests.stages import make
from tests.train.tiny import rows, write_project
from train import stage1
from train.data.features import cached_features
from train.data.sampler import Draw
from train.encoders.image import CnnEncoder
from train.registry import DATASETS, MODELS
from train.weights.checkpoint import load, save

FROZEN = ["stage1.train_visual=false"]


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    start = {"pretraining": {"tiny": {"start": "pretrained.safetensors"}}}
    write_project(tmp_path, rows({"train": [1, 2, 5]}), **start)
    arch = {"name": "resnet10t", "channels": [16, 32, 64, 128], "stem_width": 8}
    encoder = CnnEncoder(size=(128, 64), out_dim=128, **arch)
    save(tmp_path / "pretrained.safetensors", encoder.cnn, {})
    return tmp_path


def frozen(*overrides: str):
    stage = start("stage1", "tiny", [*FROZEN, *overrides])
    return stage1.stage1(stage)


def test_cached_features_are_those_of_the_encoder_that_is_published(project):
    training = frozen()
    cached = DATASETS.build(training.faster())
    live = DATASETS.build(dict(training.config["train_dataloader"]["dataset"]))
    make("stage1", "tiny", *FROZEN)
    encoder = MODELS.build(training.config["model"]).eval()
    state, _ = load(project / "work/try/trial/models/tiny/stage1.safetensors")
    encoder.load_state_dict(state)
    for index in range(len(live)):
        draw = Draw(index, (1, 2, index))
        ours, theirs = cached[draw]["inputs"], live[draw]["inputs"]
        assert torch.equal(ours["xyz"], theirs["xyz"])
        batch = encoder.data_preprocessor({"inputs": {k: v[None] for k, v in theirs.items()}})
        with torch.no_grad():
            expected = encoder.visual_feature(batch["inputs"])[0]
        torch.testing.assert_close(ours["visual"], expected, rtol=1e-4, atol=1e-5)


def test_features_are_computed_once_and_anew_when_what_they_depend_on_changes(project):
    first = frozen().faster()["features"]
    assert frozen("stage1.lr=0.1", "stage1.clip_frames=2").faster()["features"] == first
    encoder = CnnEncoder(
        name="resnet10t", size=(128, 64), out_dim=128, channels=[16, 32, 64, 128], stem_width=8
    )
    save(project / "pretrained.safetensors", encoder.cnn, {})
    assert frozen().faster()["features"] != first


def test_a_killed_computation_continues_with_the_chunks_it_has(project, monkeypatch):
    monkeypatch.setattr("train.data.features.CHUNK_TRACKLETS", 2)
    training = frozen()
    whole = np.load(training.faster()["features"])
    folder = next(project.glob("work/visual/tiny/*"))
    shutil.rmtree(folder)
    calls = []
    from train.data import features as cache

    encode = cache._Encoder.__call__

    def counting(self, frames, camid):
        calls.append(camid)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return encode(self, frames, camid)

    monkeypatch.setattr(cache._Encoder, "__call__", counting)
    with pytest.raises(KeyboardInterrupt):
        cached_features(training.stage, training.config, training.inputs)
    assert not list(folder.glob("features.npy"))
    again = np.load(cached_features(training.stage, training.config, training.inputs))
    np.testing.assert_array_equal(again, whole)
    assert len(calls) == 4 + 4


def test_a_frozen_encoder_leaves_stage_1_as_it_came(project):
    make("stage1", "tiny", *FROZEN)
    state, _ = load(project / "work/try/trial/models/tiny/stage1.safetensors")
    pretrained = load_file(project / "pretrained.safetensors")
    for name, value in pretrained.items():
        assert torch.equal(state[f"visual.cnn.{name}"], value)


def test_an_encoder_without_pretrained_weights_cannot_be_frozen(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_project(tmp_path, rows({"train": [1, 2]}))
    with pytest.raises(PipelineError, match="train_visual is false, but tiny starts from conf/"):
        frozen()


def test_missing_pretrained_weights_name_the_command(project):
    (project / "pretrained.safetensors").unlink()
    with pytest.raises(PipelineError, match=r"pretrained\.safetensors is missing"):
        frozen()
