"""Body parts of a frame, told by its 2D joints (KeyRe-ID, arXiv 2507.07393).

The public code's map maker draws nothing; this one follows the paper.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.errors import PipelineError
from train.registry import MODELS

# COCO-17 joints of the six parts.
PARTS = {
    "head": (0, 1, 2, 3, 4),
    "torso": (5, 6, 11, 12),
    "left arm": (7, 9),
    "right arm": (8, 10),
    "left leg": (13, 15),
    "right leg": (14, 16),
}
MIN_SCORE = 0.1


def part_maps(kps: Tensor, size: tuple[int, int]) -> Tensor:
    """Draw each part's joints as small bumps, `(..., 6, H, W)` in [0, 1].

    A bump is a Gaussian of a radius of `W // 11` pixels around the joint's pixel, 1 at its peak;
    where two meet the higher counts. Joints outside of the frame or of a score up to 0.1 are not
    drawn.

    Args:
        kps: `(..., 17, 3)`: x and y in [0, 1] of the frame, and the score.
        size: Height and width of the maps in pixels.

    >>> kps = torch.zeros(17, 3)
    >>> kps[0] = torch.tensor([0.5, 0.25, 1.0])
    >>> maps = part_maps(kps, (64, 32))
    >>> maps[0, 16, 16].item(), maps[1].max().item()
    (1.0, 0.0)
    """
    height, width = size
    x, y, score = (kps.float() * kps.new_tensor([width, height, 1.0]).float()).unbind(-1)
    is_drawn = (score > MIN_SCORE) & (x >= 0) & (x < width) & (y >= 0) & (y < height)
    radius = width // 11
    deviation = (2 * radius + 1) / 4
    rows = _bump(y.floor(), height, radius, deviation) * is_drawn[..., None]
    columns = _bump(x.floor(), width, radius, deviation)
    maps = [
        torch.einsum("...jh,...jw->...jhw", rows[..., joints, :], columns[..., joints, :]).amax(-3)
        for joints in (list(part) for part in PARTS.values())
    ]
    return torch.stack(maps, dim=-3)


def _bump(centre: Tensor, length: int, radius: int, deviation: float) -> Tensor:
    distance = torch.arange(length, device=centre.device) - centre[..., None]
    bump = torch.exp(-(distance**2) / (2 * deviation**2))
    return bump * (distance.abs() <= radius)


@MODELS.register_module()
class KeypointParts(nn.Module):
    """Six part features of a clip: its cells, weighted by where the part's joints are.

    >>> from train.parts.keypoints import KeypointParts
    >>> parts, is_visible = KeypointParts(cells=(8, 4))(torch.randn(2, 3, 33, 10),
    ...     torch.rand(2, 3, 17, 3))
    >>> parts.shape, is_visible.shape
    (torch.Size([2, 6, 10]), torch.Size([2, 6]))
    """

    def __init__(self, cells: tuple[int, int], pixels: int = 16, min_rows: int = 8) -> None:
        """Take the cells of the encoder.

        Args:
            cells: Rows and columns of the encoder's patches.
            pixels: Height of a cell in the pixels that maps are drawn in.
            min_rows: Rows that six parts of a body need to be told apart.

        Raises:
            PipelineError: If the encoder has too few rows.
        """
        super().__init__()
        if cells[0] < min_rows:
            raise PipelineError(
                f"parts of the body need an encoder of {min_rows} rows of cells or more, this one "
                f"has {cells[0]}. Take one with a smaller stride, as conf/encoder/conv_stem_fine"
            )
        self.cells, self.pixels = tuple(cells), pixels

    def weights(self, kps: Tensor) -> Tensor:
        """Return `(..., N, 6)`: how much of each cell belongs to each part."""
        size = (self.cells[0] * self.pixels, self.cells[1] * self.pixels)
        maps = part_maps(kps, size)
        shares = F.avg_pool2d(maps.flatten(0, -4), self.pixels)
        return shares.flatten(2).transpose(1, 2).unflatten(0, kps.shape[:-2])

    def forward(
        self, tokens: Tensor, kps: Tensor, frame_mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return the parts `(B, 6, C)`, and `(B, 6)`: which were seen at all; others are zero.

        Args:
            tokens: `(B, T, 1 + N, C)`, the class token first, which is not looked at.
            kps: `(B, T, 17, 3)`, x and y in [0, 1] and the score.
            frame_mask: `(B, T)`, True where the frame is good.
        """
        weights = self.weights(kps)
        if frame_mask is not None:
            weights = weights * frame_mask[..., None, None]
        total = weights.sum((1, 2))
        parts = torch.einsum("btnp,btnc->bpc", weights, tokens[:, :, 1:].float())
        is_visible = total > 0
        return parts / total.clamp(min=1e-6)[..., None], is_visible
