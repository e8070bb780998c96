import pytest
import torch
from timm.layers import Mlp
from timm.models.vision_transformer import Block
from torch import nn

from train.encoders.adapters import AdaptedVitEncoder, BlockAdapter, ViewPrompts
from train.parts.prototypes import QuickGELU
from train.weights.renaming import ADAPTED_BLOCK, rename


def block():
    made = Block(32, 4, qkv_bias=True, norm_layer=torch.nn.LayerNorm)
    made.mlp = Mlp(32, 128, act_layer=QuickGELU)
    return made.eval()


def adapted(params=None):
    """Return a block and its adapter, with the weights of the reference."""
    plain, adapter = block(), BlockAdapter(32, width=16, heads=2)
    if params:
        both = nn.ModuleDict({"block": plain, "adapter": adapter})
        both.load_state_dict(rename(params, ADAPTED_BLOCK))
    return plain, adapter


@pytest.mark.golden
def test_adapters_and_prompts_are_those_of_the_reference(golden, agree):
    inputs, params, outputs = golden("set_adapter")
    plain, adapter = adapted(params)
    tokens = inputs["tokens"]
    agree(adapter.across(tokens), outputs["inter_of_input"])
    agree(adapter.within(tokens), outputs["intra_of_input"])
    agree(adapter(plain, tokens), outputs["adapted"])
    agree(plain(tokens.flatten(0, 1)).unflatten(0, (2, 3)), outputs["plain"])


@pytest.mark.golden
def test_prompts_are_read_and_dropped_as_in_the_reference(golden, agree):
    inputs, params, outputs = golden("set_adapter")
    plain, adapter = adapted(params)
    agree(adapter(plain, inputs["tokens"], inputs["prompt"]), outputs["prompted"])


def test_at_the_start_an_adapted_block_is_the_block():
    (plain, adapter), tokens = adapted(), torch.randn(2, 3, 9, 32)
    expected = plain(tokens.flatten(0, 1)).unflatten(0, (2, 3))
    torch.testing.assert_close(adapter(plain, tokens), expected)


def test_bad_frames_are_not_heard():
    (plain, adapter), tokens = adapted(), torch.randn(2, 3, 9, 32)
    nn.init.normal_(adapter.across.up.weight)
    mask = torch.tensor([[True, True, False], [True, False, True]])
    before = adapter(plain, tokens, frame_mask=mask)[mask]
    tokens[~mask] = 100.0
    torch.testing.assert_close(adapter(plain, tokens, frame_mask=mask)[mask], before)


SMALL = {"name": "test_vit", "size": (64, 32), "out_dim": 16, "heads": 2, "adapter_width": 16}


def test_at_the_start_the_encoder_is_the_pretrained_one():
    encoder = AdaptedVitEncoder(**SMALL).eval()
    frames = torch.randn(2, 3, 3, 64, 32)
    expected, _ = encoder(frames.flatten(0, 1))
    torch.testing.assert_close(encoder.clip_tokens(frames, {})[0].flatten(0, 1), expected)


def test_what_is_frozen_has_no_gradient_and_what_is_added_has():
    encoder = AdaptedVitEncoder(**SMALL, train_blocks=1, views={"platform": 2})
    frames, views = torch.randn(2, 3, 3, 64, 32), {"platform": torch.tensor([1, 2])}
    for adapter in encoder.adapters:
        nn.init.normal_(adapter.across.up.weight)
        nn.init.normal_(adapter.within.up.weight)
    encoder.clip_tokens(frames, views)[1].square().sum().backward()
    last = len(encoder.vit.blocks) - 1
    for name, parameter in encoder.named_parameters():
        trained = not name.startswith("vit.") or name.startswith(
            (f"vit.blocks.{last}.", "vit.norm.")
        )
        assert (parameter.grad is not None) == trained, name


def test_views_change_what_is_seen_and_an_unknown_one_is_like_none():
    encoder = AdaptedVitEncoder(**SMALL, views={"platform": 2}).eval()
    frames = torch.randn(1, 2, 3, 64, 32)
    seen = [encoder.clip_tokens(frames, {"platform": torch.tensor([value])})[0] for value in (1, 2)]
    assert (seen[0] - seen[1]).abs().max() > 1e-4


def test_an_unknown_view_has_no_prompt():
    prompts = ViewPrompts(32, {"platform": 2, "altitude": 18}, depth=2)
    unknown = prompts({"platform": torch.zeros(1).long(), "altitude": torch.zeros(1).long()}, 0)
    assert unknown.eq(0).all()
    known = prompts({"platform": torch.ones(1).long(), "altitude": torch.zeros(1).long()}, 0)
    assert known.ne(0).any()
    assert prompts({}, 2) is None
