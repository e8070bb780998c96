"""From clips to one feature of each tracklet."""

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline import machine

if TYPE_CHECKING:
    import torch

    from train.data.clips import TestDataset

BATCH = 32
Features = dict[str, np.ndarray]
# From a batch to features `(B, C)` by name.
ClipDescriber = Callable[[dict[str, Any]], Features]


def describe(model: "torch.nn.Module", name: str = "feature") -> ClipDescriber:
    """Return the function from a batch to unit features `(B, C)`."""
    import torch

    @torch.no_grad()
    def features(batch: dict[str, Any]) -> Features:
        return {name: model.test_step(batch).float().cpu().numpy()}

    return features


def together(describers: Sequence[ClipDescriber]) -> ClipDescriber:
    """Return the function that describes a batch in several ways, decoded once."""

    def features(batch: dict[str, Any]) -> Features:
        return {name: made for one in describers for name, made in one(batch).items()}

    return features


def described(
    data: "TestDataset",
    describer: ClipDescriber,
    workers: int,
    chunks: Sequence[range],
    advance: Callable[[int], object] = lambda clips: None,
) -> Iterator[Features]:
    """Yield the features of each chunk of clips; the processes that decode live through all.

    Args:
        data: The clips.
        describer: Describes batches of them.
        workers: Processes that decode.
        chunks: Clips by number; no batch crosses the border of a chunk.
        advance: Told how many clips were described, batch by batch.
    """
    from torch.utils.data import DataLoader

    from train.data.collate import collate

    if clips := sum(map(len, chunks)):
        first = data[chunks[0][0]]["inputs"]
        machine.check_readers(workers, min(BATCH, clips), first)
    batches = [chunk[i : i + BATCH] for chunk in chunks for i in range(0, len(chunk), BATCH)]
    loader = iter(DataLoader(data, batch_sampler=batches, num_workers=workers, collate_fn=collate))
    for chunk in chunks:
        made = []
        for _ in range(0, len(chunk), BATCH):
            batch = next(loader)
            made.append(describer(batch))
            advance(len(batch["labels"]))
        yield {name: np.concatenate([one[name] for one in made]) for name in made[0]}


def tracklet_features(data: "TestDataset", describer: ClipDescriber, workers: int) -> Features:
    """Return features `(N, C)` of every tracklet: the mean over the frames of its clips."""
    (made,) = described(data, describer, workers, [range(len(data))])
    return {name: data.average(values).astype(np.float32) for name, values in made.items()}
