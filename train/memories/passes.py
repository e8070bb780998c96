"""One pass over all training clips, in evaluation mode."""

from collections.abc import Callable
from typing import Any

import torch
from mmengine.dist import get_dist_info
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset

from train.data.collate import collate
from train.parts.batch import Inputs
from train.parts.gather import gather

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
    describes a share, and all get the whole, in the order of the data set.

    Args:
        model: Has a `data_preprocessor`.
        dataset: A `ClipDataset`; `dataset[i]` with a plain index changes nothing.
        describe: What to say of a batch of inputs, `(B, ...)`.
        batch_size: Clips per forward pass.
    """
    was_training = model.training
    model.eval()
    rank, world = get_dist_info()
    # Shares of one length, as `gather` wants them: some clips come twice.
    longest = -(-len(dataset) // world)
    own = [(rank + world * i) % len(dataset) for i in range(longest)]
    part = Subset(dataset, own)
    workers = getattr(dataset, "workers", 0)
    said, labels = [], []
    for batch in DataLoader(part, batch_size, num_workers=workers, collate_fn=collate):
        if model.data_preprocessor is not None:
            batch = model.data_preprocessor(batch)
        found = describe(batch["inputs"]).float()
        said.append(found)
        labels.append(torch.as_tensor(batch["labels"]).to(found.device))
    model.train(was_training)
    return tuple(_in_order(torch.cat(parts), world, len(dataset)) for parts in (said, labels))


def _in_order(share: Tensor, world: int, total: int) -> Tensor:
    """Return the rows of all processes as the data set has them."""
    return gather(share).unflatten(0, (world, -1)).transpose(0, 1).flatten(0, 1)[:total]
