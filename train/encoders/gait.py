"""What walks there, without its clothes: maps of silhouettes, and of tokens inside of them.

After the gait branch of DinoGRL (arXiv 2511.04281). Maps of single frames come out; who puts them
together decides whether their order counts.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from train.parts.batch import Inputs
from train.parts.silhouettes import (
    LookBranch,
    MaskBranch,
    PartBranch,
    StreamFusion,
    foreground,
    refine,
    sameness,
    smoothness,
)
from train.registry import MODELS

Found = tuple[Tensor, dict[str, Tensor]]


@MODELS.register_module()
class SilhouetteEncoder(nn.Module):
    """Small residual network on silhouettes that shards hold: true ones, or bodies around joints.

    Attributes:
        needs: Columns of a batch that it looks at.
        needs_at_test: The same.
        out_dim: Channels of a cell.
        cells: Rows and columns of cells.
        terms: Names of the losses that it has of its own.

    >>> from train.encoders.gait import SilhouetteEncoder
    >>> silhouettes = torch.ones(2, 3, 128, 64, dtype=torch.uint8)
    >>> SilhouetteEncoder(channels=(8, 16))(dict(silhouettes=silhouettes))[0].shape
    torch.Size([2, 3, 32, 16, 16])
    """

    needs: ClassVar[frozenset[str]] = frozenset({"silhouettes"})
    needs_at_test: ClassVar[frozenset[str]] = needs
    terms: ClassVar[tuple[str, ...]] = ()

    def __init__(
        self, channels: Sequence[int] = (32, 64, 128, 128), size: tuple[int, int] = (64, 32)
    ) -> None:
        """Build the network.

        Args:
            channels: Of its stages; the second and the third halve the map.
            size: Height and width that silhouettes are shrunk to.
        """
        super().__init__()
        self.size = tuple(size)
        self.stem, self.stages = _stem(1, channels[0]), _stages(channels)
        self.out_dim, self.cells = channels[-1], _cells(self.size, channels)

    def forward(self, inputs: Inputs) -> Found:
        """Return the cells `(B, T, h, w, C)` of the frames, and losses of its own by name."""
        given = inputs["silhouettes"]
        maps = F.adaptive_avg_pool2d(given.flatten(0, 1)[:, None].float(), self.size)
        return _cells_of(self.stages(self.stem(maps)), torch.Size(given.shape[:2])), {}


@MODELS.register_module()
class TokenGaitEncoder(nn.Module):
    """Silhouettes nobody drew: a mask learnt on the tokens of a frozen encoder, and what is inside.

    After BigGait and DinoGRL. A mask branch finds the person by describing tokens again through
    two numbers; inside of it, one branch sees parts that nobody named and one how places look, and
    both maps are fused. Ours: branches run on the encoder's own grid, and their maps are enlarged;
    maps are smooth each by itself (the public sum of shares is 1 everywhere, and always smooth).

    Attributes:
        needs: Columns of a batch that it looks at.
        needs_at_test: The same.
        out_dim: Channels of a cell.
        cells: Rows and columns of cells.
        terms: Names of the losses that it has of its own.

    >>> from train.encoders.gait import TokenGaitEncoder
    >>> vit = dict(type="train.encoders.image.VitEncoder", name="test_vit", size=(64, 32))
    >>> cells, losses = TokenGaitEncoder(vit)(dict(frames=torch.rand(2, 3, 3, 128, 64)))
    >>> cells.shape, sorted(losses)
    (torch.Size([2, 3, 16, 8, 128]), ['diversity', 'mask', 'mask_smooth', 'part_smooth'])
    """

    needs: ClassVar[frozenset[str]] = frozenset({"frames"})
    needs_at_test: ClassVar[frozenset[str]] = needs
    terms: ClassVar[tuple[str, ...]] = ("mask", "mask_smooth", "part_smooth", "diversity")

    def __init__(
        self,
        tokens: dict[str, Any],
        channels: Sequence[int] = (64, 64, 128, 128),
        size: tuple[int, int] = (64, 32),
        shares: int = 16,
        drop: float = 0.2,
    ) -> None:
        """Build branches and network.

        Args:
            tokens: Configuration of an encoder that shows its inner layers; it stays as it comes.
            channels: Of the network's stages; the second and the third halve the map.
            size: Height and width of the maps.
            shares: Channels of each of the two maps.
            drop: How often, in training, a clip lacks one of the two.
        """
        super().__init__()
        self.tokens = MODELS.build(tokens).requires_grad_(False)
        self.size, self.drop = tuple(size), drop
        self.mask = MaskBranch(self.tokens.width)
        inner = sum(self.tokens.tap_widths)
        self.part, self.look = PartBranch(inner, shares), LookBranch(inner, shares)
        self.part_stem, self.look_stem = (_stem(shares, channels[0]) for _ in range(2))
        self.fusion, self.stages = StreamFusion(channels[0]), _stages(channels)
        self.out_dim, self.cells = channels[-1], _cells(self.size, channels)

    def init_weights(self) -> None:
        """Read the weights of the frozen encoder; MMEngine's Runner asks for it."""
        self.tokens.init_weights()

    def train(self, mode: bool = True) -> "TokenGaitEncoder":
        """Switch to training; the frozen encoder stays in evaluation."""
        super().train(mode)
        self.tokens.eval()
        return self

    def silhouettes(self, inputs: Inputs) -> Tensor:
        """Return how sure the mask branch is of the person, `(B, T, H, W)` of `size`."""
        shares, _ = self.mask(self._tokens(inputs)[0])
        found = self._body(self._map(shares, inputs)[0])
        return found.unflatten(0, inputs["frames"].shape[:2])

    def forward(self, inputs: Inputs) -> Found:
        """Return the cells `(B, T, h, w, C)` of the frames, and losses of its own by name."""
        last, inner = self._tokens(inputs)
        shares, described = self.mask(last)
        masks, _ = self._map(shares, inputs)
        body = self._body(masks)[:, None]
        parts, looks = (self._map(branch(inner), inputs)[0] for branch in (self.part, self.look))
        parts, looks = parts * body, looks * body
        # A frame without a person uses all parts alike.
        used = parts.flatten(2).transpose(1, 2) + 1e-6
        terms = {
            "mask": described,
            "mask_smooth": _smooth(masks),
            "part_smooth": _smooth(parts),
            "diversity": sameness(used),
        }
        batch = torch.Size(inputs["frames"].shape[:2])
        parts, looks = self._some_lacking(parts, looks, batch)
        fused = self.fusion(self.part_stem(parts), self.look_stem(looks))
        return _cells_of(self.stages(fused), batch), terms

    @torch.no_grad()
    def _tokens(self, inputs: Inputs) -> tuple[Tensor, Tensor]:
        """Return the last and the inner layers' tokens of all places, `(M, C)` and `(M, 4 C)`."""
        frames = inputs["frames"].flatten(0, 1)
        if frames.shape[-2:] != self.tokens.size:
            frames = F.interpolate(frames, self.tokens.size, mode="bilinear", antialias=True)
        taps = self.tokens.taps(frames)
        last, inner = taps[-1][:, 1:], torch.cat([tap[:, 1:] for tap in taps], dim=2)
        return last.flatten(0, 1), inner.flatten(0, 1)

    def _map(self, shares: Tensor, inputs: Inputs) -> tuple[Tensor, torch.Size]:
        """Return what is known of places `(M, S)` as maps `(N, S, H, W)` of `size`."""
        batch = torch.Size(inputs["frames"].shape[:2])
        maps = shares.unflatten(0, (batch.numel(), *self.tokens.cells)).permute(0, 3, 1, 2)
        return F.interpolate(maps, self.size, mode="bilinear"), batch

    def _body(self, masks: Tensor) -> Tensor:
        """Return the silhouettes `(N, H, W)` out of two shares of each place `(N, 2, H, W)`."""
        return refine(foreground(masks.permute(0, 2, 3, 1)))

    def _some_lacking(
        self, parts: Tensor, looks: Tensor, batch: torch.Size
    ) -> tuple[Tensor, Tensor]:
        """Return both maps; in training, some clips lack one of them."""
        if not self.training or not self.drop:
            return parts, looks
        draw = torch.rand(batch[0], device=parts.device).repeat_interleave(batch[1])
        draw = draw[:, None, None, None]
        lacks_looks = draw > 1 - self.drop / 2
        return parts * (draw > self.drop / 2), looks * ~lacks_looks


def _smooth(maps: Tensor) -> Tensor:
    return smoothness(maps.flatten(0, 1)[:, None])


def _cells(size: tuple[int, int], channels: Sequence[int]) -> tuple[int, int]:
    stride = 2 ** min(2, len(channels) - 1)
    return size[0] // stride, size[1] // stride


def _cells_of(maps: Tensor, batch: torch.Size) -> Tensor:
    """Return `(B, T, h, w, C)` of maps `(N, C, h, w)`."""
    return maps.permute(0, 2, 3, 1).unflatten(0, batch)


def _stem(given: int, width: int) -> nn.Sequential:
    conv = nn.Conv2d(given, width, 3, padding=1, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(width), nn.ReLU(), _Block(width, width, 1))


def _stages(channels: Sequence[int]) -> nn.Sequential:
    pairs = pairwise(channels)
    return nn.Sequential(
        *(_Block(one, other, 2 if number < 2 else 1) for number, (one, other) in enumerate(pairs))
    )


class _Block(nn.Module):
    """Two convolutions beside a shortcut (ResNet, arXiv 1512.03385)."""

    def __init__(self, given: int, width: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(given, width, 3, stride, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
        )
        self.shortcut: nn.Module = nn.Identity()
        if given != width or stride > 1:
            conv = nn.Conv2d(given, width, 1, stride, bias=False)
            self.shortcut = nn.Sequential(conv, nn.BatchNorm2d(width))

    def forward(self, maps: Tensor) -> Tensor:
        """Return `(N, width, h, w)` of `(N, given, H, W)`."""
        return (self.body(maps) + self.shortcut(maps)).relu()
