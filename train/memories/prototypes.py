"""The prototypes of all training identities, made of all training clips."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from train.memories.passes import BATCH_SIZE, over_clips
from train.parts.batch import Inputs, masked_mean
from train.parts.precision import in_float32, unit


def prototypes(
    model: Any, dataset: Any, batch_size: int = BATCH_SIZE
) -> tuple[Tensor, Tensor | None]:
    """Return the mean unit feature of every identity, of pictures and of skeletons, `(K, D)`.

    They are means over an identity's tracklets, taken in evaluation mode from fixed frames (the
    first of each chunk) as they are stored, so nothing about them is random.

    Args:
        model: A `CsipModel`.
        dataset: A `ClipDataset`; `dataset[i]` with a plain index changes nothing.
        batch_size: Clips per forward pass.
    """

    def both(inputs: Inputs) -> Tensor:
        _, projected = model.frame_tokens(inputs)
        found = [unit(masked_mean(projected[:, :, 0], inputs["frame_mask"]))]
        if model.skeleton is not None:
            # A clip without a good skeleton has the feature zero, and moves no direction.
            found.append(unit(model.skeleton_feature(inputs)))
        return torch.stack(found, dim=1)

    said, labels = over_clips(model, dataset, both, batch_size)
    # Lengths do not matter: the model scales prototypes to one.
    sums = [sums_of(kind.contiguous(), labels, model.classes) for kind in said.unbind(1)]
    return sums[0], sums[1] if len(sums) > 1 else None


@in_float32
def sums_of(features: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Return the sum of the `(N, D)` features of each identity, `(K, D)`.

    A product, not a scattered sum: its order of additions is fixed on a GPU too.
    """
    return F.one_hot(labels, classes).float().T @ features
