"""Which part of a frame becomes a crop, and cutting it out."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np

from extract.tracks.boxes import Box

_QUALITY = 95


@dataclass(frozen=True)
class Shape:
    """How crops are cut.

    Attributes:
        margin: What is added at each side of a box, as a share of its height.
        aspect: Width by height of a crop: a box is widened or heightened to it, so that nobody is
            squeezed when all crops are made equally large. 0 leaves boxes as they are.
        min_height_px: A box that is less high within the picture is left out.
    """

    margin: float = 0.05
    aspect: float = 0.5
    min_height_px: int = 48


class Crop(NamedTuple):
    """A crop to make: of which frame and track, and left, top, right, bottom in pixels.

    A window may reach over the edge of the picture, where its outermost pixels are repeated.
    """

    frame: int
    track: str
    window: tuple[int, int, int, int]


def plan(boxes: Iterable[Box], size: tuple[int, int], shape: Shape, counted: Counter) -> list[Crop]:
    """Return the crops of some boxes.

    Args:
        boxes: In pixels.
        size: Width and height of the picture.
        shape: How to cut.
        counted: Counts what is clipped at the edge and what is left out.
    """
    crops = []
    for box in boxes:
        edges = _clipped(box, size)
        if edges is None:
            counted["outside the picture"] += 1
            continue
        left, top, right, bottom = edges
        if bottom - top < shape.min_height_px:
            counted[f"less than {shape.min_height_px} pixels high"] += 1
            continue
        if edges != (box.x, box.y, box.x + box.width, box.y + box.height):
            counted["clipped"] += 1
        crops.append(Crop(box.frame, box.track, window(left, top, right, bottom, shape)))
    return crops


def _clipped(box: Box, size: tuple[int, int]) -> tuple[float, float, float, float] | None:
    """Return what of a box lies in the picture; None if not a whole pixel does."""
    left, top = max(0.0, box.x), max(0.0, box.y)
    right, bottom = min(size[0], box.x + box.width), min(size[1], box.y + box.height)
    return (left, top, right, bottom) if right - left >= 1 and bottom - top >= 1 else None


def window(
    left: float, top: float, right: float, bottom: float, shape: Shape
) -> tuple[int, int, int, int]:
    """Return the window of a box: with its margin, and of the aspect that is wanted.

    >>> window(100, 100, 120, 180, Shape(margin=0, aspect=0.5))
    (90, 100, 130, 180)
    >>> window(100, 100, 180, 180, Shape(margin=0.1, aspect=0.5))
    (92, 44, 188, 236)
    """
    added = shape.margin * (bottom - top)
    width, height = right - left + 2 * added, bottom - top + 2 * added
    if shape.aspect:
        width, height = max(width, shape.aspect * height), max(height, width / shape.aspect)
    # Whole numbers of the size first: rounding edges would let the aspect tremble.
    wide, high = max(1, round(width)), max(1, round(height))
    x, y = round((left + right - wide) / 2), round((top + bottom - high) / 2)
    return x, y, x + wide, y + high


def cut(image: np.ndarray, edges: tuple[int, int, int, int]) -> np.ndarray:
    """Return a window `(H, W, 3)` of a picture, its edge repeated where the window is wider."""
    left, top, right, bottom = edges
    height, width = image.shape[:2]
    inside = image[max(0, top) : max(0, bottom), max(0, left) : max(0, right)]
    over = (max(0, -top), max(0, bottom - height), max(0, -left), max(0, right - width))
    if not any(over):
        return np.ascontiguousarray(inside)
    return cv2.copyMakeBorder(inside, *over, cv2.BORDER_REPLICATE)


def jpeg(image: np.ndarray) -> bytes:
    """Encode BGR pixels."""
    return cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1].tobytes()
