"""Batch norms over the clips of a batch that count; nothing waits for the device to say which."""

from typing import Any

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm


def masked_norm(norm: _BatchNorm, features: Tensor, keep: Tensor) -> Tensor:
    """Return `(B, C)` features as a batch norm gives them that sees only those that count.

    The others come out too, scaled alike. Fewer than two that count move no statistics.

    Args:
        norm: In training, its statistics follow; in evaluation they are used.
        features: Of all processes.
        keep: `(B,)`, True for those that count.

    >>> norm, keep = torch.nn.BatchNorm1d(1), torch.tensor([True, True, False])
    >>> masked_norm(norm, torch.tensor([[-1.0], [1.0], [9.0]]), keep)[:2].round().tolist()
    [[-1.0], [1.0]]
    """
    if not norm.training:
        return norm(features)
    given, features = features.dtype, features.float()
    kept = keep[:, None].float()
    count = kept.sum()
    mean = (features * kept).sum(0) / count.clamp(min=1)
    centred = features - mean
    squares = (centred.square() * kept).sum(0)
    note_statistics(norm, mean.detach(), squares.detach(), count)
    made = centred * (squares / count.clamp(min=1) + norm.eps).rsqrt()
    if norm.weight is not None:
        made = made * norm.weight
    return (made if norm.bias is None else made + norm.bias).to(given)


@torch.no_grad()
def note_statistics(norm: _BatchNorm, mean: Tensor, squares: Tensor, count: Tensor) -> None:
    """Move the statistics of a batch norm as one batch of `count` features does.

    Args:
        norm: The batch norm.
        mean: `(C,)`.
        squares: `(C,)`, the sum of squared distances from the mean.
        count: How many they are; fewer than two move nothing.
    """
    is_batch = count > 1
    # A batch norm that keeps no statistics has no place here.
    seen: Any = norm.num_batches_tracked
    mean_of: Any = norm.running_mean
    var_of: Any = norm.running_var
    seen.add_(is_batch.long())
    share = norm.momentum
    if share is None:
        share = 1 / seen.clamp(min=1)
    share = torch.where(is_batch, share, 0.0)
    mean_of.lerp_(mean.to(mean_of), share)
    var_of.lerp_((squares / (count - 1).clamp(min=1)).to(var_of), share)
