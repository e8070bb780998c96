"""Visual encoders: frames in, tokens out, through timm."""

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from pipeline.errors import PipelineError, did_you_mean
from train.registry import MODELS
from train.weights.pretrained import load_visual
from train.weights.renaming import TIMM_CNN, TIMM_VIT, Rule


def _create(name: str, weights: str | None, **arch: Any) -> Any:
    """Build a model of timm.

    Raises:
        PipelineError: If timm does not know the name.
    """
    if not timm.is_model(name.split(".")[0]):
        raise PipelineError(f"timm knows no {name}. {did_you_mean(name, timm.list_models())[:200]}")
    return timm.create_model(name, pretrained=weights == "hub", **arch)


class VisualEncoder(nn.Module):
    """What all visual encoders share.

    Attributes:
        width: Channels `C` of a token.
        out_dim: Channels `D` of a projected token.
        size: Height and width of a frame in pixels.
        cells: Rows and columns of the tokens behind the class token.
        rules: How what timm calls its parts is called here.
    """

    rules: tuple[Rule, ...] = ()
    cells: tuple[int, int]

    def __init__(
        self, width: int, out_dim: int, size: tuple[int, int], weights: str | None
    ) -> None:
        """Make the projection; it starts as a random map that keeps lengths.

        Args:
            width: Channels of a token.
            out_dim: Channels of a projected token.
            size: Height and width of a frame in pixels.
            weights: Local file or folder that `init_weights` reads, `hub` to let timm download its
                own, or None.
        """
        super().__init__()
        self.width, self.out_dim, self.size, self.weights = width, out_dim, tuple(size), weights
        self.proj = nn.Linear(width, out_dim, bias=False)
        nn.init.normal_(self.proj.weight, std=width**-0.5)

    @classmethod
    def passes_on(cls, config: Mapping[str, Any]) -> type | None:
        """Return the class of timm that takes the arguments which are not the encoder's own."""
        default = inspect.signature(cls).parameters["name"].default
        name = config.get("name", default).split(".")[0]
        if not timm.is_model(name):
            return None
        found = inspect.signature(timm.model_entrypoint(name)).return_annotation
        return found if inspect.isclass(found) else None

    def init_weights(self) -> None:
        """Read the pretrained weights; MMEngine's Runner calls this before it trains."""
        if self.weights not in (None, "hub"):
            load_visual(self, Path(self.weights))

    def forward(self, frames: Tensor, camids: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return tokens `(N, 1 + P, C)` and projected tokens `(N, 1 + P, D)`, class token first.

        Args:
            frames: `(N, 3, H, W)`, normalised.
            camids: `(N,)` camera of each frame, for encoders that embed it.

        Raises:
            PipelineError: If the frames have another size than the encoder was built for.
        """
        if frames.shape[-2:] != self.size:
            raise PipelineError(
                f"frames of {tuple(frames.shape[-2:])} pixels came to an encoder built for "
                f"{self.size}. Change `size` in the encoder's file of conf/encoder"
            )
        tokens = self.tokens(frames, camids)
        return tokens, self.proj(tokens)

    def tokens(self, frames: Tensor, camids: Tensor | None) -> Tensor:
        """Return `(N, 1 + P, C)`."""
        raise NotImplementedError

    @property
    def tap_widths(self) -> list[int]:
        """Channels of what `taps` gives.

        Raises:
            PipelineError: If there is no looking into this encoder.
        """
        raise PipelineError(f"{type(self).__name__} does not show its inner layers. Name another")

    def taps(self, frames: Tensor, camids: Tensor | None = None) -> list[Tensor]:
        """Return the tokens `(N, 1 + P, C)` at four depths, a quarter of the way apart."""
        raise NotImplementedError


@MODELS.register_module()
class VitEncoder(VisualEncoder):
    """A vision transformer of timm: CLIP, DINOv2, DINOv3, SigLIP and others by name.

    >>> from train.encoders.image import VitEncoder
    >>> encoder = VitEncoder("test_vit", size=(64, 32), out_dim=16)
    >>> tokens, projected = encoder(torch.zeros(1, 3, 64, 32))
    >>> tokens.shape, projected.shape
    (torch.Size([1, 9, 64]), torch.Size([1, 9, 16]))
    """

    rules = TIMM_VIT

    def __init__(
        self,
        name: str = "vit_base_patch16_clip_quickgelu_224",
        size: tuple[int, int] = (256, 128),
        out_dim: int = 512,
        cameras: int = 0,
        weights: str | None = None,
        checkpointing: bool = False,
        **arch: Any,
    ) -> None:
        """Build the transformer.

        Args:
            name: timm's name of the architecture.
            size: Height and width of a frame; positions learnt on a square are resampled.
            out_dim: Channels of a projected token.
            cameras: Cameras seen in training, each with a learnt vector added to the class token.
            weights: As in `VisualEncoder`.
            checkpointing: Keep no activations of the blocks in training, compute them again.
            arch: Passed on to timm, as `depth=6`.
        """
        vit = _create(name, weights, img_size=tuple(size), num_classes=0, **arch)
        super().__init__(vit.embed_dim, out_dim, size, weights)
        self.vit, self.is_checkpointing = vit, checkpointing
        self.cells = tuple(vit.patch_embed.grid_size)
        self.cameras: Any = nn.Embedding(cameras, vit.embed_dim) if cameras else None
        if self.cameras is not None:
            # A camera that never occurs in training keeps this zero.
            nn.init.zeros_(self.cameras.weight)

    def tokens(self, frames: Tensor, camids: Tensor | None) -> Tensor:
        """Return the tokens after the final norm."""
        vit = self.vit
        x, rope = self.embed(frames, camids)
        for block in vit.blocks:
            x = self._through(block, x, rope)
        return self.finish(x)

    def finish(self, x: Tensor) -> Tensor:
        """Return the tokens `(N, 1 + P, C)`, out of what the last block gave."""
        vit = self.vit
        x = vit.norm(x)
        if vit.num_prefix_tokens or vit.attn_pool is None:
            return self._class_first(x)
        # SigLIP has no class token: its attention pool takes the place.
        return torch.cat([vit.attn_pool(x)[:, None], x], dim=1)

    def _through(self, block: nn.Module, x: Tensor, rope: dict[str, Any]) -> Tensor:
        if self.is_checkpointing and self.training:
            return checkpoint(block, x, use_reentrant=False, **rope)
        return block(x, **rope)

    def _class_first(self, x: Tensor) -> Tensor:
        """Return the class token, or where there is none the mean, and the patches."""
        first = x[:, :1] if self.vit.num_prefix_tokens else x.mean(1, keepdim=True)
        return torch.cat([first, x[:, self.vit.num_prefix_tokens :]], dim=1)

    @property
    def tap_widths(self) -> list[int]:
        """Channels of what `taps` gives."""
        return [self.width] * 4

    def taps(self, frames: Tensor, camids: Tensor | None = None) -> list[Tensor]:
        """Return the tokens `(N, 1 + P, C)` behind each quarter of the blocks."""
        x, rope = self.embed(frames, camids)
        found, depth = [], len(self.vit.blocks)
        ends = [-(-depth * quarter // 4) for quarter in range(1, 5)]
        for number, block in enumerate(self.vit.blocks, 1):
            x = self._through(block, x, rope)
            found += [self._class_first(x)] * ends.count(number)
        return found

    def embed(self, frames: Tensor, camids: Tensor | None = None) -> tuple[Tensor, dict[str, Any]]:
        """Return the tokens before the first block, and what blocks are told beside them."""
        vit = self.vit
        x = vit._pos_embed(vit.patch_embed(frames))
        rope: dict[str, Any] = {}
        if isinstance(x, tuple):
            # DINOv3 has no positions to add; its blocks turn queries and keys instead.
            x, rope["rope"] = x
        if self.cameras is not None and camids is not None:
            x = torch.cat([x[:, :1] + self._camera(camids)[:, None], x[:, 1:]], dim=1)
        return vit.norm_pre(x), rope

    def _camera(self, camids: Tensor) -> Tensor:
        is_known = (camids >= 0) & (camids < self.cameras.num_embeddings)
        return self.cameras(torch.where(is_known, camids, 0)) * is_known[:, None]


@MODELS.register_module()
class CnnEncoder(VisualEncoder):
    """A convolutional network of timm: its feature map gives the tokens, their mean the first.

    >>> from train.encoders.image import CnnEncoder
    >>> encoder = CnnEncoder("test_resnet", size=(64, 32), out_dim=16)
    >>> tokens, projected = encoder(torch.zeros(1, 3, 64, 32))
    >>> tokens.shape, projected.shape
    (torch.Size([1, 3, 96]), torch.Size([1, 3, 16]))
    """

    rules = TIMM_CNN

    def __init__(
        self,
        name: str = "resnet50",
        size: tuple[int, int] = (256, 128),
        out_dim: int = 512,
        weights: str | None = None,
        **arch: Any,
    ) -> None:
        """Build the network.

        Args:
            name: timm's name of the architecture.
            size: Height and width of a frame.
            out_dim: Channels of a projected token.
            weights: As in `VisualEncoder`.
            arch: Passed on to timm, as `output_stride=16`.
        """
        cnn = _create(name, weights, num_classes=0, global_pool="", **arch)
        super().__init__(cnn.num_features, out_dim, size, weights)
        # Frames are decoded pixel by pixel; convolutions that take them so need a quarter less.
        self.cnn = cnn.to(memory_format=torch.channels_last)
        stride = cnn.feature_info[-1]["reduction"]
        self.cells = (-(-self.size[0] // stride), -(-self.size[1] // stride))

    def tokens(self, frames: Tensor, camids: Tensor | None) -> Tensor:
        """Return the cells of the feature map, after their mean; cameras are not embedded."""
        return _mean_first(self.cnn.forward_features(frames))

    @property
    def tap_widths(self) -> list[int]:
        """Channels of what `taps` gives.

        Raises:
            PipelineError: If timm does not show the inner layers of this network.
        """
        if not hasattr(self.cnn, "forward_intermediates"):
            return super().tap_widths
        return [stage["num_chs"] for stage in self.cnn.feature_info][-4:]

    def taps(self, frames: Tensor, camids: Tensor | None = None) -> list[Tensor]:
        """Return the tokens `(N, 1 + P, C)` of the last four stages, of as many cells each."""
        stages = len(self.cnn.feature_info)
        maps = self.cnn.forward_intermediates(
            frames, indices=list(range(max(0, stages - 4), stages)), intermediates_only=True
        )
        return [_mean_first(F.adaptive_avg_pool2d(found, self.cells)) for found in maps]


def _mean_first(found: Tensor) -> Tensor:
    """Return the tokens `(N, 1 + h w, C)` of a map `(N, C, h, w)`: their mean, then its cells."""
    cells = found.flatten(2).transpose(1, 2)
    return torch.cat([cells.mean(1, keepdim=True), cells], dim=1)
