"""Silhouettes of persons, from tokens or joints, and what they are refined by (DinoGRL)."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from train.registry import MODELS

EDGE_ROWS = 5


def foreground(shares: Tensor) -> Tensor:
    """Choose which of two channels is the person: not the one that fills top and bottom.

    Args:
        shares: `(N, H, W, 2)`.

    Returns:
        `(N, H, W)`: channel 0, or channel 1 where more than half of the first and last five rows
        of channel 0, rounded, are ones.
    """
    first = shares[..., 0].round()
    edge = first[:, :EDGE_ROWS].sum((1, 2)) + first[:, -EDGE_ROWS:].sum((1, 2))
    is_background = edge > EDGE_ROWS * shares.shape[2]
    return torch.where(is_background[:, None, None], shares[..., 1], shares[..., 0])


def refine(silhouette: Tensor) -> Tensor:
    """Close holes and keep doubt at the edge only.

    Args:
        silhouette: `(N, H, W)` shares.

    Returns:
        1 inside of what is left after dilating by 3 x 3 and eroding by 5 x 5, the share itself
        around it, 0 outside of what was dilated.
    """
    dilated = F.max_pool2d(silhouette.round()[:, None], 3, 1, 1)
    eroded = -F.max_pool2d(-dilated, 5, 1, 2)
    eroded, dilated = eroded[:, 0], dilated[:, 0]
    return torch.where(eroded > 0, eroded, silhouette * dilated)


def smoothness(maps: Tensor) -> Tensor:
    """Return how much `(N, C, H, W)` maps change from pixel to pixel: mean |Sobel|, both ways.

    The filters see the sum of the channels, as in the public code.
    """
    sobel = maps.new_tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]])
    filters = torch.stack([sobel, sobel.T])[:, None]
    edges = F.conv2d(maps.sum(1, keepdim=True), filters, padding=1)
    return edges.abs().sum() / maps.numel()


def sameness(shares: Tensor) -> Tensor:
    """Return how unequally frames use channels: log2 of their number minus their entropy in bits.

    Args:
        shares: `(N, L, C)` shares of the channels at each place of a frame.
    """
    share = shares.sum(1)
    share = share / share.sum(1, keepdim=True)
    entropy = -(share * share.clamp(min=1e-9).log2()).sum(1)
    return math.log2(shares.shape[2]) - entropy.mean()


class MaskBranch(nn.Module):
    """Two shares of each place, person and ground, learnt by describing its token again."""

    def __init__(self, dim: int, channels: int = 2) -> None:
        """Make the branch for tokens of `dim` channels."""
        super().__init__()
        self.norm = nn.BatchNorm1d(dim, affine=False)
        self.shrink, self.grow = nn.Linear(dim, channels), nn.Linear(channels, dim)

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Return the shares `(N, 2)` of `(N, C)` tokens, and the loss of describing them again."""
        shares = self.shrink(self.norm(tokens)).softmax(1)
        return shares, F.mse_loss(self.grow(shares), tokens)


class PartBranch(nn.Module):
    """Shares of each place in a few parts nobody named."""

    def __init__(self, dim: int, channels: int = 16, hidden: int | None = None) -> None:
        """Make the branch for tokens of `dim` channels; `hidden` is half of them if left out."""
        super().__init__()
        hidden = hidden or dim // 2
        self.shrink = nn.Sequential(
            nn.BatchNorm1d(dim, affine=False),
            nn.Linear(dim, hidden),
            nn.BatchNorm1d(hidden, affine=False),
            nn.GELU(),
            nn.Linear(hidden, channels),
        )

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the shares `(N, channels)` of `(N, C)` tokens; they sum to one."""
        return self.shrink(tokens).softmax(1)


class LookBranch(nn.Module):
    """A few numbers in (0, 1) for how a place looks."""

    def __init__(self, dim: int, channels: int = 16) -> None:
        """Make the branch for tokens of `dim` channels."""
        super().__init__()
        self.shrink = nn.Sequential(
            nn.BatchNorm1d(dim, affine=False),
            nn.Linear(dim, channels),
            nn.BatchNorm1d(channels, affine=False),
        )

    def forward(self, tokens: Tensor) -> Tensor:
        """Return `(N, channels)` of `(N, C)` tokens."""
        return self.shrink(tokens).sigmoid()


@MODELS.register_module()
class StreamFusion(nn.Module):
    """Two maps become one: at each place, frame and channel one weighs against the other.

    >>> from train.parts.silhouettes import StreamFusion
    >>> one, other = torch.randn(6, 8, 6, 4), torch.randn(6, 8, 6, 4)
    >>> StreamFusion(dim=8)(one, other).shape
    torch.Size([6, 8, 6, 4])
    """

    def __init__(self, dim: int, hidden: int | None = None) -> None:
        """Make the weights of maps with `dim` channels; `hidden` is half of them if left out."""
        super().__init__()
        hidden = hidden or dim // 2
        self.weigh = nn.Sequential(
            nn.Conv2d(2 * dim, hidden, 1, bias=False),
            nn.BatchNorm2d(hidden),
            nn.ReLU(),
            nn.Conv2d(hidden, hidden, 3, padding=1, bias=False),
            nn.BatchNorm2d(hidden),
            nn.ReLU(),
            nn.Conv2d(hidden, 2 * dim, 1, bias=False),
        )

    def forward(self, one: Tensor, other: Tensor) -> Tensor:
        """Return `(N, C, H, W)` of two such maps."""
        weights = self.weigh(torch.cat([one, other], dim=1)).unflatten(1, (-1, 2)).softmax(2)
        return weights[:, :, 0] * one + weights[:, :, 1] * other
