from pathlib import Path

import pytest
import torch
import yaml

from pipeline.errors import PipelineError
from tests.conftest import ROOT
from train.encoders.image import CnnEncoder, VitEncoder
from train.registry import MODELS
from train.weights.checkpoint import load_part
from train.weights.pretrained import resize_pos_embed
from train.weights.renaming import CLIP, rename

CONF = ROOT / "conf" / "encoder"


def small_vit(**settings):
    return VitEncoder("test_vit", size=(64, 32), out_dim=16, **settings)


@pytest.mark.golden
def test_clip_tokens_are_those_of_the_reference(golden, agree):
    inputs, params, outputs = golden("clip_vision_transformer")
    encoder = VitEncoder(
        size=(256, 128), out_dim=16, cameras=3, embed_dim=32, depth=12, num_heads=1
    ).eval()
    cameras = torch.zeros(3, 32)
    cameras[1] = inputs["camera_embedding"]
    load_part(encoder, rename(params, CLIP) | {"cameras.weight": cameras}, "", Path("golden"))
    penultimate = []
    encoder.vit.blocks[10].register_forward_hook(lambda *call: penultimate.append(call[2]))
    tokens, projected = encoder(inputs["image"], torch.tensor([1]))
    agree(tokens, outputs["tokens"], 1e-4)
    agree(projected, outputs["projected"], 1e-4)
    agree(penultimate[0], outputs["penultimate"], 1e-4)
    agree(encoder(inputs["image"])[0], outputs["tokens_no_camera"], 1e-4)


@pytest.mark.golden
def test_positions_are_resampled_as_in_the_reference(golden, agree):
    inputs, _, outputs = golden("resize_pos_embed")
    agree(resize_pos_embed(inputs["square_14x14"][None], (16, 8)), outputs["rect_16x8"])


@pytest.mark.parametrize("camid", [2, 99, -1])
def test_a_camera_not_seen_in_training_adds_nothing(camid):
    encoder, frames = small_vit(cameras=3).eval(), torch.randn(2, 3, 64, 32)
    opt = torch.optim.SGD(encoder.parameters(), lr=10.0)
    encoder(frames, torch.tensor([0, 1]))[0].square().mean().backward()
    opt.step()
    plain, _ = encoder(frames)
    unseen, _ = encoder(frames, torch.tensor([camid, camid]))
    seen, _ = encoder(frames, torch.tensor([0, 1]))
    torch.testing.assert_close(unseen, plain)
    assert (seen - plain).abs().max() > 1e-3


def test_activation_checkpointing_changes_no_gradient():
    encoder, frames = small_vit().train(), torch.randn(2, 3, 64, 32)
    gradients = []
    for encoder.is_checkpointing in (False, True):
        encoder.zero_grad()
        encoder(frames)[1].square().mean().backward()
        gradients.append([p.grad.clone() for p in encoder.vit.blocks.parameters()])
    torch.testing.assert_close(gradients[1], gradients[0])


def test_attention_of_vision_transformers_is_fused():
    assert all(block.attn.fused_attn for block in small_vit().vit.blocks)


def test_the_first_token_of_a_network_is_the_mean_of_its_map():
    encoder = CnnEncoder("test_resnet", size=(96, 32), out_dim=16).eval()
    tokens, projected = encoder(torch.randn(2, 3, 96, 32))
    torch.testing.assert_close(tokens[:, 0], tokens[:, 1:].mean(1))
    torch.testing.assert_close(projected, tokens @ encoder.proj.weight.T)


def test_frames_of_another_size_are_refused_with_the_knob():
    with pytest.raises(PipelineError, match=r"\(64, 64\).*\(64, 32\).*`size`"):
        small_vit()(torch.zeros(1, 3, 64, 64))


@pytest.mark.parametrize(
    "file",
    [file for file in sorted(CONF.glob("*.yaml")) if file.stem != "none"],
    ids=lambda file: file.stem,
)
def test_every_encoder_on_offer_gives_tokens_class_token_first(file):
    config = yaml.safe_load(file.read_text(encoding="utf-8"))
    settings = {**config["visual"], "weights": None}
    if settings["type"].endswith("VitEncoder"):
        settings["depth"] = 1
    encoder = MODELS.build(settings).eval()
    height, width = settings["size"]
    prepare = MODELS.build(config["data_preprocessor"])
    frames = torch.randint(0, 256, (1, 1, 3, height, width), dtype=torch.uint8)
    frames = prepare({"inputs": {"frames": frames}})["inputs"]["frames"][0]
    with torch.no_grad():
        tokens, projected = encoder(frames)
    assert tokens.shape[2] == encoder.width
    assert projected.shape == (*tokens.shape[:2], settings["out_dim"])
    if "patch" in settings["name"]:
        patch = int(settings["name"].split("patch")[1][:2])
        assert tokens.shape[1] == 1 + (height // patch) * (width // patch)


@pytest.mark.parametrize(
    ("encoder", "cells"),
    [
        (CnnEncoder("test_resnet", size=(64, 32), out_dim=16), (2, 1)),
        (CnnEncoder("test_resnet", size=(100, 50), out_dim=16, output_stride=8), (13, 7)),
        (VitEncoder("test_vit", size=(64, 32), out_dim=16), (4, 2)),
    ],
)
def test_an_encoder_knows_the_rows_and_columns_of_its_cells(encoder, cells):
    assert encoder.cells == cells
    tokens, _ = encoder(torch.zeros(1, 3, *encoder.size))
    assert tokens.shape[1] == 1 + cells[0] * cells[1]
