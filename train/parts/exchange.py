"""Two streams of parts that teach each other, coarse to fine (DinoGRL, arXiv 2511.04281)."""

import torch
from torch import Tensor, nn

from train.registry import MODELS


class _Relate(nn.Module):
    """What a vector takes from another, scalar by scalar; nothing at the start."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.theta, self.phi, self.value = (nn.Linear(1, dim) for _ in range(3))
        self.agree, self.differ = nn.Linear(dim, 1), nn.Linear(dim, 1)
        self.agree_norm, self.differ_norm = nn.BatchNorm1d(1), nn.BatchNorm1d(1)
        nn.init.zeros_(self.agree_norm.weight)
        nn.init.zeros_(self.differ_norm.weight)

    def forward(self, base: Tensor, other: Tensor) -> Tensor:
        """Return the base `(N, C)`, enriched by the other.

        All that is lifted to `dim` channels is a scalar times a vector plus another, so products
        of two are made of four numbers, and no channel is ever written out.
        """
        (lift, start), (phi, phi_start), (value, value_start) = (
            (layer.weight[:, 0], layer.bias) for layer in (self.theta, self.phi, self.value)
        )
        slope = base * (lift @ phi) + start @ phi
        height = base * (lift @ phi_start) + start @ phi_start
        affinity = (slope[:, :, None] * other[:, None] + height[:, :, None]) / base.shape[1]
        taken = []
        for layer, norm, likeness in (
            (self.agree, self.agree_norm, affinity.relu()),
            (self.differ, self.differ_norm, (-affinity).relu()),
        ):
            weight = layer.weight[0]
            found = (likeness * other[:, None]).sum(2) * (weight @ value)
            found = found + likeness.sum(2) * (weight @ value_start) + layer.bias
            taken.append(norm(found[:, None])[:, 0])
        return base + taken[0] - taken[1]


@MODELS.register_module()
class GranularExchange(nn.Module):
    """Each stream's whole reads the other's bands, once for each granularity.

    >>> from train.parts.exchange import GranularExchange
    >>> one, other = GranularExchange(dim=16)(torch.randn(3, 31, 16), torch.randn(3, 31, 16))
    >>> one.shape, other.shape
    (torch.Size([3, 35, 16]), torch.Size([3, 35, 16]))
    """

    def __init__(self, dim: int = 256, bands: tuple[int, ...] = (2, 4, 8, 16)) -> None:
        """Make one relation for each direction; all granularities share it."""
        super().__init__()
        self.bands = tuple(bands)
        self.to_gait, self.to_appearance = _Relate(dim), _Relate(dim)

    def forward(self, gait: Tensor, appearance: Tensor) -> tuple[Tensor, Tensor]:
        """Return both streams with one more vector for each granularity, `(N, P + G, C)`.

        Args:
            gait: `(N, P, C)` parts of a pyramid, the whole first.
            appearance: As many.
        """
        gaits, appearances, start = [gait], [appearance], 1
        for count in self.bands:
            one, other = gait[:, 0], appearance[:, 0]
            for index in range(start, start + count):
                one = self.to_gait(one, appearance[:, index])
                other = self.to_appearance(other, gait[:, index])
            gaits.append(one[:, None])
            appearances.append(other[:, None])
            start += count
        return torch.cat(gaits, dim=1), torch.cat(appearances, dim=1)
