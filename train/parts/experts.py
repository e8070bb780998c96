"""Experts on the inner layers of an encoder that stays as it is, and how pairs weigh them.

After HAMoBE (arXiv 2508.05038). Its code is not public; sizes, losses and the form of the gate are
our reading of the paper's abstract and figures.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from train.parts.attention import Attention, position_code
from train.parts.batch import masked_mean
from train.parts.losses import hardest_of, mean_of
from train.parts.pools import AttentionPool
from train.parts.precision import in_float32, unit
from train.parts.prototypes import QuickGELU
from train.registry import MODELS


class _Block(nn.Module):
    """A block of a transformer, norms first."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.norm, self.attention = nn.LayerNorm(dim), Attention(dim, heads)
        self.mlp = nn.Sequential(
            nn.LayerNorm(dim), nn.Linear(dim, 4 * dim), QuickGELU(), nn.Linear(4 * dim, dim)
        )

    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        tokens = tokens + self.attention(self.norm(tokens), mask=mask)
        return tokens + self.mlp(tokens)


@MODELS.register_module()
class TapMixer(nn.Module):
    """One expert's own mixture of an encoder's layers, and a block within each frame.

    >>> from train.parts.experts import TapMixer
    >>> taps = [torch.randn(2, 3, 9, 16), torch.randn(2, 3, 9, 32)]
    >>> TapMixer([16, 32], dim=24, heads=4)(taps).shape
    torch.Size([2, 3, 9, 24])
    """

    def __init__(self, widths: Sequence[int], dim: int = 256, heads: int = 4) -> None:
        """Make it; at the start all layers count alike.

        Args:
            widths: Channels of each layer.
            dim: Channels of the expert.
            heads: Attention heads of the block.
        """
        super().__init__()
        self.read = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(width), nn.Linear(width, dim)) for width in widths
        )
        self.depth = nn.Parameter(torch.zeros(len(widths)))
        self.block = _Block(dim, heads)

    def forward(self, taps: Sequence[Tensor]) -> Tensor:
        """Return tokens `(B, T, L, D)` of layers `(B, T, L, C)`."""
        weights = self.depth.softmax(0)
        mixed: Any = sum(
            w * read(tap) for w, read, tap in zip(weights, self.read, taps, strict=True)
        )
        return self.block(mixed.flatten(0, 1)).unflatten(0, mixed.shape[:2])


@MODELS.register_module()
class AppearanceExpert(nn.Module):
    """What somebody looks like at the moment: the class tokens of the frames that show it best.

    >>> from train.parts.experts import AppearanceExpert
    >>> AppearanceExpert(dim=16)(torch.randn(2, 3, 9, 16)).shape
    torch.Size([2, 16])
    """

    def __init__(self, dim: int, heads: int = 4) -> None:
        """Make the pool; `heads` is not looked at."""
        super().__init__()
        self.pool = AttentionPool(dim)

    def forward(self, tokens: Tensor, frame_mask: Tensor | None = None) -> Tensor:
        """Return `(B, D)` of tokens `(B, T, L, D)`; `frame_mask` `(B, T)` as elsewhere."""
        return self.pool(tokens[:, :, 0], frame_mask)[0]


@MODELS.register_module()
class ShapeExpert(nn.Module):
    """What stays: the mean over all places and all frames.

    >>> from train.parts.experts import ShapeExpert
    >>> ShapeExpert(dim=16)(torch.randn(2, 3, 9, 16)).shape
    torch.Size([2, 16])
    """

    def __init__(self, dim: int, heads: int = 4) -> None:
        """Make the projection; `heads` is not looked at."""
        super().__init__()
        self.write = nn.Linear(dim, dim)

    def forward(self, tokens: Tensor, frame_mask: Tensor | None = None) -> Tensor:
        """Return `(B, D)` of tokens `(B, T, L, D)`; `frame_mask` `(B, T)` as elsewhere."""
        return self.write(masked_mean(tokens.mean(2), frame_mask))


@MODELS.register_module()
class GaitExpert(nn.Module):
    """How somebody moves: how frames differ from the clip's mean, which it never sees.

    >>> from train.parts.experts import GaitExpert
    >>> expert, tokens = GaitExpert(dim=16).eval(), torch.randn(2, 3, 9, 16)
    >>> expert(tokens + 1).allclose(expert(tokens), atol=1e-5)
    True
    """

    def __init__(self, dim: int, heads: int = 4, layers: int = 2) -> None:
        """Make `layers` blocks along time, of `heads` heads."""
        super().__init__()
        self.blocks = nn.ModuleList(_Block(dim, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(dim)

    def forward(self, tokens: Tensor, frame_mask: Tensor | None = None) -> Tensor:
        """Return `(B, D)` of tokens `(B, T, L, D)`; `frame_mask` `(B, T)` as elsewhere."""
        frames = tokens.mean(2)
        moves = frames - masked_mean(frames, frame_mask)[:, None]
        moves = moves + position_code(*moves.shape[1:], moves.device)
        for block in self.blocks:
            moves = block(moves, frame_mask)
        return masked_mean(self.norm(moves), frame_mask)


@MODELS.register_module()
class PairGate(nn.Module):
    """How much each expert counts for a pair, told by both sides and by how alike they are.

    Expert e counts `softmax_e(own_e . (u_q + u_k) + u_q' pair_e u_k + likeness_e cos_e)`, with
    `u` what the gate makes of all experts' features. At the start all count alike. It is the gate
    of `pipeline.distances.GatedDistances`, which takes it over after training.

    >>> from train.parts.experts import PairGate
    >>> gate, features = PairGate(experts=3, dim=16), torch.randn(5, 3, 16)
    >>> score, weights = gate(features, gate.asks(features))
    >>> score.shape, weights.shape, weights.unique().shape
    (torch.Size([5, 5]), torch.Size([3, 5, 5]), torch.Size([1]))
    """

    def __init__(self, experts: int, dim: int, width: int = 32) -> None:
        """Make the gate.

        Args:
            experts: E.
            dim: Channels D of an expert's feature.
            width: Channels U of what the gate looks at.
        """
        super().__init__()
        self.look = nn.Linear(experts * dim, width)
        self.own = nn.Parameter(torch.zeros(experts, width))
        self.pair = nn.Parameter(torch.zeros(experts, width, width))
        self.likeness = nn.Parameter(torch.zeros(experts))

    def asks(self, features: Tensor) -> Tensor:
        """Return `u`, `(B, U)`, of the features `(B, E, D)` of clips."""
        return self.look(unit(features).flatten(1))

    @in_float32
    def forward(self, features: Tensor, asks: Tensor) -> tuple[Tensor, Tensor]:
        """Return the scores `(B, B)` of all pairs of clips, and the experts' weights `(E, B, B)`.

        Args:
            features: `(B, E, D)`.
            asks: `(B, U)`, what `asks` made of them.
        """
        features = unit(features).transpose(0, 1)
        alike = features @ features.mT
        own = asks @ self.own.T
        says = own.T[:, :, None] + own.T[:, None]
        pair = (self.pair + self.pair.mT) / 2
        says = says + asks @ pair @ asks.T + self.likeness[:, None, None] * alike
        weights = says.softmax(0)
        return (weights * alike).sum(0), weights

    def comparison(self) -> dict[str, Any]:
        """Return what `pipeline.distances.distances_of` needs to do the same."""
        pair = (self.pair + self.pair.mT) / 2
        values = {"own": self.own, "pair": pair, "likeness": self.likeness}
        told = {name: value.detach().cpu().float().tolist() for name, value in values.items()}
        return {"kind": "gated", "experts": len(self.own)} | told


@in_float32
def imbalance(weights: Tensor) -> Tensor:
    """Return how far the mean weights `(E, B, B)` are from alike: KL divergence, in nats.

    >>> imbalance(torch.full((2, 3, 3), 0.5)).item()
    0.0
    """
    mean = weights.flatten(1).mean(1)
    return (mean * (mean * len(mean)).clamp(min=1e-12).log()).sum()


@MODELS.register_module()
class PairTripletLoss(nn.Module):
    """The hardest triplets by distances that a gate has made.

    Where the outfits of clips are known, positives may be those in other clothes alone, so that
    what is compared learns what stays.

    >>> from train.parts.experts import PairTripletLoss
    >>> labels = torch.tensor([0, 0, 1, 1])
    >>> PairTripletLoss()(1.0 * (labels[:, None] != labels), labels).item()
    0.0
    """

    def __init__(self, margin: float = 0.3) -> None:
        """Take the margin, in units of the distances."""
        super().__init__()
        self.margin = margin

    @in_float32
    def forward(self, distance: Tensor, labels: Tensor, clothes: Tensor | None = None) -> Tensor:
        """Return the mean over the clips that have a positive and a negative in the batch.

        Args:
            distance: `(B, B)`, none below zero.
            labels: `(B,)`.
            clothes: `(B,)`, the outfit, -1 where unknown. A clip whose person is seen in other
                clothes has these as its positives; any other clip has all of its person.
        """
        is_same = labels[:, None] == labels
        is_positive = is_same.clone().fill_diagonal_(False)
        if clothes is not None:
            is_known = (clothes >= 0) & (clothes >= 0)[:, None]
            is_other = is_positive & is_known & (clothes[:, None] != clothes)
            is_positive = torch.where(is_other.any(1, keepdim=True), is_other, is_positive)
        furthest, nearest, counts = hardest_of(distance, is_positive, ~is_same)
        return mean_of((self.margin + furthest - nearest).relu(), counts)
