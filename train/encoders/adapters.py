"""What is added to the blocks of a pretrained transformer, so that little of it must change.

After VSLA-CLIP (ECCV 2024) and the VReID-XFD entries (arXiv 2604.04183), from the papers and from
numbers. Unlike there, all that is added says nothing at the start.
"""

from typing import Any

import torch
from torch import Tensor, nn

from pipeline.errors import PipelineError
from train.encoders.image import VitEncoder
from train.parts.attention import Attention
from train.parts.prototypes import QuickGELU
from train.registry import MODELS


class WithinFrame(nn.Module):
    """A bottleneck for each token: down, activation, up."""

    def __init__(self, dim: int, width: int) -> None:
        """Make it, silent: `dim` channels to `width` and back."""
        super().__init__()
        self.down, self.act, self.up = nn.Linear(dim, width), QuickGELU(), _silent(width, dim)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return what to add to `(..., C)` tokens."""
        return self.up(self.act(self.down(tokens)))


class AcrossFrames(nn.Module):
    """A bottleneck in which each place of the frame talks with itself along time."""

    def __init__(self, dim: int, width: int, heads: int) -> None:
        """Make it, silent: `dim` channels to `width` and back, `heads` heads between."""
        super().__init__()
        self.down, self.up = nn.Linear(dim, width), _silent(width, dim)
        self.time = Attention(width, heads)

    def forward(self, tokens: Tensor, frame_mask: Tensor | None = None) -> Tensor:
        """Return what to add to `(B, T, L, C)` tokens; bad frames of `(B, T)` are not heard."""
        narrow = self.down(tokens).transpose(1, 2)
        mask = None if frame_mask is None else frame_mask.repeat_interleave(narrow.shape[1], 0)
        mixed = self.time(narrow.flatten(0, 1), mask=mask).unflatten(0, narrow.shape[:2])
        return self.up(mixed.transpose(1, 2))


def _silent(width: int, dim: int) -> nn.Linear:
    layer = nn.Linear(width, dim)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


class BlockAdapter(nn.Module):
    """Adapters beside attention and MLP of a block of a transformer, which keeps its weights.

    `z = x + attention(norm1 x) + across(x)`, then `z + mlp(norm2 z) + within(z)`.

    >>> import torch
    >>> from timm.models.vision_transformer import Block
    >>> from train.encoders.adapters import BlockAdapter
    >>> block, tokens = Block(32, 4).eval(), torch.randn(2, 3, 9, 32)
    >>> plain = block(tokens.flatten(0, 1)).unflatten(0, (2, 3))
    >>> BlockAdapter(32, width=16, heads=2)(block, tokens).allclose(plain, atol=1e-6)
    True
    """

    def __init__(self, dim: int, width: int = 256, heads: int = 4) -> None:
        """Make adapters of `width` channels for `dim`, with `heads` heads along time."""
        super().__init__()
        self.within, self.across = WithinFrame(dim, width), AcrossFrames(dim, width, heads)

    def forward(
        self,
        block: Any,
        tokens: Tensor,
        prompts: Tensor | None = None,
        frame_mask: Tensor | None = None,
    ) -> Tensor:
        """Return the tokens `(B, T, L, C)` of the next block.

        Args:
            block: A block of timm's vision transformer.
            tokens: `(B, T, L, C)`.
            prompts: `(B, N, C)` of each clip, which its frames attend to, and which then go.
            frame_mask: `(B, T)`, True where the frame is good.
        """
        batch, places = tokens.shape[:2], tokens.shape[2]
        flat = tokens.flatten(0, 1)
        normed = block.norm1(flat)
        if prompts is not None:
            normed = torch.cat([normed, prompts.repeat_interleave(batch[1], 0)], dim=1)
        attended = block.drop_path1(block.ls1(block.attn(normed)[:, :places]))
        flat = flat + attended + self.across(tokens, frame_mask).flatten(0, 1)
        mlp = block.drop_path2(block.ls2(block.mlp(block.norm2(flat))))
        return (flat + mlp + self.within(flat)).unflatten(0, batch)


class ViewPrompts(nn.Module):
    """Prompts for the first blocks, told by how a clip was taken.

    They are sums of one table for each view column; row 0 is the unknown and stays zero, so that
    a clip of which nothing is known has no prompt but zeros.

    >>> from train.encoders.adapters import ViewPrompts
    >>> prompts = ViewPrompts(dim=32, depth=2, length=3, views={"platform": 2})
    >>> prompts({"platform": torch.tensor([0, 2])}, 1).shape
    torch.Size([2, 3, 32])
    """

    def __init__(self, dim: int, views: dict[str, int], depth: int = 9, length: int = 4) -> None:
        """Make one table for each view.

        Args:
            dim: Channels.
            views: Name of each view column, and how many values it has beside the unknown.
            depth: Blocks that have prompts.
            length: Prompts of a block.
        """
        super().__init__()
        self.depth, self.length, self.dim = depth, length, dim
        self.tables = nn.ModuleDict(
            {name: nn.Embedding(1 + n, depth * length * dim, 0) for name, n in views.items()}
        )
        table: Any
        for table in self.tables.values():
            nn.init.trunc_normal_(table.weight, std=0.02)
            nn.init.zeros_(table.weight[0])

    def forward(self, views: dict[str, Tensor], block: int) -> Tensor | None:
        """Return the prompts `(B, N, C)` of a block, or None behind the last one that has any.

        Args:
            views: `(B,)` values of each view, 0 where unknown.
            block: Its number, from 0.
        """
        if block >= self.depth:
            return None
        shape = (-1, self.depth, self.length, self.dim)
        return sum(table(views[name]).view(shape)[:, block] for name, table in self.tables.items())


@MODELS.register_module()
class AdaptedVitEncoder(VitEncoder):
    """A pretrained vision transformer, kept as it is but for its last blocks, with adapters.

    >>> import torch
    >>> from train.encoders.adapters import AdaptedVitEncoder
    >>> encoder = AdaptedVitEncoder("test_vit", size=(64, 32), out_dim=16, heads=2)
    >>> encoder.clip_tokens(torch.zeros(2, 3, 3, 64, 32), {})[0].shape
    torch.Size([2, 3, 9, 64])
    """

    def __init__(
        self,
        name: str = "vit_large_patch14_clip_quickgelu_224",
        size: tuple[int, int] = (252, 126),
        out_dim: int = 768,
        adapter_width: int = 256,
        heads: int = 4,
        views: dict[str, int] | None = None,
        depth: int = 9,
        length: int = 4,
        train_blocks: int = 2,
        **arch: Any,
    ) -> None:
        """Build the transformer and what is added to it.

        Args:
            name: timm's name of the architecture.
            size: Height and width of a frame.
            out_dim: Channels of a projected token.
            adapter_width: Channels of the adapters.
            heads: Heads of the adapters along time.
            views: Name of each view that has prompts, and how many values it has.
            depth: Blocks that have prompts.
            length: Prompts of a block.
            train_blocks: So many of the last blocks are trained; the others are frozen.
            arch: As for `VitEncoder`.

        Raises:
            PipelineError: If the transformer has no class token, or turns its queries.
        """
        super().__init__(name, size, out_dim, **arch)
        if not self.vit.num_prefix_tokens or getattr(self.vit, "rope", None) is not None:
            raise PipelineError(
                f"adapters need a transformer with a class token and learnt positions, {name} has "
                "not. Take one of CLIP or DINOv2"
            )
        dim, blocks = self.vit.embed_dim, self.vit.blocks
        self.adapters = nn.ModuleList(BlockAdapter(dim, adapter_width, heads) for _ in blocks)
        self.prompts = ViewPrompts(dim, views, min(depth, len(blocks)), length) if views else None
        self.vit.requires_grad_(False)
        self.vit.norm.requires_grad_(True)
        for block in blocks[len(blocks) - train_blocks :]:
            block.requires_grad_(True)

    @property
    def tap_widths(self) -> list[int]:
        """Raise a `PipelineError`: its inner layers see whole clips, which `taps` does not."""
        raise PipelineError("an encoder with adapters shows no inner layers. Name another encoder")

    def clip_tokens(
        self,
        frames: Tensor,
        views: dict[str, Tensor],
        camids: Tensor | None = None,
        frame_mask: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return tokens and projected tokens `(B, T, 1 + N, C)`, and the last block's input.

        Args:
            frames: `(B, T, 3, H, W)`, normalised.
            views: `(B,)` of each view that has prompts, 0 where unknown.
            camids: `(B,)`, for encoders that embed them.
            frame_mask: `(B, T)`, True where the frame is good.
        """
        batch = frames.shape[:2]
        if camids is not None:
            camids = camids.repeat_interleave(batch[1])
        x = before = self.embed(frames.flatten(0, 1), camids)[0].unflatten(0, batch)
        for index, (block, adapter) in enumerate(zip(self.vit.blocks, self.adapters, strict=True)):
            prompts = self.prompts(views, index) if self.prompts is not None else None
            before, x = x, adapter(block, x, prompts, frame_mask)
        tokens = self.vit.norm(x)
        return tokens, self.proj(tokens), before
