"""Count without a GPU what a step would do on one: where the host waits, how much is kept."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

# What asks the device for a value, or for how many there are.
_ASKING = ("_local_scalar_dense", "nonzero", "masked_select", "_unique2", "unique_dim", "bincount")


class Syncs(TorchDispatchMode):
    """Count the operations inside that make a host wait for a GPU, on whatever device they run.

    Attributes:
        found: How often each was met, by name.

    >>> with Syncs() as syncs:
    ...     _ = torch.ones(3)[torch.tensor([True, False, True])].sum().item()
    >>> dict(syncs.found)
    {'index': 1, '_local_scalar_dense': 1}
    """

    def __init__(self) -> None:
        """Start from nothing."""
        super().__init__()
        self.found: Counter[str] = Counter()

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Run an operation, and note it if it asks for a value."""
        name = func.overloadpacket.__name__
        if name in _ASKING or (name in ("index", "index_put_") and _by_mask(args[1])):
            self.found[name] += 1
        return func(*args, **(kwargs or {}))


def _by_mask(indices: Sequence[torch.Tensor | None]) -> bool:
    """Return whether a mask chooses the rows: how many it chooses must be asked for."""
    return any(x is not None and x.dtype in (torch.bool, torch.uint8) for x in indices)


def without_values(model: nn.Module, mode: FakeTensorMode) -> nn.Module:
    """Return a model whose tensors have shapes and no values: whoever asks for one fails."""
    for module in model.modules():
        for name, one in module._parameters.items():
            if one is not None:
                fake = mode.from_tensor(one.data)
                module._parameters[name] = nn.Parameter(fake, requires_grad=one.requires_grad)
        for name, one in module._buffers.items():
            if one is not None:
                module._buffers[name] = mode.from_tensor(one)
    return model


@contextmanager
def saved_bytes(own: set[int]) -> Iterator[Callable[[], int]]:
    """Count the bytes that the forward pass inside keeps for backward, each storage once.

    Args:
        own: Storages that are there anyway: the weights.
    """
    kept: dict[int, tuple[Tensor, int]] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in own:
            kept[storage._cdata] = (tensor, storage.nbytes())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        yield lambda: sum(size for _, size in kept.values())
