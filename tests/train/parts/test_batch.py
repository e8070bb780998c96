"""A mean over what a mask keeps, and that the tests of padding would notice another."""

import torch
from torch import nn

from train.parts.batch import masked_mean


def test_padding_would_be_noticed():
    class Careless(nn.Module):
        def forward(self, frames: torch.Tensor) -> torch.Tensor:
            return frames.mean(1)

    frames, mask = torch.rand(2, 4, 3), torch.tensor([[True] * 4, [True, True, True, False]])
    spoilt = frames.clone()
    spoilt[~mask] = 9.0
    assert torch.equal(masked_mean(spoilt, mask), masked_mean(frames, mask))
    assert not torch.equal(Careless()(spoilt), Careless()(frames))
