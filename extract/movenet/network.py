"""MoveNet for one person (Google, 2021, Apache-2.0) as a backbone and a head of MMPose.

A MobileNetV2 (Sandler et al., CVPR 2018) and a pyramid of three steps back up to a quarter of the
input, after CenterNet (Zhou et al., 2019). Batch norms are folded into the convolutions, as the
weights were published. TensorFlow pads the input of a convolution of stride 2 below and to the
right alone, torch on all sides: `_same` does it as the weights have learnt it.
"""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from mmpose.models.heads import BaseHead
from mmpose.registry import KEYPOINT_CODECS, MODELS
from torch import Tensor, nn

from extract.movenet.codec import Maps
from pipeline.skeleton import COCO17

# Of MobileNetV2's table: widening, channels, blocks, stride of the first of them.
_STAGES = (
    (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2),
    (6, 320, 1, 1),
)  # fmt: skip
# Blocks at the end of the strides 4, 8 and 16, and what the pyramid makes of each.
_LEVELS = {2: 24, 5: 32, 9: 64}
_TOP, _NECK, _WIDE = 1280, 24, 96
# Frames that a CPU takes at once: the widest layers of 64 are 0.8 GB, of Thunder 2.8 GB.
_SLICE = 16
# Cells from where a joint is expected at which its response counts half.
_NEAR = 1.8


def _channels(number: int, width: float) -> int:
    """Return a number of channels times `width`, as a multiple of eight."""
    return int(number * width + 4) // 8 * 8


def _same(x: Tensor, stride: int) -> Tensor:
    return F.pad(x, (0, 1, 0, 1)) if stride == 2 else F.pad(x, (1, 1, 1, 1))


def _relu6(x: Tensor) -> Tensor:
    return F.relu6(x, inplace=True)


class Block(nn.Module):
    """An inverted residual: widen, look around in each channel, narrow."""

    def __init__(self, before: int, after: int, widening: int, stride: int) -> None:
        """Build it for `before` channels in and `after` out."""
        super().__init__()
        wide = before * widening
        self.stride, self.adds = stride, stride == 1 and before == after
        self.expand = nn.Conv2d(before, wide, 1) if widening > 1 else None
        self.depthwise = nn.Conv2d(wide, wide, 3, stride, groups=wide)
        self.project = nn.Conv2d(wide, after, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return features `(B, after, H / stride, W / stride)`."""
        y = x if self.expand is None else _relu6(self.expand(x))
        y = self.project(_relu6(self.depthwise(_same(y, self.stride))))
        return x + y if self.adds else y


class Separable(nn.Module):
    """A 3x3 convolution in each channel, one across channels, and ReLU."""

    def __init__(self, before: int, after: int) -> None:
        """Build it for `before` channels in and `after` out."""
        super().__init__()
        self.depthwise = nn.Conv2d(before, before, 3, padding=1, groups=before, bias=False)
        self.pointwise = nn.Conv2d(before, after, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return features `(B, after, H, W)`."""
        return F.relu_(self.pointwise(self.depthwise(x)))


@MODELS.register_module()
class MoveNetBackbone(nn.Module):
    """From pixels in [-1, 1], RGB, to 24 channels at a quarter of the size."""

    def __init__(self, width: float = 1.0) -> None:
        """Build it; `width` multiplies the channels: 1 for Lightning, 1.75 for Thunder."""
        super().__init__()
        self.stem = nn.Conv2d(3, before := _channels(32, width), 3, 2)
        self.blocks, self.laterals = nn.ModuleList(), nn.ModuleDict()
        for widening, channels, count, stride in _STAGES:
            for i in range(count):
                after = _channels(channels, width)
                self.blocks.append(Block(before, after, widening, stride if i == 0 else 1))
                before = after
                if level := _LEVELS.get(len(self.blocks) - 1):
                    self.laterals[str(len(self.blocks) - 1)] = nn.Conv2d(after, level, 1)
        self.last = nn.Conv2d(before, _TOP, 1)
        self.top = nn.Conv2d(_TOP, widest := max(_LEVELS.values()), 1)
        wanted = (*sorted(_LEVELS.values())[-2::-1], _NECK)
        before = (widest, *wanted[:-1])
        self.smooth = nn.ModuleList(Separable(a, b) for a, b in zip(before, wanted, strict=True))

    def forward(self, x: Tensor) -> tuple[Tensor]:
        """Return features `(B, 24, H / 4, W / 4)` of images `(B, 3, H, W)`."""
        if x.is_cpu and len(x) > _SLICE:
            return (torch.cat([self._features(part) for part in x.split(_SLICE)]),)
        return (self._features(x),)

    def _features(self, x: Tensor) -> Tensor:
        """Do it; what no later layer needs is let go at once."""
        kept = []
        x = _relu6(self.stem(_same(x, 2)))
        for i, block in enumerate(self.blocks):
            x = block(x)
            if str(i) in self.laterals:
                kept.append(self.laterals[str(i)](x))
        x = self.top(_relu6(self.last(x)))
        for smooth in self.smooth:
            x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
            x = smooth(x + kept.pop())
        return x


@MODELS.register_module()
class MoveNetHead(BaseHead):
    """Maps of the joints of the person nearest to the middle.

    Four branches: where joints are, where the centre of a person is, where seen from there each
    joint should be, and how far from the corner of its cell it is.
    """

    def __init__(self, decoder: Mapping[str, Any], joints: int = 17) -> None:
        """Build it.

        Args:
            decoder: Config of the codec, an `OffsetHeatmap`.
            joints: `J`.
        """
        super().__init__()
        self.decoder = KEYPOINT_CODECS.build(dict(decoder))
        channels = {"heatmap": joints, "center": 1, "regress": 2 * joints, "offset": 2 * joints}
        self.branches = nn.ModuleDict(
            {
                name: nn.Sequential(Separable(_NECK, _WIDE), nn.Conv2d(_WIDE, count, 1))
                for name, count in channels.items()
            }
        )

    def raw(self, features: Tensor, name: str) -> Tensor:
        """Return what a branch gives, `(B, channels, H, W)` in float32.

        Args:
            features: `(B, 24, H, W)`.
            name: `heatmap` or `center`, before the sigmoid; `regress` or `offset`, in cells, y and
                x joint by joint.
        """
        return self.branches[name](features).float()

    def forward(self, feats: Sequence[Tensor]) -> Maps:
        """Return three maps of each joint.

        Args:
            feats: What the backbone gives.

        Returns:
            `near` `(B, J, H, W)`: how much the joint is there, and the joint of this person;
            `seen` `(B, J, H, W)` in [0, 1]: how much it is there, be it anybody's;
            `place` `(B, J, 2, H, W)`: x and y of the joint in cells, if it is in that cell.
        """
        features = feats[-1]
        expected = self._expected(features)
        seen = self.raw(features, "heatmap").sigmoid()
        y, x = _cells(seen)
        distance_y, distance_x = y - expected[..., :1], x - expected[..., 1:]
        distance = (distance_y.square()[..., :, None] + distance_x.square()[..., None, :]).sqrt()
        offset = self.raw(features, "offset").unflatten(1, (-1, 2))
        place = torch.stack([offset[:, :, 1] + x, offset[:, :, 0] + y[:, None]], dim=2)
        return seen * (_NEAR / (distance + _NEAR)), seen, place

    def _expected(self, features: Tensor) -> Tensor:
        """Return where each joint of the person should be: row and column, `(B, J, 2)`."""
        centres = self.raw(features, "center")[:, 0].sigmoid()
        height, width = centres.shape[-2:]
        y, x = _cells(centres)
        from_middle = ((y - height / 2).square()[:, None] + (x - width / 2).square()).sqrt()
        best = (centres / (from_middle + _NEAR)).flatten(1).argmax(1)
        seen = self.raw(features, "regress").flatten(2)
        seen = seen.gather(2, best[:, None, None].expand(-1, seen.shape[1], 1))
        at = torch.stack([best // width, best % width], dim=-1)
        return seen.unflatten(1, (-1, 2))[..., 0] + at[:, None]

    def merge(self, maps: Maps, mirrored: Maps) -> Maps:
        """Average the maps of frames with those of their mirror images.

        A place is counted from the left edge of the first cell: column 0 is mirrored to where a
        column behind the last would be, and keeps the edge's own values.
        """
        pairs = list(COCO17.flip)

        def turned(one: Tensor) -> Tensor:
            back = one[:, pairs].flip(-1)
            return torch.cat([back[..., :1], back[..., :-1]], dim=-1)

        near, seen, place = (turned(one) for one in mirrored)
        place = torch.stack([place.shape[-1] - place[:, :, 0], place[:, :, 1]], dim=2)
        pairs_of_maps = zip(maps, (near, seen, place), strict=True)
        near, seen, place = ((a + b) / 2 for a, b in pairs_of_maps)
        return near, seen, place

    def predict(self, feats: Any, batch_data_samples: Any, test_cfg: Any = None) -> Any:
        """Return the joints of a batch as MMPose's other heads do."""
        if test_cfg and test_cfg.get("flip_test", False):
            maps = self.merge(*(self.forward(one) for one in feats))
        else:
            maps = self.forward(feats)
        return self.decode(cast("Any", maps))

    def loss(self, feats: Any, batch_data_samples: Any, train_cfg: Any = None) -> dict:
        """Refuse: how it was trained was not published."""
        raise NotImplementedError("MoveNet is used as it was published; it is not trained here")


def _cells(maps: Tensor) -> tuple[Tensor, Tensor]:
    """Return the numbers of rows and columns, as floats."""
    height, width = maps.shape[-2:]
    y = torch.arange(height, device=maps.device, dtype=torch.float32)
    return y, torch.arange(width, device=maps.device, dtype=torch.float32)
