"""What is given of a tracklet that is in no dataset: frames, and what belongs to each."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from pipeline import images, paths
from pipeline.errors import PipelineError

Frame = np.ndarray | str | Path
# What nobody sees in a picture, and has to be given; the shape of each frame's.
GIVEN = {"xyz": "(J, 3)", "kps": "(17, 3)", "silhouettes": "(H, W)"}


def rows_of(name: str, values: Any, rows: np.ndarray) -> Any:
    """Return what some frames have of what was given.

    Raises:
        PipelineError: If it has not its shape.
    """
    own = [np.asarray(values[row]) for row in rows]
    wanted = {"kps": (17, 3)}.get(name, own[0].shape)
    is_good = own[0].ndim == 2 and all(one.shape == wanted for one in own)
    if name == "xyz":
        is_good = is_good and wanted[1:] == (3,)
    if name == "silhouettes":
        is_good = all(one.ndim == 2 and one.size for one in own)
    if not is_good or own[0].dtype.kind not in "biuf":
        raise PipelineError(
            f"{name} of a frame has the shape {own[0].shape}. Give numbers {GIVEN[name]}"
        )
    return own if name == "silhouettes" else np.stack(own).astype(np.float32)


def pictures_of(frames: Sequence[Frame], size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Return frames `(T, H, W, 3)` of a size, and the width and height that each had, `(T, 2)`.

    Files are decoded as shards are: smaller at once where that leaves enough pixels of all.
    """
    from train.data.tracklets import shrink_of

    whole = [_whole(frame) for frame in frames]
    sizes = np.array([picture.shape[1::-1] for picture, _ in whole])
    shrink = shrink_of(int(sizes[:, 1].min()), int(sizes[:, 0].min()), size)
    made = np.empty((len(whole), *size, 3), np.uint8)
    for i, (picture, data) in enumerate(whole):
        if shrink > 1 and data:
            picture = images.decode(data, shrink)
        if picture.shape[:2] != size:
            picture = cv2.resize(picture, size[::-1], interpolation=cv2.INTER_AREA)
        made[i] = picture
    return made, sizes


def _whole(frame: Frame) -> tuple[np.ndarray, bytes | None]:
    """Return a picture, and the bytes of its file if it has one.

    Raises:
        PipelineError: If it is none.
    """
    if isinstance(frame, str | Path):
        try:
            data = paths.read_bytes(Path(frame))
            return images.decode(data), data
        except (OSError, PipelineError) as error:
            raise PipelineError(f"{frame} does not decode as an image: {error}") from None
    picture = np.asarray(frame)
    if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8 or not picture.size:
        raise PipelineError(
            f"a frame has the shape {picture.shape} of {picture.dtype}. Give (H, W, 3) of uint8, "
            "red first"
        )
    return picture, None
