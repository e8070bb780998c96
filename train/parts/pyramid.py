"""A frame's rows as parts: horizontal bands, each with a descriptor and a head of its own.

After DinoGRL (arXiv 2511.04281), which took them from gait recognition (GaitSet, GaitPart).
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.errors import PipelineError
from train.parts.precision import in_float32, unit
from train.registry import MODELS


@MODELS.register_module()
class PyramidParts(nn.Module):
    """Bands of a feature map, from the whole of it down to its sixteenths.

    >>> from train.parts.pyramid import PyramidParts
    >>> PyramidParts(dim=12, out_dim=6)(torch.randn(4, 16, 8, 12)).shape
    torch.Size([4, 31, 6])
    """

    def __init__(
        self, dim: int, out_dim: int = 256, bands: tuple[int, ...] = (1, 2, 4, 8, 16)
    ) -> None:
        """Make one linear map for each band.

        Args:
            dim: Channels of the map.
            out_dim: Channels of a part.
            bands: Into how many bands the rows are cut, one after the other.
        """
        super().__init__()
        self.bands, self.out_dim = tuple(bands), out_dim
        self.count = sum(bands)
        self.weight = nn.Parameter(torch.empty(self.count, dim, out_dim))
        nn.init.xavier_uniform_(self.weight)

    def pool(self, cells: Tensor) -> Tensor:
        """Return `(N, P, C)`: mean plus maximum of each band of `(N, H, W, C)`.

        Raises:
            PipelineError: If the rows cannot be cut into the finest bands.
        """
        rows = cells.shape[1]
        if rows % max(self.bands):
            raise PipelineError(
                f"a pyramid of {max(self.bands)} bands needs as many rows of cells, the encoder "
                f"gives {rows}. Take one with a smaller stride, as conf/encoder/conv_stem_fine"
            )
        parts = []
        for count in self.bands:
            band = cells.unflatten(1, (count, rows // count)).flatten(2, 3)
            parts.append(band.mean(2) + band.amax(2))
        return torch.cat(parts, dim=1)

    def forward(self, cells: Tensor) -> Tensor:
        """Return the parts `(N, P, D)` of maps `(N, H, W, C)`."""
        return torch.einsum("npc,pcd->npd", self.pool(cells), self.weight)


@MODELS.register_module()
class PartHead(nn.Module):
    """A neck over all parts, then cosines with one matrix of classes for each part.

    >>> from train.parts.pyramid import PartHead
    >>> PartHead(parts=31, dim=6, classes=5)(torch.randn(4, 31, 6)).shape
    torch.Size([4, 31, 5])
    """

    def __init__(self, parts: int, dim: int, classes: int) -> None:
        """Make the head of `(N, parts, dim)` features."""
        super().__init__()
        self.neck = nn.BatchNorm1d(parts * dim)
        self.weight = nn.Parameter(torch.empty(parts, dim, classes))
        nn.init.xavier_uniform_(self.weight)

    def normed(self, parts: Tensor) -> Tensor:
        """Return `(N, P, D)` behind the neck."""
        return self.neck(parts.flatten(1)).view_as(parts)

    def forward(self, parts: Tensor) -> Tensor:
        """Return the cosines `(N, P, K)`."""
        return _cosines(self.normed(parts), self.weight)


@in_float32
def _cosines(parts: Tensor, weight: Tensor) -> Tensor:
    return torch.einsum("npd,pdk->npk", unit(parts), F.normalize(weight, dim=1))
