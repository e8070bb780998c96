"""What a batch holds.

A batch is `dict(inputs=..., labels=(B,))` with these inputs:

- `frames` `(B, T, 3, H, W)`, uint8, or float in [0, 1];
- `frame_mask` `(B, T)`, True where the frame is good; all are when left out;
- `xyz` `(B, T, J, 3)` skeletons, left out at test when the descriptor is visual;
- `mask` `(B, T)`, True where the skeleton is good; all are when left out;
- `camids` `(B,)`, optional;
- `visual` `(B, D)`, visual features made before, in place of `frames` (stage 1 only).
"""

from collections.abc import Mapping

import torch
from torch import Tensor

Inputs = Mapping[str, Tensor]


def has_skeleton(inputs: Inputs) -> Tensor:
    """Return `(B,)`, True for clips with at least one good skeleton."""
    if "mask" in inputs:
        return inputs["mask"].any(1)
    return torch.ones(len(inputs["xyz"]), dtype=torch.bool, device=inputs["xyz"].device)


def masked_mean(values: Tensor, mask: Tensor | None) -> Tensor:
    """Average `(B, T, ...)` over the frames that count; zero where none does.

    >>> masked_mean(torch.tensor([[1.0, 5.0]]), torch.tensor([[True, False]])).item()
    1.0
    """
    if mask is None:
        return values.mean(1)
    weights = mask.to(values.dtype).view(*mask.shape, *[1] * (values.dim() - 2))
    return (values * weights).sum(1) / weights.sum(1).clamp(min=1.0)
