"""What a clip learns from the same person in the other spectrum, and how it does without."""

import torch
from torch import Tensor, nn

from train.parts.attention import Attention
from train.parts.spectra.losses import across
from train.registry import MODELS


def partners(labels: Tensor, spectrum: Tensor) -> tuple[Tensor, Tensor]:
    """Return a clip of the same person in the other spectrum for each clip, drawn by chance.

    Args:
        labels: `(B,)`.
        spectrum: `(B,)`: 1 or 2, 0 unknown.

    Returns:
        Its place in the batch, and whether there is one, `(B,)` each.

    >>> partners(torch.tensor([0, 0, 1]), torch.tensor([1, 2, 1]))
    (tensor([1, 0, 0]), tensor([ True,  True, False]))
    """
    fits = across(labels, spectrum)
    draw = torch.rand(fits.shape, device=labels.device) + 1
    return (draw * fits).argmax(1), fits.any(1)


@MODELS.register_module()
class PartnerAttention(nn.Module):
    """Frames read their own clip, and where there is one, that of a partner; nothing at first.

    After the cross-modal interaction of LSMRL (arXiv 2601.12062; our reading): both directions
    share their weights.

    >>> from train.parts.spectra.partner import PartnerAttention
    >>> frames, partner = torch.randn(2, 4, 16), torch.randn(2, 6, 16)
    >>> PartnerAttention(16, heads=2)(frames, None, partner).shape
    torch.Size([2, 4, 16])
    """

    def __init__(self, dim: int, heads: int = 8) -> None:
        """Make the attention; it adds nothing until it has learnt."""
        super().__init__()
        self.norm, self.attention = nn.LayerNorm(dim), Attention(dim, heads)
        nn.init.zeros_(self.attention.out.weight)
        nn.init.zeros_(self.attention.out.bias)

    def forward(
        self,
        frames: Tensor,
        frame_mask: Tensor | None = None,
        partner: Tensor | None = None,
        partner_mask: Tensor | None = None,
    ) -> Tensor:
        """Return `(B, T, C)`.

        Args:
            frames: `(B, T, C)`.
            frame_mask: `(B, T)`, True where the frame is good.
            partner: `(B, S, C)` frames of the partner; at test there is none.
            partner_mask: `(B, S)`, False where there is no partner, or its frame is bad.
        """
        own = self.norm(frames)
        if partner is None:
            return frames + self.attention(own, mask=frame_mask)
        memory = torch.cat([own, self.norm(partner)], dim=1)
        masks = [
            given.new_ones(given.shape[:2], dtype=torch.bool) if mask is None else mask
            for given, mask in ((frames, frame_mask), (partner, partner_mask))
        ]
        return frames + self.attention(own, memory, torch.cat(masks, dim=1))


@MODELS.register_module()
class SharedPrompts(nn.Module):
    """A few vectors that both spectra read; how much of it they take starts at nothing.

    After the semantic diffusion of LSMRL (arXiv 2601.12062; our reading): what is said of a person
    by day and by night alike.

    >>> from train.parts.spectra.partner import SharedPrompts
    >>> SharedPrompts(16, heads=2)(torch.randn(2, 4, 16)).shape
    torch.Size([2, 4, 16])
    """

    def __init__(self, dim: int, prompts: int = 8, heads: int = 8) -> None:
        """Make the prompts."""
        super().__init__()
        self.prompts = nn.Parameter(torch.randn(prompts, dim) * 0.02)
        self.norm, self.attention = nn.LayerNorm(dim), Attention(dim, heads)
        self.gate = nn.Parameter(torch.zeros(1))

    def forward(self, frames: Tensor) -> Tensor:
        """Return `(B, T, C)` of as many."""
        # A copy: a counter of operations stumbles over a view of a parameter without gradients.
        said = self.prompts.repeat(len(frames), 1, 1)
        return frames + self.gate * self.attention(self.norm(frames), said)
