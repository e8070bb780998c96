"""How frames, silhouettes and joints move to other places."""

from typing import Any

import cv2
import torch
from torch import Tensor

from pipeline.skeleton import COCO17


def mirrored(kps: Tensor) -> Tensor:
    """Return 2D joints `(T, 17, 3)` of the mirrored frames; those that were not found stay zero."""
    found = kps[:, COCO17.flip]
    x = torch.where(found[..., 2] > 0, 1 - found[..., 0], found[..., 0])
    return torch.cat([x[..., None], found[..., 1:]], dim=-1)


def mirror(frames: Tensor) -> None:
    """Mirror frames in place, one by one as they lie in memory: much faster than torch."""
    for image in frames.permute(0, 2, 3, 1).numpy():
        image[:] = cv2.flip(image, 1).reshape(image.shape)


def shifted(frames: Tensor, down: int, right: int, value: Any) -> Tensor:
    """Return `(..., H, W)` moved down and to the right, with a value where nothing came from."""
    height, width = frames.shape[-2:]
    out = torch.empty_like(frames)
    out[:] = value
    rows, columns = height - abs(down), width - abs(right)
    top, left = max(down, 0), max(right, 0)
    source = frames[..., top - down : top - down + rows, left - right : left - right + columns]
    out[..., top : top + rows, left : left + columns] = source
    return out
