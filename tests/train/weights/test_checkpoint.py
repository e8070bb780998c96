import os
import pickle
import zipfile

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from pipeline.errors import PipelineError
from train.encoders.image import CnnEncoder, VitEncoder
from train.weights.checkpoint import load, load_part, save
from train.weights.pretrained import load_visual
from train.weights.renaming import FUSION, rename

ARCH = {"embed_dim": 32, "depth": 2, "num_heads": 2}


def square_clip() -> VitEncoder:
    """A CLIP image tower as it was published: on a square, here of 4 x 4 patches."""
    return VitEncoder(size=(64, 64), out_dim=16, **ARCH).eval()


def openai_state(encoder: VitEncoder) -> dict[str, torch.Tensor]:
    """Write the tower's parameters under OpenAI's names, independently of the renaming table."""
    vit, state = encoder.vit, {}
    state["class_embedding"] = vit.cls_token[0, 0]
    state["positional_embedding"] = vit.pos_embed[0]
    state["proj"] = encoder.proj.weight.T
    state["conv1.weight"] = vit.patch_embed.proj.weight
    for name, norm in (("ln_pre", vit.norm_pre), ("ln_post", vit.norm)):
        state[f"{name}.weight"], state[f"{name}.bias"] = norm.weight, norm.bias
    for i, block in enumerate(vit.blocks):
        layers = {
            "ln_1": block.norm1,
            "ln_2": block.norm2,
            "attn.out_proj": block.attn.proj,
            "mlp.c_fc": block.mlp.fc1,
            "mlp.c_proj": block.mlp.fc2,
        }
        for name, layer in layers.items():
            state[f"transformer.resblocks.{i}.{name}.weight"] = layer.weight
            state[f"transformer.resblocks.{i}.{name}.bias"] = layer.bias
        state[f"transformer.resblocks.{i}.attn.in_proj_weight"] = block.attn.qkv.weight
        state[f"transformer.resblocks.{i}.attn.in_proj_bias"] = block.attn.qkv.bias
    state = {f"visual.{name}": x.detach().clone().contiguous() for name, x in state.items()}
    return state | {"logit_scale": torch.tensor(4.6), "ln_final.weight": torch.ones(8)}


# Under which key training programs keep the weights, and what stands before every name.
WRAPPED = {
    "open_clip": ("state_dict", "module."),
    "lightning": ("state_dict", "model."),
    "compiled": ("", "_orig_mod."),
    "averaged": ("model_ema", ""),
}


def hugging_face_state(encoder: VitEncoder) -> dict[str, torch.Tensor]:
    """Write the tower's parameters under Hugging Face's names, independently of the table."""
    vit, at = encoder.vit, "vision_model.embeddings"
    state = {
        f"{at}.class_embedding": vit.cls_token[0, 0],
        f"{at}.position_embedding.weight": vit.pos_embed[0],
        f"{at}.position_ids": torch.arange(vit.pos_embed.shape[1])[None],
        f"{at}.patch_embedding.weight": vit.patch_embed.proj.weight,
        "visual_projection.weight": encoder.proj.weight,
        "text_model.final_layer_norm.weight": torch.ones(8),
        "logit_scale": torch.tensor(4.6),
    }
    norms = {"pre_layrnorm": vit.norm_pre, "post_layernorm": vit.norm}
    for name, norm in norms.items():
        state |= {f"vision_model.{name}.{key}": x for key, x in norm.state_dict().items()}
    for i, block in enumerate(vit.blocks):
        layers = {
            "layer_norm1": block.norm1, "layer_norm2": block.norm2,
            "self_attn.out_proj": block.attn.proj, "mlp.fc1": block.mlp.fc1,
            "mlp.fc2": block.mlp.fc2,
        }  # fmt: skip
        place = f"vision_model.encoder.layers.{i}"
        for name, layer in layers.items():
            state |= {f"{place}.{name}.{key}": x for key, x in layer.state_dict().items()}
        for key, fused in block.attn.qkv.state_dict().items():
            for part, one in zip("qkv", fused.chunk(3), strict=True):
                state[f"{place}.self_attn.{part}_proj.{key}"] = one
    return {name: x.detach().clone().contiguous() for name, x in state.items()}


class Tree(nn.Module):
    """Parameters under dotted names, for torch.jit to archive."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


def torchscript(state: dict[str, torch.Tensor], path) -> None:
    root = Tree()
    for name, value in state.items():
        *parents, leaf = name.split(".")
        node = root
        for parent in parents:
            if not hasattr(node, parent):
                node.add_module(parent, Tree())
            node = getattr(node, parent)
        node.register_parameter(leaf, nn.Parameter(value.half()))
    torch.jit.script(root).save(str(path))


def halved(encoder: VitEncoder) -> VitEncoder:
    for p in encoder.parameters():
        p.data = p.data.half().float()
    return encoder


@pytest.mark.filterwarnings("ignore:.torch.jit.script:FutureWarning")
@pytest.mark.parametrize(
    "publisher",
    ["openai", "open_clip", "timm", "hugging face", "lightning", "compiled", "averaged"],
)
def test_every_publisher_s_file_gives_the_same_features(publisher, tmp_path):
    published = halved(square_clip())
    file = tmp_path / "weights.pt"
    if publisher == "openai":
        torchscript(openai_state(published), file)
    elif publisher == "hugging face":
        torch.save(hugging_face_state(published), file)
    elif publisher in WRAPPED:
        key, prefix = WRAPPED[publisher]
        state = {f"{prefix}{name}": x for name, x in openai_state(published).items()}
        torch.save({key: state, "epoch": 3} if key else state, file)
    else:
        file = tmp_path / "model.safetensors"
        vit = {name: x.contiguous() for name, x in published.vit.state_dict().items()}
        head = {"head.weight": published.proj.weight.detach(), "head.bias": torch.zeros(16)}
        save_file(vit | head, file)
    loaded = VitEncoder(size=(64, 64), out_dim=16, weights=str(tmp_path), **ARCH).eval()
    loaded.init_weights()
    frames = torch.randn(2, 3, 64, 64)
    for ours, theirs in zip(loaded(frames), published(frames), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_positions_learnt_on_a_square_fit_a_standing_person(tmp_path):
    published = square_clip()
    torch.save(openai_state(published), tmp_path / "clip.pt")
    encoder = VitEncoder(size=(128, 64), out_dim=16, cameras=2, **ARCH)
    load_visual(encoder, tmp_path / "clip.pt")
    grid = published.vit.pos_embed[:, 1:].unflatten(1, (4, 4)).permute(0, 3, 1, 2)
    expected = nn.functional.interpolate(grid, (8, 4), mode="bilinear", align_corners=False)
    torch.testing.assert_close(
        encoder.vit.pos_embed[:, 1:].unflatten(1, (8, 4)).permute(0, 3, 1, 2), expected
    )
    torch.testing.assert_close(encoder.vit.pos_embed[:, 0], published.vit.pos_embed[:, 0])


def test_a_timm_network_without_projection_keeps_ours(tmp_path):
    published = CnnEncoder("test_resnet", size=(64, 32), out_dim=16).eval()
    state = published.cnn.state_dict() | {"fc.weight": torch.ones(3, 96), "fc.bias": torch.ones(3)}
    torch.save(state, tmp_path / "resnet.pth")
    encoder = CnnEncoder("test_resnet", size=(64, 32), out_dim=8).eval()
    projection = encoder.proj.weight.clone()
    load_visual(encoder, tmp_path / "resnet.pth")
    frames = torch.randn(1, 3, 64, 32)
    torch.testing.assert_close(encoder(frames)[0], published(frames)[0])
    torch.testing.assert_close(encoder.proj.weight, projection)


def test_weights_of_another_architecture_are_refused_by_name(tmp_path):
    torch.save(openai_state(square_clip()), tmp_path / "clip.pt")
    deeper = VitEncoder(size=(64, 64), out_dim=16, **ARCH | {"depth": 3})
    with pytest.raises(PipelineError, match=r"clip.pt does not fit .*vit.blocks.2.*missing"):
        load_visual(deeper, tmp_path / "clip.pt")


def test_missing_weights_name_the_command_that_gets_them(tmp_path):
    with pytest.raises(PipelineError, match=r"python -m extract\.weights --model clip_vit_b16"):
        load_visual(square_clip(), tmp_path / "clip_vit_b16")


class Bomb:
    def __reduce__(self):
        return os.mkdir, ("exploded",)


@pytest.mark.parametrize("kind", ["pickle", "torchscript"])
def test_code_in_a_file_of_weights_is_refused_and_never_runs(kind, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "bomb.pt"
    if kind == "pickle":
        torch.save({"visual.proj": Bomb()}, file)
    else:
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("bomb/data.pkl", pickle.dumps(Bomb(), protocol=2))
            archive.writestr("bomb/constants.pkl", b"")
    with pytest.raises(PipelineError, match="asks for"):
        load_visual(square_clip(), file)
    assert not (tmp_path / "exploded").exists()


def test_published_weights_and_their_description_come_back(tmp_path):
    module, other = nn.BatchNorm1d(4), nn.BatchNorm1d(4)
    module(torch.randn(8, 4))
    save(tmp_path / "m.safetensors", module, {"pids": [3, 7], "encoder": {"size": [64, 32]}})
    state, metadata = load(tmp_path / "m.safetensors")
    other.load_state_dict(state)
    torch.testing.assert_close(other.state_dict(), module.state_dict())
    assert metadata == {"pids": [3, 7], "encoder": {"size": [64, 32]}}


def test_one_part_of_a_published_model_can_be_loaded(tmp_path):
    model = nn.ModuleDict({"a": nn.Linear(2, 3), "b": nn.Linear(3, 2)})
    save(tmp_path / "m.safetensors", model, {})
    state, _ = load(tmp_path / "m.safetensors")
    part = nn.Linear(2, 3)
    load_part(part, state, "a.", tmp_path / "m.safetensors")
    torch.testing.assert_close(part.state_dict(), model["a"].state_dict())
    with pytest.raises(PipelineError, match=r"b.bias is \(2,\) there and \(3,\) here"):
        load_part(part, state, "b.", tmp_path / "m.safetensors")


def test_a_damaged_file_is_said_to_be_damaged(tmp_path):
    (tmp_path / "m.safetensors").write_bytes(b"not weights at all")
    with pytest.raises(PipelineError, match="is not a readable safetensors file"):
        load(tmp_path / "m.safetensors")


def test_a_parameter_no_table_knows_is_an_error():
    with pytest.raises(PipelineError, match=r"fc_new\.weight"):
        rename({"fc_new.weight": torch.zeros(1)}, FUSION)
