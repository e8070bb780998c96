"""Frames that learn of each other without a parameter: patches and channels moved along time."""

from torch import Tensor

# Of the nine places of a 3 x 3 pattern: from how many frames before a patch comes (TPS, ECCV 2022).
PATTERN = ((-4, 1, 2), (-1, 0, 3), (-2, -3, 4))


def shift_patches(cells: Tensor, inverse: bool = False) -> Tensor:
    """Exchange patches between the frames of a clip, by their place in a 3 x 3 pattern.

    Args:
        cells: `(B, T, ..., H, W, C)`; what leaves at one end of the clip comes in at the other.
        inverse: Put back what was moved.

    >>> import torch
    >>> cells = torch.randn(1, 8, 6, 6, 2)
    >>> shift_patches(shift_patches(cells), inverse=True).equal(cells)
    True
    """
    moved = cells.clone()
    for row, steps in enumerate(PATTERN):
        for column, step in enumerate(steps):
            places = (..., slice(row, None, 3), slice(column, None, 3), slice(None))
            moved[places] = cells[places].roll(-step if inverse else step, dims=1)
    return moved


def shift_channels(tokens: Tensor, share: int = 8) -> Tensor:
    """Take some channels from the frame before and some from the frame after (TSM, ICCV 2019).

    Args:
        tokens: `(B, T, ..., C)`; the ends of the clip keep their own.
        share: One channel in so many is moved, each way.
    """
    count, moved = tokens.shape[-1] // share, tokens.clone()
    moved[:, 1:, ..., :count] = tokens[:, :-1, ..., :count]
    moved[:, :-1, ..., count : 2 * count] = tokens[:, 1:, ..., count : 2 * count]
    return moved
