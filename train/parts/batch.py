"""What a batch holds.

A batch is `dict(inputs=..., labels=(B,))` with these inputs:

- `frames` `(B, T, 3, H, W)`, uint8, or float in [0, 1];
- `frame_mask` `(B, T)`, True where the frame is good; all are when left out;
- `xyz` `(B, T, J, 3)` skeletons, left out at test when the descriptor is visual;
- `mask` `(B, T)`, True where the skeleton is good; all are when left out;
- `visual` `(B, D)`, visual features made before, in place of `frames` (stage 1 only).

Of each frame, where the system needs it:

- `kps` `(B, T, 17, 3)`, COCO-17 joints: x and y in [0, 1] of the frame, and the score; zeros where
  unknown;
- `silhouettes` `(B, T, H, W)`, 1 where the person is seen, else 0; zeros where unknown;
- `erased` `(B, T)`, True where training painted over a part of the frame;
- `heights` `(B, T)`, pixels that the frame was high when it was taken.

How a clip was seen, always there:

- `camids` `(B,)`;
- `spectrum` `(B,)`: 1 visible, 2 infrared; `platform` `(B,)`: 1 ground, 2 aerial; 0 unknown;
- `altitude_m`, `distance_m`, `angle_deg` `(B,)`, NaN where unknown;
- `clothes` `(B,)`, an outfit of the person, -1 where unknown.

What was said about a clip, in training alone and where the system needs it:

- `words` `(B, W)`: numbers of the words of one sentence, 0 where there is none;
- `text` `(B, E)`: what a text encoder made of it, zeros where there is none.

A system says in `needs` what it looks at in training, and in `needs_at_test` what at test. What
shards lack is an error before anything runs, and at test a model is given nothing else.
"""

from collections.abc import Collection, Mapping

import torch
from torch import Tensor

Inputs = Mapping[str, Tensor]
# A mask comes with what it is a mask of.
_MASKS = {"mask": "xyz"}


def only(inputs: Inputs, names: Collection[str]) -> Inputs:
    """Return the columns of some names alone, with their masks."""
    return {
        name: value
        for name, value in inputs.items()
        if name in names or name == "frame_mask" or _MASKS.get(name) in names
    }


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


def masked_max(values: Tensor, mask: Tensor | None) -> Tensor:
    """Return the largest of `(B, T, ...)` over the frames that count; zero where none does.

    >>> masked_max(torch.tensor([[1.0, 5.0]]), torch.tensor([[True, False]])).item()
    1.0
    """
    if mask is None:
        return values.amax(1)
    counts = mask.view(*mask.shape, *[1] * (values.dim() - 2))
    found = values.masked_fill(~counts, torch.finfo(values.dtype).min).amax(1)
    return found.masked_fill(~counts.any(1), 0.0)
