"""Islands of float32 in a forward pass of lower precision."""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

P = ParamSpec("P")
R = TypeVar("R")
LOWER = (torch.bfloat16, torch.float16)


def in_float32(function: Callable[P, R]) -> Callable[P, R]:
    """Make a function of tensors compute in float32, whatever autocast is around it.

    For similarities and distances: autocast would multiply the matrices in bfloat16, which knows
    a cosine to three digits, however the factors were cast before. Only positional tensors are
    raised.

    >>> one, exact = torch.eye(2), in_float32(torch.matmul)
    >>> with torch.autocast("cpu", torch.bfloat16):
    ...     torch.matmul(one, one).dtype, exact(one, one).dtype
    (torch.bfloat16, torch.float32)
    """

    @wraps(function)
    def exact(*args: P.args, **kwargs: P.kwargs) -> R:
        raised = [x.float() if isinstance(x, Tensor) and x.dtype in LOWER else x for x in args]
        device = next(x.device.type for x in args if isinstance(x, Tensor))
        with torch.autocast(device, enabled=False):
            return function(*raised, **kwargs)

    return exact


@in_float32
def unit(features: Tensor) -> Tensor:
    """Scale vectors `(..., C)` to length one; zero stays zero."""
    return F.normalize(features, dim=-1)


@in_float32
def cosine_distance(one: Tensor, other: Tensor) -> Tensor:
    """Return 1 - cosine of vectors `(..., C)` pair by pair."""
    return 1 - F.cosine_similarity(one, other, dim=-1)
