"""The columns of a batch that come from shards, beside the frames: what is there, and how it looks.

`train.parts.batch` says what each means to a model.
"""

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch
from torch import Tensor

from pipeline import images
from pipeline.errors import PipelineError, did_you_mean
from pipeline.schema import PLATFORMS, SPECTRA, VIEW

if TYPE_CHECKING:
    import pandas as pd

    from shards.read import Shards

# Of every frame, and of a whole tracklet.
OF_FRAMES = ("frames", "xyz", "kps", "silhouettes", "erased", "heights")
OF_TRACKLETS = ("camids", *VIEW)
# Of what is said about it (`train.data.captions`).
OF_CAPTIONS = ("words", "text")
_NAMED = {"spectrum": SPECTRA, "platform": PLATFORMS}


def check_needs(shards: "Shards", table: "pd.DataFrame", needs: Collection[str]) -> None:
    """Check that shards hold what a system needs.

    Args:
        shards: The shards.
        table: The tracklets that are used.
        needs: Names of columns of a batch.

    Raises:
        PipelineError: If there is no column of that name, or the shards hold nothing in it.
    """
    for name in needs:
        known = (*OF_FRAMES, *OF_TRACKLETS, *OF_CAPTIONS)
        if name not in known:
            raise PipelineError(f"no batch has a column {name!r}. {did_you_mean(name, known)}")
        if not _holds(shards, table, name):
            raise PipelineError(
                f"the system needs {name}, and {shards.folder} holds none{_advice(name)}"
            )


def _holds(shards: "Shards", table: "pd.DataFrame", name: str) -> bool:
    if name in VIEW:
        return bool(table[name].notna().any())
    if name == "kps":
        return shards.metadata.get("layout2d") != "none"
    if name == "silhouettes":
        return shards.has_silhouettes
    return shards.has_frames if name in ("frames", "erased", "heights") else True


def _advice(name: str) -> str:
    if name == "silhouettes":
        return ". Set silhouettes.draw: true, or put silhouettes.parquet beside the frames"
    if name in VIEW:
        return ": its dataset does not say. Name another system, or another dataset, in the run"
    return ": skeletons without frames. Give the run model: skeleton, encoder: none"


def seen(table: "pd.DataFrame") -> dict[str, Tensor]:
    """Return how each of `N` tracklets was seen, a column `(N,)` for each of `OF_TRACKLETS`."""
    found = {"camids": torch.tensor(table["camid"].to_numpy().astype(np.int64))}
    for name in VIEW:
        column = table[name]
        if name in _NAMED:
            codes = {value: i for i, value in enumerate(_NAMED[name], 1)}
            values = np.array([codes.get(value, 0) for value in column], np.int64)
        elif name == "clothes":
            values = column.fillna(-1).to_numpy().astype(np.int64)
        else:
            values = column.to_numpy().astype(np.float32)
        found[name] = torch.from_numpy(values)
    return found


def joints_2d(shards: "Shards", rows: np.ndarray) -> Tensor:
    """Return COCO-17 joints of some frames of shards as `placed` gives them, `(T, 17, 3)`."""
    sizes = np.stack([shards.width[rows], shards.height[rows]], axis=1)
    return placed(shards.xy_px[rows], shards.score[rows], sizes)


def placed(xy_px: np.ndarray, score: np.ndarray, sizes: np.ndarray) -> Tensor:
    """Return x, y in [0, 1] of the frame and the score of joints, `(T, 17, 3)`.

    A pixel's middle is half a pixel from its edge, so 1 - x is the mirrored place. A frame without
    joints has zeros.

    Args:
        xy_px: `(T, 17, 2)` in pixels.
        score: `(T, 17)`.
        sizes: Width and height of each frame in pixels, `(T, 2)`.
    """
    places = (xy_px + 0.5) / np.maximum(sizes, 1)[:, None]
    found = np.concatenate([places, score[..., None]], axis=2)
    return torch.from_numpy(np.where(np.isfinite(found), found, 0).astype(np.float32))


def skeletons(xyz: np.ndarray) -> tuple[Tensor, Tensor]:
    """Return `(T, J, 3)` joints, zeros where a frame has none, and where it has some, `(T,)`."""
    mask = torch.from_numpy(xyz).isfinite().all(-1).all(-1)
    return torch.from_numpy(xyz).where(mask[:, None, None], torch.tensor(0.0)), mask


def silhouettes(shards: "Shards", rows: Iterable[int], size: tuple[int, int]) -> Tensor:
    """Return where the person is seen, `(T, H, W)` of 0 and 1; zeros where nobody knows."""
    nothing = np.zeros(size, np.uint8)
    pngs = shards.silhouettes(rows)
    return masks([nothing if png is None else images.decode_mask(png) for png in pngs], size)


def masks(whole: Iterable[np.ndarray], size: tuple[int, int]) -> Tensor:
    """Return masks `(h, w)` of 0 and 255 in a model's size of frames, `(T, H, W)` of 0 and 1."""
    small = [cv2.resize(one, size[::-1], interpolation=cv2.INTER_AREA) for one in whole]
    return torch.from_numpy((np.stack(small) > 127).astype(np.uint8))
