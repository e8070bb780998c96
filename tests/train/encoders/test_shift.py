import pytest
import torch

from train.encoders.shift import shift_channels, shift_patches


@pytest.mark.golden
def test_patches_move_as_in_the_reference(golden, agree):
    inputs, _, outputs = golden("temporal_shift")
    tokens = inputs["tokens"]
    moved = shift_patches(tokens)
    agree(moved, outputs["shifted"])
    agree(shift_patches(tokens, inverse=True), outputs["inverse"])
    half = torch.cat([shift_patches(tokens[:, :, :1]), tokens[:, :, 1:]], dim=2)
    agree(half, outputs["half_heads"])


@pytest.mark.golden
def test_channels_move_as_in_the_reference(golden, agree):
    inputs, _, outputs = golden("temporal_shift")
    agree(shift_channels(inputs["channels"]), outputs["channel_shifted"])


@pytest.mark.parametrize("frames", [1, 2, 5, 8])
def test_nothing_is_lost_or_made(frames):
    cells = torch.randn(2, frames, 7, 5, 3)
    moved = shift_patches(cells)
    torch.testing.assert_close(moved.flatten(1).sort(1)[0], cells.flatten(1).sort(1)[0])
    assert torch.equal(shift_patches(moved, inverse=True), cells)
