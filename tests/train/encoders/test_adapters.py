import pytest
import torch
from timm.layers import Mlp
from timm.models.vision_transformer import Block

from train.encoders.adapters import AdaptedBlock, ViewPrompts
from train.parts.prototypes import QuickGELU
from train.weights.renaming import ADAPTED_BLOCK, rename


def block():
    made = Block(32, 4, qkv_bias=True, norm_layer=torch.nn.LayerNorm)
    made.mlp = Mlp(32, 128, act_layer=QuickGELU)
    return made.eval()


@pytest.mark.golden
def test_adapters_and_prompts_are_those_of_the_reference(golden, agree):
    inputs, params, outputs = golden("set_adapter")
    adapted = AdaptedBlock(block(), width=16, heads=2)
    adapted.load_state_dict(rename(params, ADAPTED_BLOCK))
    tokens = inputs["tokens"]
    agree(adapted.across(tokens), outputs["inter_of_input"])
    agree(adapted.within(tokens), outputs["intra_of_input"])
    agree(adapted(tokens), outputs["adapted"])
    agree(adapted.block(tokens.flatten(0, 1)).unflatten(0, (2, 3)), outputs["plain"])


@pytest.mark.golden
def test_prompts_are_read_and_dropped_as_in_the_reference(golden, agree):
    inputs, params, outputs = golden("set_adapter")
    adapted = AdaptedBlock(block(), width=16, heads=2)
    adapted.load_state_dict(rename(params, ADAPTED_BLOCK))
    agree(adapted(inputs["tokens"], inputs["prompt"]), outputs["prompted"])


def test_at_the_start_an_adapted_block_is_the_block():
    plain, tokens = block(), torch.randn(2, 3, 9, 32)
    expected = plain(tokens.flatten(0, 1)).unflatten(0, (2, 3))
    torch.testing.assert_close(AdaptedBlock(plain, 16, 2)(tokens), expected)


def test_bad_frames_are_not_heard():
    adapted, tokens = AdaptedBlock(block(), 16, 2), torch.randn(2, 3, 9, 32)
    torch.nn.init.normal_(adapted.across.up.weight)
    mask = torch.tensor([[True, True, False], [True, False, True]])
    before = adapted(tokens, frame_mask=mask)[mask]
    tokens[~mask] = 100.0
    torch.testing.assert_close(adapted(tokens, frame_mask=mask)[mask], before)


def test_an_unknown_view_has_no_prompt():
    prompts = ViewPrompts(32, {"platform": 2, "altitude": 18}, depth=2)
    unknown = prompts({"platform": torch.zeros(1).long(), "altitude": torch.zeros(1).long()}, 0)
    assert unknown.eq(0).all()
    known = prompts({"platform": torch.ones(1).long(), "altitude": torch.zeros(1).long()}, 0)
    assert known.ne(0).any()
    assert prompts({}, 2) is None
