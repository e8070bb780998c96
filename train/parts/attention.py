"""The one attention layer that the skeleton encoder, prototype fusion and SGTM are made of."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Attention(nn.Module):
    """Multi-head attention over the second last dimension, fused where the mathematics allows.

    >>> Attention(dim=8, heads=2)(torch.zeros(3, 5, 8)).shape
    torch.Size([3, 5, 8])
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        has_bias: bool = True,
        dropout: float = 0.0,
        clamp: float | None = None,
    ) -> None:
        """Make the projections.

        Args:
            dim: Channels of queries, keys, values and output.
            heads: Number of heads; divides `dim`.
            has_bias: Whether queries, keys and values have a bias. The output always has one.
            dropout: Share of attention weights dropped in training.
            clamp: Bound of the logits before the softmax; fused kernels have none.
        """
        super().__init__()
        self.heads, self.dropout, self.clamp = heads, dropout, clamp
        self.q = nn.Linear(dim, dim, bias=has_bias)
        self.k = nn.Linear(dim, dim, bias=has_bias)
        self.v = nn.Linear(dim, dim, bias=has_bias)
        self.out = nn.Linear(dim, dim)

    def forward(
        self, queries: Tensor, memory: Tensor | None = None, mask: Tensor | None = None
    ) -> Tensor:
        """Return `(B, N, C)`: what each query finds in the memory.

        Args:
            queries: `(B, N, C)`, or `(1, N, C)` when all samples share them.
            memory: `(B, M, C)` keys and values; the queries themselves when left out.
            mask: `(B, M)`, True where the memory counts. A sample whose memory counts nowhere
                gets the output's bias only.
        """
        memory = queries if memory is None else memory
        batch = max(len(queries), len(memory))
        q, k, v = (part.expand(batch, -1, -1) for part in self.project(queries, memory))
        return self.attend(q, k, v, mask)

    def project(self, queries: Tensor, memory: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return queries `(B, N, C)`, keys and values `(B, M, C)`: of each token alone."""
        return self.q(queries), self.k(memory), self.v(memory)

    def attend(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return `(B, N, C)`, from what `project` gave; mask as for `forward`."""
        q, k, v = (self._split(part) for part in (q, k, v))
        if mask is not None:
            # A softmax over nothing is NaN: such samples attend to zeros instead.
            is_empty = ~mask.any(1)
            v = v.masked_fill(is_empty[:, None, None, None], 0.0)
            mask = (mask | is_empty[:, None])[:, None, None]
        dropout = self.dropout if self.training else 0.0
        if self.clamp is None:
            found = F.scaled_dot_product_attention(q, k, v, mask, dropout)
        else:
            logits = (q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])).clamp(
                -self.clamp, self.clamp
            )
            if mask is not None:
                logits = logits.masked_fill(~mask, -math.inf)
            found = F.dropout(logits.softmax(-1), dropout) @ v
        return self.out(found.transpose(1, 2).flatten(2))

    def _split(self, tokens: Tensor) -> Tensor:
        return tokens.unflatten(2, (self.heads, -1)).transpose(1, 2)


def position_code(length: int, dim: int, device: torch.device) -> Tensor:
    """Return the sine and cosine code of positions 0..`length`-1, `(T, C)`.

    >>> position_code(2, 4, torch.device("cpu"))[0].tolist()
    [0.0, 0.0, 1.0, 1.0]
    """
    steps = torch.arange(length, device=device, dtype=torch.float32)[:, None]
    half = (dim + 1) // 2
    angles = steps * torch.exp(
        torch.arange(half, device=device, dtype=torch.float32) * (-math.log(10_000.0) / half)
    )
    return torch.cat([angles.sin(), angles.cos()], dim=1)[:, :dim]
