"""Clips out of shards: which tracklets, and which frames of each."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from pipeline.errors import PipelineError
from train.data.sampler import Draw
from train.data.tracklets import Item, TrackletClips, people_of
from train.registry import DATASETS

Frames = Literal["random", "rrs", "dense"]


@DATASETS.register_module()
class ClipDataset(TrackletClips):
    """Training clips: a tracklet is cut into T equal chunks and gives one random frame of each.

    Args:
        root: Folder of shards.
        clip_frames: T.
        frame_size: Height and width that frames are resized to.
        transforms: Configurations of `train.data.transforms`.
        held_out: This many identities, the last of the sorted ones, are kept for validation.
        each_is_a_class: Every tracklet has a label of its own, and who is who is not looked at.
        options: `limit` uses only the first tracklets; `needs` names the columns of a batch that
            the system asks for (`train.parts.batch`), frames alone when it is left out; `captions`
            names the table of sentences for those who ask for `words` or `text`;
            `shuffle_frames=True` puts those of every clip, with their skeletons, into random
            order, which destroys the motion.

    Attributes:
        pids: Official ids in ascending order, or places of tracklets where each is a class; a label
            is the place of its pid here.
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
        each_is_a_class: bool = False,
        **options: Any,
    ) -> None:
        """Number the classes and drop tracklets without a single readable frame."""
        # Whole persons are kept of the first tracklets, which asks who is who.
        limit = options.pop("limit", 0) if each_is_a_class else 0
        super().__init__(root, ["train"], clip_frames, frame_size, transforms, **options)
        rows = [self.readable(position) for position in range(len(self.table))]
        if each_is_a_class:
            self._number_tracklets(rows, held_out, limit)
        else:
            self._number_people(rows, held_out)

    def _number_tracklets(self, rows: list[np.ndarray], held_out: int, limit: int) -> None:
        if held_out:
            raise PipelineError(
                "the system learns without knowing who is who, and people held out would choose "
                "its weights. Set stage2.held_out to 0"
            )
        kept = [place for place, own in enumerate(rows) if len(own)]
        self._take(kept[: max(limit, 2) if limit else None], rows)
        self.pids = self.labels = list(range(len(self.table)))

    def _take(self, kept: Sequence[int], rows: list[np.ndarray]) -> None:
        self._rows = [rows[place] for place in kept]
        self.table = self.table.iloc[list(kept)].reset_index(drop=True)

    def _number_people(self, rows: list[np.ndarray], held_out: int) -> None:
        pids = people_of(self.table)
        if held_out >= len(pids):
            raise PipelineError(
                f"stage2.held_out is {held_out}, but there are {len(pids)} training identities in "
                "all. Lower it"
            )
        self.pids = pids[: len(pids) - held_out].tolist()
        known = zip(rows, self.table["pid"], strict=True)
        self._take([i for i, (own, pid) in enumerate(known) if len(own) and pid in self.pids], rows)
        self.labels = np.searchsorted(self.pids, self.table["pid"]).tolist()

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
        inputs = self.clip(rows, index, rng)
        return {"inputs": inputs, "labels": self.labels[index]}


@DATASETS.register_module()
class TestDataset(TrackletClips):
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
        **options: Any,
    ) -> None:
        """List the clips."""
        super().__init__(root, splits, clip_frames, frame_size, **options)
        if held_out:
            kept = people_of(self.table)[-held_out:]
            self.table = self.table[self.table["pid"].isin(kept)].reset_index(drop=True)
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
        inputs = self.clip(rows, position, np.random.default_rng(index))
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
