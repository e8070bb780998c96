"""HAMoBE: the encoder stays, and the gate that was trained is the gate that scores."""

from pathlib import Path

import pytest
import torch

from pipeline.errors import PipelineError
from tests.stages import make
from tests.train.test_every_model import built, clips, features_of, labels_of, loss_of, prepared
from tests.train.tiny import rows, write_project
from train.models.hamobe import HamobeModel
from train.registry import MODELS
from train.weights.checkpoint import load, published

VIT = {"name": "test_vit", "size": (64, 32), "out_dim": 16}


def trained(steps: int = 3) -> HamobeModel:
    model, needs, _ = built("hamobe")
    model.train()
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    for _ in range(steps):
        optimizer.zero_grad()
        loss_of(model, clips(needs), labels_of()).backward()
        optimizer.step()
    return model


def test_the_encoder_is_the_same_to_the_byte_after_training():
    before = {name: x.clone() for name, x in built("hamobe")[0].visual.state_dict().items()}
    after = trained().visual.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_the_gate_learns_and_is_told_to_whoever_scores():
    model = trained()
    comparison = model.comparison()
    assert comparison["kind"] == "gated"
    assert comparison["experts"] == 3
    assert torch.tensor(comparison["own"]).abs().max() > 0
    described = features_of(model, clips(set(model.needs)))
    # Three experts of 32 numbers, together of length one, and what the gate looks at.
    assert described.shape[1] == 3 * 32 + 32
    torch.testing.assert_close(described[:, :96].norm(dim=1), torch.ones(len(described)))


def test_without_a_gate_experts_count_alike_and_one_vector_is_enough():
    model, needs, _ = built("hamobe", without=["gate"])
    assert model.comparison() == {"kind": "cosine"}
    assert features_of(model, clips(needs)).shape[1] == 3 * 32
    alone, needs, _ = built("hamobe", without=["appearance", "shape"])
    assert alone.gate is None
    assert features_of(alone, clips(needs)).shape[1] == 32


def test_clothes_are_used_where_they_are_known_and_not_asked_for():
    model, needs, _ = built("hamobe")
    inputs = clips(needs)
    model.train()
    known = model(prepared(model, inputs), labels_of(), mode="loss")
    unknown = inputs | {"clothes": torch.full_like(inputs["clothes"], -1)}
    found = model(prepared(model, unknown), labels_of(), mode="loss")
    assert found["loss_clothes"] != known["loss_clothes"]
    torch.testing.assert_close(found["loss_triplet"], known["loss_triplet"])
    del inputs["clothes"]
    assert "loss_clothes" not in model(prepared(model, inputs), labels_of(), mode="loss")


def test_a_transformer_shows_its_quarters():
    encoder = MODELS.build({"type": "train.encoders.image.VitEncoder", **VIT}).eval()
    frames = torch.rand(2, 3, 64, 32)
    taps = encoder.taps(frames)
    assert len(taps) == len(encoder.tap_widths) == 4
    torch.testing.assert_close(encoder.vit.norm(taps[-1]), encoder(frames)[0])
    model = HamobeModel({"type": "train.encoders.image.VitEncoder", **VIT}, 3, experts={"dim": 16})
    assert model(dict(frames=torch.rand(2, 4, 3, 64, 32)), mode="predict").shape == (2, 80)


def test_a_run_that_starts_from_nothing_is_told_what_to_start_from(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_project(tmp_path, rows({"train": [1, 2, 5, 8]}))
    start = "runs.tiny.start=conf/encoder/conv_stem.yaml"
    run = ["runs.tiny.model=hamobe", "runs.tiny.encoder=conv_stem", start]
    with pytest.raises(PipelineError, match="hamobe leaves its visual encoder as it comes"):
        make("stage2", "tiny", *run, dry_run=True)


def test_a_run_keeps_the_encoder_of_stage_1_to_the_byte(after_stage1):
    run = ["runs.tiny.model=hamobe", "stage2.epochs=1", "stage2.settings={experts: {dim: 32}}"]
    make("stage2", "tiny", *run)
    made = Path("work/try/trial/models/tiny/stage2.safetensors")
    state, towers = load(made)[0], load(Path("models/tiny/stage1.safetensors"))[0]
    kept = [name for name in towers if name.startswith("visual.")]
    assert kept
    assert all(torch.equal(state[name], towers[name]) for name in kept)
    assert published(made)["comparison"]["kind"] == "gated"


def test_an_encoder_that_shows_nothing_is_named():
    visual = {"type": "train.encoders.adapters.AdaptedVitEncoder", **VIT, "heads": 2}
    with pytest.raises(PipelineError, match="inner layers"):
        HamobeModel(visual, 3)
