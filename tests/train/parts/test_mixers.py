import pytest
import torch

from train.parts.attention import Attention
from train.parts.mixers import MessageMixer, TokenResampler, WindowMixer
from train.weights.renaming import MESSAGE, rename


@pytest.mark.golden
def test_messages_are_those_of_the_reference(golden, agree):
    inputs, params, outputs = golden("temporal_memory_diffusion")
    mixer = MessageMixer(32, 4, position_code=False)
    mixer.load_state_dict(rename(params, MESSAGE))
    frames = mixer(inputs["tokens"]).mean(2)
    agree(frames, outputs["frames"])
    agree(frames.mean(1), outputs["clip"])


@pytest.mark.golden
def test_bare_messages_are_those_of_the_reference(golden, agree):
    inputs, params, outputs = golden("message_token_adapter")
    mixer = MessageMixer(16, 2, "class", norm=False, mlp=False, position_code=False)
    mixer.load_state_dict(rename(params, MESSAGE))
    agree(mixer(inputs["tokens"])[:, :, :-1], outputs["tokens"])


def test_the_order_of_frames_counts_with_a_position_code_only():
    tokens = torch.randn(2, 4, 9, 32)
    for has_code in (True, False):
        mixer = MessageMixer(32, 4, position_code=has_code)
        change = (mixer(tokens.flip(1)).mean((1, 2)) - mixer(tokens).mean((1, 2))).abs().max()
        assert (change > 1e-4) == has_code


PARTS = {
    "messages": lambda: MessageMixer(32, 4),
    "windows": lambda: WindowMixer(32, 4),
    "resampler": lambda: TokenResampler(32, 3, heads=4),
}


def clip(part, batch=3, frames=6):
    return (
        torch.randn(batch, frames, 32) if part == "windows" else torch.randn(batch, frames, 5, 32)
    )


@pytest.mark.parametrize("part", PARTS)
def test_clips_do_not_meet(part):
    mixer, tokens = PARTS[part](), clip(part)
    order = torch.tensor([2, 0, 1])
    torch.testing.assert_close(mixer(tokens[order]), mixer(tokens)[order])


@pytest.mark.parametrize("part", PARTS)
def test_bad_frames_tell_the_others_nothing(part):
    mixer, tokens = PARTS[part](), clip(part)
    mask = torch.tensor([[True] * 6, [True, False] * 3, [False] * 6])
    before = mixer(tokens, mask)
    tokens[1, ~mask[1]] = 100.0
    after = mixer(tokens, mask)
    if part == "messages":
        before, after = before[1, mask[1]], after[1, mask[1]]
    torch.testing.assert_close(after, before)
    assert after.isfinite().all()


def test_windows_of_the_whole_clip_are_one_attention():
    mixer = WindowMixer(32, 4, parts=(1,))
    frames = torch.randn(2, 5, 32)
    from train.parts.attention import position_code

    placed = frames + position_code(5, 32, frames.device)
    attention: Attention = mixer.mixers[0]
    expected = mixer.out_norm((placed + attention(mixer.norms[0](placed))).mean(1))
    torch.testing.assert_close(mixer(frames), expected)


@pytest.mark.parametrize("length", [1, 2, 3, 5, 7, 8])
def test_windows_take_clips_of_any_length(length):
    assert WindowMixer(32, 4)(torch.randn(2, length, 32)).isfinite().all()


def test_shared_windows_have_fewer_parameters():
    count = {
        shared: sum(p.numel() for p in WindowMixer(32, 4, shared=shared).parameters())
        for shared in (True, False)
    }
    assert count[False] - count[True] == 2 * sum(p.numel() for p in Attention(32, 4).parameters())


def test_learnt_tokens_read_places_as_a_set():
    resampler, tokens = TokenResampler(32, 3, heads=4), torch.randn(2, 4, 9, 32)
    torch.testing.assert_close(resampler(tokens[:, :, torch.randperm(9)]), resampler(tokens))
    assert (resampler(tokens.flip(1)) - resampler(tokens)).abs().max() > 1e-5
