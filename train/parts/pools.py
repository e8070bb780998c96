"""Parts that make one feature of many: of a clip's frames, of a frame's patches."""

import torch
from torch import Tensor, nn

from train.registry import MODELS


def masked_softmax(scores: Tensor, mask: Tensor | None, dim: int = 1) -> Tensor:
    """Softmax over what counts; where nothing does, all weights are zero.

    >>> masked_softmax(torch.zeros(1, 3), torch.tensor([[True, True, False]])).tolist()
    [[0.5, 0.5, 0.0]]
    """
    if mask is None:
        return scores.softmax(dim)
    lowest = torch.finfo(scores.dtype).min
    return scores.masked_fill(~mask, lowest).softmax(dim) * mask


@MODELS.register_module()
class AttentionPool(nn.Module):
    """The mean over frames, each weighted by how good it looks.

    A linear score and a softmax, as in the temporal attention pooling of the VReID-XFD entries.

    >>> from train.parts.pools import AttentionPool
    >>> pooled, weights = AttentionPool(dim=16)(torch.randn(3, 5, 16))
    >>> pooled.shape, weights.shape
    (torch.Size([3, 16]), torch.Size([3, 5]))
    """

    def __init__(self, dim: int) -> None:
        """Make the score of features with `dim` channels; at the start all frames count alike."""
        super().__init__()
        self.score = nn.Linear(dim, 1)
        nn.init.zeros_(self.score.weight)
        nn.init.zeros_(self.score.bias)

    def scores(self, frames: Tensor) -> Tensor:
        """Return `(B, T)`: how good each of `(B, T, C)` looks, before the softmax."""
        return self.score(frames).squeeze(-1)

    def forward(self, frames: Tensor, frame_mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the pooled feature `(B, C)` and the weights `(B, T)`.

        Args:
            frames: `(B, T, C)`.
            frame_mask: `(B, T)`, True where the frame is good. A clip without any is zero.
        """
        weights = masked_softmax(self.scores(frames), frame_mask)
        return torch.einsum("bt,btc->bc", weights, frames), weights


@MODELS.register_module()
class ConvAttentionPool(AttentionPool):
    """As `AttentionPool`, but a frame is judged with its neighbours (KeyRe-ID, arXiv 2507.07393).

    >>> from train.parts.pools import ConvAttentionPool
    >>> ConvAttentionPool(dim=16, width=8)(torch.randn(3, 5, 16))[1].sum(1).allclose(torch.ones(3))
    True
    """

    def __init__(self, dim: int, width: int = 256) -> None:
        """Make the score: `dim` channels to `width`, then a convolution over three frames."""
        nn.Module.__init__(self)
        self.narrow = nn.Linear(dim, width)
        self.judge = nn.Conv1d(width, 1, kernel_size=3, padding=1)

    def scores(self, frames: Tensor) -> Tensor:
        """Return `(B, T)`, never below zero."""
        narrow = self.narrow(frames).relu()
        return self.judge(narrow.transpose(1, 2)).relu().squeeze(1)


@MODELS.register_module()
class SimilarityOrderPool(nn.Module):
    """Patches ordered by their likeness to the class token, pooled by learnt weights.

    The head of CLIMB (AAAI 2025); the sequence model between both is left to the caller.

    >>> from train.parts.pools import SimilarityOrderPool
    >>> SimilarityOrderPool(dim=24)(torch.randn(4, 11, 24)).shape
    torch.Size([4, 24])
    """

    def __init__(self, dim: int) -> None:
        """Make the norm and the weights of tokens with `dim` channels."""
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.weight = nn.Sequential(nn.Linear(dim, dim // 4), nn.Tanh(), nn.Linear(dim // 4, 1))

    def order(self, tokens: Tensor) -> Tensor:
        """Return `(N, L, C)`: the class token, then the patches by falling cosine with it."""
        first, patches = tokens[:, :1], tokens[:, 1:]
        likeness = torch.cosine_similarity(patches, first, dim=-1)
        order = likeness.argsort(dim=1, descending=True, stable=True)
        ordered = patches.gather(1, order[..., None].expand_as(patches))
        return torch.cat([first, ordered], dim=1)

    def pool(self, ordered: Tensor) -> tuple[Tensor, Tensor]:
        """Return the pooled feature `(N, C)` of `(N, L, C)` and the weights `(N, L)`."""
        ordered = self.norm(ordered)
        weights = self.weight(ordered).squeeze(-1).softmax(1)
        return torch.einsum("nl,nlc->nc", weights, ordered), weights

    def forward(self, tokens: Tensor) -> Tensor:
        """Return `(N, C)` of a frame's tokens `(N, L, C)`, class token first."""
        return self.pool(self.order(tokens))[0]
