"""A small network for fine heatmaps: down to a 32nd of the input, and up again with what was seen.

The features of every scale on the way down are added on the way up (Ronneberger et al., MICCAI
2015; Lin et al., CVPR 2017): the coarse ones know the whole body, the fine ones where an edge is.
"""

import torch.nn.functional as F
from mmpose.registry import MODELS
from torch import Tensor, nn


@MODELS.register_module()
class UNet(nn.Module):
    """Residual stages from a quarter of the input down, then up again to a quarter.

    Almost all of the work is done at a quarter and coarser: the first convolution alone looks at
    whole pixels, eight wide, and a CPU waits for memory there, not for arithmetic.
    """

    def __init__(self, channels: tuple[int, ...], blocks: tuple[int, ...]) -> None:
        """Build the network.

        Args:
            channels: Of each stage, finest first; the output has those of the first.
            blocks: Residual blocks of each stage.
        """
        super().__init__()
        first = nn.Conv2d(3, channels[0], 8, 4, 2, bias=False)
        self.stem = nn.Sequential(first, nn.BatchNorm2d(channels[0]), nn.ReLU(inplace=True))
        before = (channels[0], *channels[:-1])
        self.down = nn.ModuleList(
            nn.Sequential(_Block(old, new, 1 + (i > 0)), *(_Block(new, new) for _ in range(n - 1)))
            for i, (old, new, n) in enumerate(zip(before, channels, blocks, strict=True))
        )
        self.up = nn.ModuleList(
            _Merge(coarse, fine)
            for coarse, fine in zip(channels[:0:-1], channels[-2::-1], strict=True)
        )

    def forward(self, images: Tensor) -> tuple[Tensor]:
        """Return the features `(B, C, H / 4, W / 4)` of images `(B, 3, H, W)`, sides in 32nds."""
        x, seen = self.stem(images), []
        for stage in self.down:
            x = stage(x)
            seen.append(x)
        for merge, fine in zip(self.up, seen[-2::-1], strict=True):
            x = merge(x, fine)
        return (x,)


def _convolution(inside: int, outside: int, size: int, stride: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(inside, outside, size, stride, size // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outside))


class _Block(nn.Module):
    """Two convolutions and a way around them (He et al., CVPR 2016)."""

    def __init__(self, inside: int, outside: int, stride: int = 1) -> None:
        super().__init__()
        self.first = _convolution(inside, outside, 3, stride)
        self.second = _convolution(outside, outside, 3)
        is_same = inside == outside and stride == 1
        self.around = nn.Identity() if is_same else _convolution(inside, outside, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.second(F.relu(self.first(x), inplace=True)) + self.around(x))


class _Merge(nn.Module):
    """Add coarse features, drawn twice as large, to fine ones."""

    def __init__(self, coarse: int, fine: int) -> None:
        super().__init__()
        self.coarse = _convolution(coarse, fine, 1)
        self.fine = _convolution(fine, fine, 1)
        self.both = _convolution(fine, fine, 3)

    def forward(self, coarse: Tensor, fine: Tensor) -> Tensor:
        larger = F.interpolate(self.coarse(coarse), scale_factor=2.0, mode="nearest")
        return F.relu(self.both(F.relu(larger + self.fine(fine), inplace=True)), inplace=True)
