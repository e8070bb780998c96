"""One batch out of the shares of all processes, for losses that compare samples."""

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import FunctionCtx


def gather(tensor: Tensor) -> Tensor:
    """Return the rows of all processes, in order of rank; gradients find their way back.

    Every process then computes the loss of the whole batch, and the mean of gradients that
    DistributedDataParallel takes is the gradient one process would have computed. Contrast,
    triplets and batch norms need this: their loss is not a mean over samples.

    Args:
        tensor: `(B, ...)`, of the same shape in all processes.
    """
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return tensor
    return _Gather.apply(tensor)


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, tensor: Tensor) -> Tensor:
        shares = [torch.empty_like(tensor) for _ in range(dist.get_world_size())]
        dist.all_gather(shares, tensor.contiguous())
        return torch.cat(shares)

    @staticmethod
    def backward(ctx: FunctionCtx, gradient: Tensor) -> Tensor:
        gradient = gradient.contiguous()
        dist.all_reduce(gradient)
        return gradient.chunk(dist.get_world_size())[dist.get_rank()]
