"""Super-resolution in front of an encoder, trained by the task (S3-CLIP, arXiv 2601.08807)."""

import torch
import torch.nn.functional as F
from timm.models.swin_transformer import SwinTransformerBlock
from torch import Tensor, nn

from train.registry import MODELS

# SwinIR's mean of RGB in [0, 1] (DIV2K).
MEAN = (0.4488, 0.4371, 0.4040)


@MODELS.register_module()
class SwinResolver(nn.Module):
    """The light SwinIR (Liang et al., arXiv 2108.10257): windows of attention, pixel shuffle.

    >>> from train.encoders.resolve import SwinResolver
    >>> SwinResolver(dim=12, depths=(2,), heads=2, window=4)(torch.rand(2, 3, 10, 6)).shape
    torch.Size([2, 3, 20, 12])
    """

    def __init__(
        self,
        scale: int = 2,
        dim: int = 60,
        depths: tuple[int, ...] = (6, 6, 6, 6),
        heads: int = 6,
        window: int = 8,
        mlp_ratio: float = 2.0,
    ) -> None:
        """Build the network; it starts as what it is, not as bicubic: see `SuperResolver`.

        Args:
            scale: How much larger the picture gets.
            dim: Channels.
            depths: Blocks of each group.
            heads: Attention heads.
            window: Side of a window in pixels; pictures are padded to a multiple of it.
            mlp_ratio: Hidden channels of the MLPs, as a multiple of `dim`.
        """
        super().__init__()
        self.window = window
        self.first = nn.Conv2d(3, dim, 3, padding=1)
        self.norm_in, self.norm = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.groups = nn.ModuleList(
            _Group(dim, depth, heads, window, mlp_ratio) for depth in depths
        )
        self.after = nn.Conv2d(dim, dim, 3, padding=1)
        self.last = nn.Conv2d(dim, 3 * scale**2, 3, padding=1)
        self.shuffle, self.scale = nn.PixelShuffle(scale), scale
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1), persistent=False)

    def forward(self, frames: Tensor) -> Tensor:
        """Return `(M, 3, s h, s w)` of `(M, 3, h, w)` frames in [0, 1]."""
        height, width = frames.shape[-2:]
        pad = (0, -width % self.window, 0, -height % self.window)
        shallow = self.first(F.pad(frames, pad, mode="reflect") - self.mean)
        deep = self.norm_in(shallow.permute(0, 2, 3, 1))
        for group in self.groups:
            deep = group(deep)
        deep = self.after(self.norm(deep).permute(0, 3, 1, 2)) + shallow
        high = self.shuffle(self.last(deep)) + self.mean
        return high[..., : height * self.scale, : width * self.scale]


class _Group(nn.Module):
    def __init__(self, dim: int, depth: int, heads: int, window: int, mlp_ratio: float) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            SwinTransformerBlock(
                dim,
                # Larger than a window, or timm would not shift; masks follow the picture.
                input_resolution=(2 * window, 2 * window),
                num_heads=heads,
                window_size=window,
                shift_size=(number % 2) * (window // 2),
                always_partition=True,
                dynamic_mask=True,
                mlp_ratio=mlp_ratio,
            )
            for number in range(depth)
        )
        self.conv = nn.Conv2d(dim, dim, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        deep = x
        for block in self.blocks:
            deep = block(deep)
        return self.conv(deep.permute(0, 3, 1, 2)).permute(0, 2, 3, 1) + x


@MODELS.register_module()
class ConvResolver(nn.Module):
    """A small residual network for the CPU.

    >>> from train.encoders.resolve import ConvResolver
    >>> ConvResolver()(torch.rand(2, 3, 10, 6)).shape
    torch.Size([2, 3, 20, 12])
    """

    def __init__(self, scale: int = 2, dim: int = 32, depth: int = 8) -> None:
        """Build `depth` convolutions of `dim` channels, two to a residual."""
        super().__init__()
        self.scale, self.first = scale, nn.Conv2d(3, dim, 3, padding=1)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(dim, dim, 3, padding=1), nn.ReLU(), nn.Conv2d(dim, dim, 3, padding=1)
            )
            for _ in range(depth // 2)
        )
        self.last = nn.Conv2d(dim, 3 * scale**2, 3, padding=1)
        self.shuffle = nn.PixelShuffle(scale)

    def forward(self, frames: Tensor) -> Tensor:
        """Return `(M, 3, s h, s w)` of `(M, 3, h, w)` frames in [0, 1]."""
        deep = self.first(frames)
        for block in self.blocks:
            deep = deep + block(deep)
        return self.shuffle(self.last(deep))
