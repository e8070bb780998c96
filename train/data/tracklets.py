"""Tracklets of some splits, and how a clip of one is loaded out of shards."""

from collections.abc import Collection, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from pipeline.errors import PipelineError
from pipeline.names import DISTRACTOR
from pipeline.schema import Status
from shards.read import Shards
from train.data.captions import Captions, captions_of
from train.data.columns import check_needs, joints_2d, seen, silhouettes, skeletons
from train.data.transforms import build

if TYPE_CHECKING:
    import pandas as pd

Item = dict[str, Any]


class TrackletClips(Dataset[Item]):
    """Tracklets of some splits, and how a clip of one is loaded.

    Attributes:
        table: One row per tracklet: `tracklet, pid, camid, split, first, length`.
        workers: Processes that decode where a model goes through all clips
            (`train.memories.passes`).
    """

    workers = 0

    def __init__(
        self,
        root: str,
        splits: Sequence[str],
        clip_frames: int,
        frame_size: Sequence[int],
        transforms: Sequence[dict[str, Any]] = (),
        limit: int = 0,
        needs: Collection[str] = ("frames",),
        shuffle_frames: bool = False,
        captions: str | None = None,
    ) -> None:
        """Select the tracklets; frames are read when asked for."""
        # OpenCV's threads would only compete with the other workers.
        cv2.setNumThreads(0)
        self.shards = Shards(Path(root))
        table = self.shards.tracklets
        table = table[table["split"].isin(splits)].reset_index(drop=True)
        self.table = _first(table, limit, splits)
        check_needs(self.shards, self.table, needs)
        self._captions_file = captions
        self.clip_frames = clip_frames
        self.height, self.width = frame_size
        self.needs, self.shuffle_frames = frozenset(needs), shuffle_frames
        self._transforms = build(transforms)
        if not len(self.table):
            raise PipelineError(f"{root} holds no tracklets of {' or '.join(splits)}")
        # Those who are kept may be fewer; what is missing altogether is said at once.
        captions_of(captions, self.table, needs)

    def readable(self, position: int) -> np.ndarray:
        """Return the global rows of a tracklet whose frames can be decoded."""
        first, length = (int(self.table[name].iat[position]) for name in ("first", "length"))
        status = self.shards.status[first : first + length]
        return first + np.flatnonzero((status != Status.MISSING) & (status != Status.UNREADABLE))

    @cached_property
    def _seen(self) -> dict[str, Tensor]:
        return seen(self.table)

    @cached_property
    def _said(self) -> Captions | None:
        return captions_of(self._captions_file, self.table, self.needs)

    def clip(
        self, rows: np.ndarray, position: int, rng: np.random.Generator | None
    ) -> dict[str, Tensor]:
        """Load the frames at some global rows as one item of a batch's `inputs`.

        Args:
            rows: `(T,)` rows of readable frames; none at all gives black frames.
            position: Of the tracklet in the table.
            rng: Makes the transforms' choices; None leaves the frames as they are.
        """
        view = {name: column[position] for name, column in self._seen.items()}
        if self._said is not None:
            view |= self._said(position, rng)
        if not len(rows):
            return self._blank() | view
        if self.shuffle_frames:
            # No augmentation: whoever takes the motion away takes it from every clip.
            rows = (rng or np.random.default_rng(rows)).permutation(rows)
        xyz, mask = skeletons(self.shards.xyz[rows])
        clip = {
            "frame_mask": torch.ones(len(rows), dtype=torch.bool),
            "xyz": xyz,
            "mask": mask,
            **self._needed(rows),
        }
        for transform in self._transforms if rng is not None else ():
            clip = transform(clip, rng)
        return clip | view

    def _needed(self, rows: np.ndarray) -> dict[str, Tensor]:
        """Return the columns that not every system needs."""
        made = {
            "frames": lambda: self.decoded(rows),
            "kps": lambda: joints_2d(self.shards, rows),
            "silhouettes": lambda: silhouettes(self.shards, rows, (self.height, self.width)),
            "erased": lambda: torch.zeros(len(rows), dtype=torch.bool),
            "heights": lambda: torch.from_numpy(self.shards.height[rows].astype(np.int64)),
        }
        return {name: make() for name, make in made.items() if name in self.needs}

    def decoded(self, rows: np.ndarray) -> Tensor:
        """Return the frames at some global rows, `(T, 3, H, W)`; each is decoded once."""
        unique, back = rows, None
        if len(set(rows.tolist())) < len(rows):
            unique, back = np.unique(rows, return_inverse=True)
        frames = np.empty((len(unique), self.height, self.width, 3), np.uint8)
        sizes = self.shards.height[unique].min(), self.shards.width[unique].min()
        shrink = shrink_of(*map(int, sizes), (self.height, self.width))
        for i, (row, jpeg) in enumerate(zip(unique, self.shards.jpeg(unique), strict=True)):
            target = frames[i]
            image = self.shards.decoded(int(row), jpeg, shrink, target)
            if image.shape != target.shape:
                image = cv2.resize(image, (self.width, self.height), interpolation=cv2.INTER_AREA)
            if image is not target:
                target[:] = image
        if back is not None:
            frames = frames[back]
        return torch.from_numpy(frames).permute(0, 3, 1, 2)

    def _blank(self) -> dict[str, Tensor]:
        """Return a clip of which no frame is good: black, without joints."""
        frames, size = self.clip_frames, (self.height, self.width)
        made = {
            "frames": torch.zeros(frames, 3, *size, dtype=torch.uint8),
            "kps": torch.zeros(frames, 17, 3),
            "silhouettes": torch.zeros(frames, *size, dtype=torch.uint8),
            "erased": torch.zeros(frames, dtype=torch.bool),
            "heights": torch.zeros(frames, dtype=torch.int64),
        }
        return {name: value for name, value in made.items() if name in self.needs} | {
            "frame_mask": torch.zeros(frames, dtype=torch.bool),
            "xyz": torch.zeros(frames, *self.shards.xyz.shape[1:]),
            "mask": torch.zeros(frames, dtype=torch.bool),
        }


def shrink_of(height: int, width: int, size: tuple[int, int]) -> int:
    """Return how much smaller the frames of a clip are decoded, a power of two.

    It is the largest that leaves enough pixels of every frame.

    Args:
        height: Of the lowest frame.
        width: Of the narrowest one.
        size: Height and width of a model's frames.

    >>> shrink_of(256, 128, (128, 64)), shrink_of(500, 100, (128, 64))
    (2, 1)
    """
    spare = max(1, min(height // size[0], width // size[1]))
    return next(power for power in (8, 4, 2, 1) if power <= spare)


def _first(table: "pd.DataFrame", limit: int, splits: Sequence[str]) -> "pd.DataFrame":
    """Return the first tracklets; of those to train on whole persons, and at least two."""
    if not limit or list(splits) != ["train"]:
        return table[:limit] if limit else table
    pids = table["pid"].to_numpy()
    kept = np.unique(np.append(pids[:limit], people_of(table)[:2]))
    return table[np.isin(pids, kept)].reset_index(drop=True)


def people_of(table: "pd.DataFrame") -> np.ndarray:
    """Return the pids in a table, sorted: a distractor is nobody to learn."""
    pids = np.unique(table["pid"])
    return pids[pids > DISTRACTOR]
