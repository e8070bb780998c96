"""Clips out of shards: which frames of a tracklet, decoded, with skeletons and masks."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from pipeline import images
from pipeline.errors import PipelineError
from pipeline.names import DISTRACTOR
from pipeline.schema import Status
from shards.read import Shards
from train.data.sampler import Draw
from train.data.transforms import build
from train.registry import DATASETS

if TYPE_CHECKING:
    import pandas as pd

Item = dict[str, Any]
Frames = Literal["random", "rrs", "dense"]


class _TrackletClips(Dataset[Item]):
    """Tracklets of some splits, and how a clip of one is loaded.

    Attributes:
        table: One row per tracklet: `tracklet, pid, camid, split, first, length`.
    """

    def __init__(
        self,
        root: str,
        splits: Sequence[str],
        clip_frames: int,
        frame_size: Sequence[int],
        transforms: Sequence[dict[str, Any]] = (),
        limit: int = 0,
        with_frames: bool = True,
        shuffle_frames: bool = False,
    ) -> None:
        """Select the tracklets; frames are read when asked for."""
        # OpenCV's threads would only compete with the other workers.
        cv2.setNumThreads(0)
        self.shards = Shards(Path(root))
        table = self.shards.tracklets
        table = table[table["split"].isin(splits)].reset_index(drop=True)
        self.table = _first(table, limit, splits)
        if with_frames and not self.shards.has_frames:
            raise PipelineError(
                f"{root} holds skeletons without frames. Give the run model: skeleton, "
                "encoder: none"
            )
        self.clip_frames = clip_frames
        self.height, self.width = frame_size
        self.with_frames, self.shuffle_frames = with_frames, shuffle_frames
        self._transforms = build(transforms)
        if not len(self.table):
            raise PipelineError(f"{root} holds no tracklets of {' or '.join(splits)}")

    def readable(self, position: int) -> np.ndarray:
        """Return the global rows of a tracklet whose frames can be decoded."""
        first, length = (int(self.table[name].iat[position]) for name in ("first", "length"))
        status = self.shards.status[first : first + length]
        return first + np.flatnonzero((status != Status.MISSING) & (status != Status.UNREADABLE))

    def clip(
        self, rows: np.ndarray, camid: int, rng: np.random.Generator | None
    ) -> dict[str, Tensor]:
        """Load the frames at some global rows as one item of a batch's `inputs`.

        Args:
            rows: `(T,)` rows of readable frames; none at all gives black frames.
            camid: Camera of the tracklet.
            rng: Makes the transforms' choices; None leaves the frames as they are.
        """
        if not len(rows):
            return self._blank(camid)
        if self.shuffle_frames:
            # No augmentation: whoever takes the motion away takes it from every clip.
            rows = (rng or np.random.default_rng(rows)).permutation(rows)
        xyz = self.shards.xyz[rows]
        mask = np.isfinite(xyz).all((1, 2))
        clip = {
            "frame_mask": torch.ones(len(rows), dtype=torch.bool),
            "xyz": torch.from_numpy(np.where(mask[:, None, None], xyz, np.float32(0))),
            "mask": torch.from_numpy(mask),
        }
        if self.with_frames:
            clip["frames"] = self.decoded(rows)
        for transform in self._transforms if rng is not None else ():
            clip = transform(clip, rng)
        return clip | {"camids": torch.tensor(camid)}

    def decoded(self, rows: np.ndarray) -> Tensor:
        """Return the frames at some global rows, `(T, 3, H, W)`; each is decoded once."""
        unique, back = rows, None
        if len(set(rows.tolist())) < len(rows):
            unique, back = np.unique(rows, return_inverse=True)
        frames = np.empty((len(unique), self.height, self.width, 3), np.uint8)
        # The largest power of two that leaves enough pixels of every frame.
        spare = min(
            int(self.shards.height[unique].min()) // self.height,
            int(self.shards.width[unique].min()) // self.width,
        )
        shrink = next(power for power in (8, 4, 2, 1) if power <= max(spare, 1))
        for i, jpeg in enumerate(self.shards.jpeg(unique)):
            target = frames[i]
            image = images.decode(jpeg, shrink, target)
            if image.shape != target.shape:
                image = cv2.resize(image, (self.width, self.height), interpolation=cv2.INTER_AREA)
            if image is not target:
                target[:] = image
        if back is not None:
            frames = frames[back]
        return torch.from_numpy(frames).permute(0, 3, 1, 2)

    def _blank(self, camid: int) -> dict[str, Tensor]:
        shape = (self.clip_frames, 3, self.height, self.width)
        frames = {"frames": torch.zeros(shape, dtype=torch.uint8)} if self.with_frames else {}
        return frames | {
            "frame_mask": torch.zeros(self.clip_frames, dtype=torch.bool),
            "xyz": torch.zeros(self.clip_frames, *self.shards.xyz.shape[1:]),
            "mask": torch.zeros(self.clip_frames, dtype=torch.bool),
            "camids": torch.tensor(camid),
        }


def _first(table: "pd.DataFrame", limit: int, splits: Sequence[str]) -> "pd.DataFrame":
    """Return the first tracklets; of those to train on whole persons, and at least two."""
    if not limit or list(splits) != ["train"]:
        return table[:limit] if limit else table
    pids = table["pid"].to_numpy()
    kept = np.unique(np.append(pids[:limit], _people(table)[:2]))
    return table[np.isin(pids, kept)].reset_index(drop=True)


def _people(table: "pd.DataFrame") -> np.ndarray:
    """Return the pids in a table, sorted: a distractor is nobody to learn."""
    pids = np.unique(table["pid"])
    return pids[pids > DISTRACTOR]


@DATASETS.register_module()
class ClipDataset(_TrackletClips):
    """Training clips: a tracklet is cut into T equal chunks and gives one random frame of each.

    Args:
        root: Folder of shards.
        clip_frames: T.
        frame_size: Height and width that frames are resized to.
        transforms: Configurations of `train.data.transforms`.
        held_out: This many identities, the last of the sorted ones, are kept for validation.
        options: `limit` uses only the first tracklets; `with_frames=False` leaves out the frames;
            `shuffle_frames=True` puts those of every clip, with their skeletons, into random
            order, which destroys the motion.

    Attributes:
        pids: Official ids in ascending order; a label is the place of its pid here.
        labels: Label of every tracklet.

    >>> dataset = ClipDataset("data/shards/walkers", 8, (128, 64))  # doctest: +SKIP
    >>> dataset[0]["inputs"]["frames"].shape  # doctest: +SKIP
    torch.Size([8, 3, 128, 64])
    """

    def __init__(
        self,
        root: str,
        clip_frames: int,
        frame_size: Sequence[int],
        transforms: Sequence[dict[str, Any]] = (),
        held_out: int = 0,
        **options: Any,
    ) -> None:
        """Number the identities and drop tracklets without a single readable frame."""
        super().__init__(root, ["train"], clip_frames, frame_size, transforms, **options)
        pids = _people(self.table)
        if held_out >= len(pids):
            raise PipelineError(
                f"stage2.held_out is {held_out}, but there are {len(pids)} training identities in "
                "all. Lower it"
            )
        self.pids = pids[: len(pids) - held_out].tolist()
        rows = [self.readable(position) for position in range(len(self.table))]
        is_kept = [
            bool(len(own)) and pid in self.pids
            for own, pid in zip(rows, self.table["pid"], strict=True)
        ]
        self._rows = [own for own, kept in zip(rows, is_kept, strict=True) if kept]
        self.table = self.table[is_kept].reset_index(drop=True)
        self.labels = np.searchsorted(self.pids, self.table["pid"]).tolist()
        self._camids = self.table["camid"].tolist()

    @property
    def metainfo(self) -> dict[str, list[int]]:
        """What MMEngine passes on to whoever draws samples."""
        return {"pids": self.pids}

    def __len__(self) -> int:
        """Return the number of tracklets."""
        return len(self.table)

    def __getitem__(self, draw: Draw | int) -> Item:
        """Load a clip; a plain index means the first frame of each chunk, as it is."""
        index, key = draw if isinstance(draw, tuple) else (draw, None)
        rng = None if key is None else np.random.default_rng(key)
        rows = chunked(self._rows[index], self.clip_frames, rng)
        inputs = self.clip(rows, self._camids[index], rng)
        return {"inputs": inputs, "labels": self.labels[index]}


@DATASETS.register_module()
class TestDataset(_TrackletClips):
    """Clips of the tracklets to be embedded, without any chance.

    Args:
        root: Folder of shards.
        splits: Which tracklets.
        clip_frames: T.
        frame_size: Height and width that frames are resized to.
        frames: `rrs` takes the first frame of each of T chunks; `dense` takes all frames, in clips
            of T, and the features of a tracklet's clips are averaged; those of a last clip that
            is filled up count less.
        held_out: Keep only the last identities (0: all), those that training left out.
        transforms: Configurations of `train.data.transforms`; the index of a clip is their key.
        options: As for `ClipDataset`.
    """

    # Not a class of tests, whatever pytest makes of the name.
    __test__ = False

    def __init__(
        self,
        root: str,
        splits: Sequence[str],
        clip_frames: int,
        frame_size: Sequence[int],
        frames: Literal["rrs", "dense"] = "rrs",
        held_out: int = 0,
        transforms: Sequence[dict[str, Any]] = (),
        **options: Any,
    ) -> None:
        """List the clips."""
        super().__init__(root, splits, clip_frames, frame_size, transforms, **options)
        if held_out:
            kept = _people(self.table)[-held_out:]
            self.table = self.table[self.table["pid"].isin(kept)].reset_index(drop=True)
        self._camids = self.table["camid"].tolist()
        self._clips: list[tuple[int, np.ndarray]] = []
        for position in range(len(self.table)):
            rows = self.readable(position)
            parts = split_dense(rows, clip_frames) if frames == "dense" else [rows]
            self._clips += [(position, part) for part in parts]

    def __len__(self) -> int:
        """Return the number of clips."""
        return len(self._clips)

    def __getitem__(self, index: int) -> Item:
        """Load a clip; its label is the position of its tracklet in `table`."""
        position, part = self._clips[index]
        rows = chunked(part, self.clip_frames)
        inputs = self.clip(rows, self._camids[position], np.random.default_rng(index))
        return {"inputs": inputs, "labels": position}

    def average(self, values: np.ndarray) -> np.ndarray:
        """Average values `(M, C)` of all clips by tracklet, `(N, C)`: each frame counts once."""
        owner = np.array([position for position, _ in self._clips])
        frames = np.array([max(1, len(part)) for _, part in self._clips], np.float64)
        total = np.zeros((len(self.table), values.shape[1]))
        np.add.at(total, owner, values * frames[:, None])
        return total / np.bincount(owner, frames)[:, None]

    @property
    def metainfo(self) -> dict[str, list[int]]:
        """Ids of the tracklets, for the metric of a validation loop."""
        return {name: self.table[name].tolist() for name in ("pid", "camid")}


def chunked(
    rows: np.ndarray, clip_frames: int, rng: np.random.Generator | None = None
) -> np.ndarray:
    """Cut rows into T equal chunks and take one of each: the first, or a random one.

    A tracklet shorter than the clip repeats frames, in order (restricted random sampling: Li et
    al., CVPR 2018).

    >>> chunked(np.arange(8), 4).tolist(), chunked(np.arange(2), 4).tolist()
    ([0, 2, 4, 6], [0, 0, 1, 1])
    """
    if not len(rows):
        return rows
    bounds = np.arange(clip_frames + 1) * len(rows) // clip_frames
    start, stop = bounds[:-1], np.maximum(bounds[1:], bounds[:-1] + 1)
    return rows[start if rng is None else rng.integers(start, stop)]


def split_dense(rows: np.ndarray, clip_frames: int) -> list[np.ndarray]:
    """Cut rows into parts of T; the last may be shorter, and no rows at all are one part.

    >>> [part.tolist() for part in split_dense(np.arange(5), 4)]
    [[0, 1, 2, 3], [4]]
    """
    return np.split(rows, range(clip_frames, len(rows), clip_frames))
