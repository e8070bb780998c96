"""One pass over all training clips, in evaluation mode."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from train.parts.batch import Inputs

BATCH_SIZE = 32


@torch.no_grad()
def over_clips(
    model: nn.Module,
    dataset: Any,
    describe: Callable[[Inputs], Tensor],
    batch_size: int = BATCH_SIZE,
) -> tuple[Tensor, Tensor]:
    """Return what is said of each training clip, `(N, ...)`, and its label, `(N,)`.

    Frames are fixed, the first of each chunk, as they are stored: nothing is random. Every process
    goes through all of them, so that they agree without exchanging anything.

    Args:
        model: Has a `data_preprocessor`.
        dataset: A `ClipDataset`; `dataset[i]` with a plain index changes nothing.
        describe: What to say of a batch of inputs, `(B, ...)`.
        batch_size: Clips per forward pass.
    """
    was_training = model.training
    model.eval()
    said, labels = [], []
    for batch in DataLoader(dataset, batch_size):
        if model.data_preprocessor is not None:
            batch = model.data_preprocessor(batch)
        found = describe(batch["inputs"])
        said.append(found)
        labels.append(torch.as_tensor(batch["labels"]).to(found.device))
    model.train(was_training)
    return torch.cat(said), torch.cat(labels)
