"""A first convolution for each spectrum: infrared light is no colour, though it comes as three."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.errors import PipelineError

# Of the column `spectrum` of a batch (`train.parts.batch`).
INFRARED = 2


class SpectrumConv(nn.Conv2d):
    """A convolution that adds something of its own where a frame is infrared; nothing at first.

    So an encoder that was trained on visible light starts as it was, in both.

    Attributes:
        infrared: What is added to `weight` for infrared frames.
    """

    def __init__(self, conv: nn.Conv2d) -> None:
        """Take the place of a convolution, with its weights."""
        given: Any = conv
        super().__init__(
            conv.in_channels, conv.out_channels, given.kernel_size, given.stride, given.padding,
            given.dilation, bias=conv.bias is not None,
        )  # fmt: skip
        self.weight, self.bias = conv.weight, conv.bias
        self.infrared = nn.Parameter(torch.zeros_like(conv.weight))

    def forward(self, input: Tensor) -> Tensor:
        """Return the map of frames `(N, 2 * C, H, W)` that `by_spectrum` made, or `(N, C, H, W)`.

        The latter are visible.
        """
        if input.shape[1] == self.in_channels:
            return super().forward(input)
        weight = torch.cat([self.weight, self.infrared], dim=1)
        return F.conv2d(input, weight, self.bias, self.stride, self.padding, self.dilation)


def give_stems(encoder: nn.Module) -> None:
    """Let an encoder of frames tell the spectra apart from its first convolution on.

    Raises:
        PipelineError: If it does not begin with a plain convolution of three channels.
    """
    for name, module in encoder.named_modules():
        if isinstance(module, nn.Conv2d):
            if type(module) is not nn.Conv2d or module.in_channels != 3 or module.groups != 1:
                break
            encoder.set_submodule(name, SpectrumConv(module))
            return
    raise PipelineError(
        f"{type(encoder).__name__} does not begin with a convolution of three colours, so spectra "
        "cannot have one each. Set stage2.settings.without: [stems], or name another encoder"
    )


def by_spectrum(frames: Tensor, spectrum: Tensor) -> Tensor:
    """Return frames `(N, 6, H, W)`: as they are, and again, but zero where they are not infrared.

    Args:
        frames: `(N, 3, H, W)`.
        spectrum: `(N,)`; of an unknown one, 0, nothing is added.
    """
    is_infrared = (spectrum == INFRARED).to(frames.dtype)[:, None, None, None]
    return torch.cat([frames, frames * is_infrared], dim=1)
