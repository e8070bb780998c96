"""PFU: prototypes of the training identities, fused from two modalities, updated for each clip.

After CSIP-ReID (arXiv 2511.13150, section 3.3).
"""

import torch
from torch import Tensor, nn

from train.parts.attention import Attention
from train.parts.precision import in_float32, unit
from train.registry import MODELS


@MODELS.register_module()
class PrototypeFusion(nn.Module):
    """One prototype of each identity, from a visual and a skeleton one.

    >>> from train.parts.prototypes import PrototypeFusion
    >>> fusion = PrototypeFusion(dim=16)
    >>> fusion(torch.randn(7, 16), torch.randn(7, 16)).shape
    torch.Size([7, 16])
    """

    def __init__(self, dim: int = 512) -> None:
        """Make the gate of prototypes with `dim` channels."""
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(2 * dim, dim), nn.ReLU(), nn.Linear(dim, 1))

    def gate(self, skeleton: Tensor, visual: Tensor) -> Tensor:
        """Return `(K, 1)` in (0, 1): how much of a prototype comes from the skeleton."""
        return self.mlp(torch.cat([skeleton, visual], dim=-1)).sigmoid()

    def forward(self, skeleton: Tensor, visual: Tensor) -> Tensor:
        """Return the fused prototypes `(K, C)`."""
        gate = self.gate(skeleton, visual)
        return gate * skeleton + (1 - gate) * visual


@MODELS.register_module()
class PrototypeUpdater(nn.Module):
    """What a clip adds to the prototypes, so that they are compared in its own light.

    >>> from train.parts.prototypes import PrototypeUpdater
    >>> updater = PrototypeUpdater(dim=64, heads=1)
    >>> updater(torch.randn(1, 7, 64), torch.randn(3, 11, 64)).shape
    torch.Size([3, 7, 64])
    """

    def __init__(
        self, dim: int = 512, layers: int = 2, heads: int | None = None, dropout: float = 0.1
    ) -> None:
        """Make the decoder.

        Args:
            dim: Channels.
            layers: Decoder layers.
            heads: Attention heads; None takes one per 64 channels.
            dropout: In the layers.
        """
        super().__init__()
        heads = heads or max(1, dim // 64)
        self.read_tokens = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, dim), nn.LayerNorm(dim))
        self.read_prototypes = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, dim))
        self.layers = nn.ModuleList(_DecoderLayer(dim, heads, dropout) for _ in range(layers))
        self.write = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, dim))
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, prototypes: Tensor, tokens: Tensor) -> Tensor:
        """Return the update `(B, K, C)`, before the residual.

        Args:
            prototypes: `(B, K, C)`, or `(1, K, C)` when all clips start from the same: the first
                self-attention is then computed once for all of them.
            tokens: `(B, L, C)` visual and skeleton tokens of the clips.
        """
        memory = self.read_tokens(tokens)
        prototypes = self.read_prototypes(prototypes)
        for layer in self.layers:
            prototypes = layer(prototypes, memory)
        return self.write(prototypes)


class _DecoderLayer(nn.Module):
    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.self_attention = Attention(dim, heads, has_bias=False)
        self.cross_attention = Attention(dim, heads, has_bias=False)
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(dim) for _ in range(3))
        self.mlp = nn.Sequential(
            nn.Linear(dim, dim * 4), QuickGELU(), nn.Dropout(dropout), nn.Linear(dim * 4, dim)
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, prototypes: Tensor, memory: Tensor) -> Tensor:
        x = prototypes + self.dropout(self.self_attention(self.norm1(prototypes)))
        x = x + self.dropout(self.cross_attention(self.norm2(x), memory))
        return x + self.dropout(self.mlp(self.norm3(x)))


class QuickGELU(nn.Module):
    """The GELU of CLIP: `x * sigmoid(1.702 x)`."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the activation."""
        return x * torch.sigmoid(1.702 * x)


@in_float32
def prototype_logits(features: Tensor, prototypes: Tensor) -> Tensor:
    """Return the cosine `(B, K)` of features `(B, C)` with each clip's prototypes `(B, K, C)`."""
    return torch.einsum("bc,bkc->bk", unit(features), unit(prototypes))
