"""What is added to the blocks of a pretrained transformer, so that little of it must change.

After VSLA-CLIP (ECCV 2024) and the VReID-XFD entries (arXiv 2604.04183), from the papers and from
numbers. Unlike there, all that is added says nothing at the start.
"""

import torch
from torch import Tensor, nn

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


@MODELS.register_module()
class AdaptedBlock(nn.Module):
    """A block of a transformer with adapters beside its attention and its MLP, and prompts.

    `z = x + attention(norm1 x) + across(x)`, then `z + mlp(norm2 z) + within(z)`.

    >>> from timm.models.vision_transformer import Block
    >>> from train.encoders.adapters import AdaptedBlock
    >>> block, tokens = Block(32, 4).eval(), torch.randn(2, 3, 9, 32)
    >>> AdaptedBlock(block, width=16, heads=2)(tokens).allclose(block(tokens.flatten(0, 1))
    ...     .unflatten(0, (2, 3)), atol=1e-6)
    True
    """

    def __init__(self, block: nn.Module, width: int = 256, heads: int = 4) -> None:
        """Put adapters of `width` channels into a block of timm, `heads` heads along time."""
        super().__init__()
        self.block = block
        dim = block.norm1.normalized_shape[0]
        self.within, self.across = WithinFrame(dim, width), AcrossFrames(dim, width, heads)

    def forward(
        self, tokens: Tensor, prompts: Tensor | None = None, frame_mask: Tensor | None = None
    ) -> Tensor:
        """Return the tokens `(B, T, L, C)` of the next block.

        Args:
            tokens: `(B, T, L, C)`.
            prompts: `(B, N, C)` of each clip, which its frames attend to, and which then go.
            frame_mask: `(B, T)`, True where the frame is good.
        """
        block, batch, places = self.block, tokens.shape[:2], tokens.shape[2]
        flat = tokens.flatten(0, 1)
        normed = block.norm1(flat)
        if prompts is not None:
            normed = torch.cat([normed, prompts.repeat_interleave(batch[1], 0)], dim=1)
        attended = block.drop_path1(block.ls1(block.attn(normed)[:, :places]))
        flat = flat + attended + self.across(tokens, frame_mask).flatten(0, 1)
        mlp = block.drop_path2(block.ls2(block.mlp(block.norm2(flat))))
        return (flat + mlp + self.within(flat)).unflatten(0, batch)


@MODELS.register_module()
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
