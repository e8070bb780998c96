"""Super-resolution in front of an encoder, trained by the task (S3-CLIP, arXiv 2601.08807)."""

from typing import Any

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
        self.mean: Tensor
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
        return self.detail(frames) + self.mean

    def detail(self, frames: Tensor) -> Tensor:
        """Return the picture without the mean of all pictures."""
        height, width = frames.shape[-2:]
        pad = (0, -width % self.window, 0, -height % self.window)
        shallow = self.first(F.pad(frames, pad, mode="reflect") - self.mean)
        deep = self.norm_in(shallow.permute(0, 2, 3, 1))
        for group in self.groups:
            deep = group(deep)
        deep = self.after(self.norm(deep).permute(0, 3, 1, 2)) + shallow
        high = self.shuffle(self.last(deep))
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
        """Return `(M, 3, s h, s w)` of `(M, 3, h, w)` frames."""
        return self.detail(frames)

    def detail(self, frames: Tensor) -> Tensor:
        """Return the same: it knows no mean of all pictures."""
        deep = self.first(frames)
        for block in self.blocks:
            deep = deep + block(deep)
        return self.shuffle(self.last(deep))


@MODELS.register_module()
class SuperResolver(nn.Module):
    """Draws small frames anew at the encoder's size; exactly bicubic at the start.

    Frames come enlarged from the height they were taken at. What was at most `1 / scale` of the
    encoder's height is shrunk back to that, which loses nothing, and enlarged by the network, whose
    detail is added to what bicubic interpolation gives. Other frames stay as they are, to the bit.

    >>> import torch
    >>> from train.encoders.resolve import SuperResolver
    >>> resolver = SuperResolver(dict(type="train.encoders.resolve.ConvResolver"))
    >>> frames = torch.rand(2, 3, 32, 16)
    >>> resolver(frames, torch.tensor([8, 64]))[1].equal(frames[1])
    True
    """

    def __init__(self, net: dict[str, Any], scale: int = 2) -> None:
        """Build the network, which adds nothing at the start.

        Args:
            net: Configuration of a `ConvResolver` or `SwinResolver`.
            scale: How much it enlarges.
        """
        super().__init__()
        self.net, self.scale = MODELS.build({"scale": scale, **net}), scale
        nn.init.zeros_(self.net.last.weight)
        nn.init.zeros_(self.net.last.bias)

    def forward(self, frames: Tensor, heights: Tensor) -> Tensor:
        """Return the frames `(M, 3, H, W)`; `heights` `(M,)` says how high they were taken."""
        is_small = heights * self.scale <= frames.shape[-2]
        return torch.where(is_small[:, None, None, None], self.resolve(self.shrink(frames)), frames)

    def shrink(self, frames: Tensor) -> Tensor:
        """Return frames of a `scale`-th of the size, as if taken from farther away."""
        height, width = frames.shape[-2:]
        size = (height // self.scale, width // self.scale)
        return F.interpolate(frames, size, mode="bicubic", antialias=True)

    def resolve(self, small: Tensor) -> Tensor:
        """Return `(M, 3, s h, s w)` of small frames `(M, 3, h, w)`."""
        return self.enlarge(small) + self.net.detail(small)

    def enlarge(self, small: Tensor) -> Tensor:
        """Return what bicubic interpolation gives."""
        size = [side * self.scale for side in small.shape[-2:]]
        return F.interpolate(small, size, mode="bicubic")
