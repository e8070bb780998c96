"""From clips to one feature of each tracklet."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline import machine

if TYPE_CHECKING:
    import torch

    from train.data.clips import TestDataset

BATCH = 32
Describer = Callable[[dict[str, Any]], np.ndarray]


def describe(model: "torch.nn.Module") -> Describer:
    """Return the function from a batch to unit features `(B, C)`."""
    import torch

    @torch.no_grad()
    def features(batch: dict[str, Any]) -> np.ndarray:
        return model.test_step(batch).float().cpu().numpy()

    return features


def described(
    data: "TestDataset", describe_batch: Describer, workers: int, clips: range | None = None
) -> Iterator[np.ndarray]:
    """Yield the features `(B, C)` of batches of clips; of all clips when none are named."""
    from torch.utils.data import DataLoader, Subset

    part = Subset(data, clips if clips is not None else range(len(data)))
    if len(part):
        machine.check_readers(workers, min(BATCH, len(part)), part[0]["inputs"])
    for batch in DataLoader(part, BATCH, num_workers=workers):
        yield describe_batch(batch)


def tracklet_features(data: "TestDataset", describe_batch: Describer, workers: int) -> np.ndarray:
    """Return a feature `(N, C)` of every tracklet: the mean over the frames of its clips."""
    made = np.concatenate([*described(data, describe_batch, workers)])
    return data.average(made).astype(np.float32)
