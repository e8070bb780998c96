"""Frames that learn of each other inside of an encoder: neighbours together, then patches moved."""

from typing import Any

import torch.nn.functional as F
from timm.layers import Attention
from timm.models.vision_transformer import Block
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from pipeline.errors import PipelineError
from train.encoders.image import VisualEncoder, VitEncoder
from train.encoders.shift import shift_patches


class AlongTime(nn.Module):
    """How an encoder goes through clips, when it goes through more than single frames.

    After LSMRL (arXiv 2601.12062; our reading). The first third of a transformer's blocks sees
    frames, the second neighbouring frames together, the last takes patches of half of its heads
    from other frames (TPS, ECCV 2022) and puts them back. That asks for no parameter. A
    convolutional network has no such blocks: its cells get one of the second and one of the third
    kind, which change nothing at first.
    """

    def __init__(
        self, encoder: VisualEncoder, group: int = 2, groups: bool = True, shift: bool = True
    ) -> None:
        """Look at the encoder, which is handed over again with every clip.

        Args:
            encoder: Of frames.
            group: Neighbouring frames that are seen together.
            groups: Whether any are.
            shift: Whether patches are moved.

        Raises:
            PipelineError: If the encoder's attention is of another kind.
        """
        super().__init__()
        self.group, self.is_wanted = group, (True, groups, shift)
        self.blocks = nn.ModuleList()
        if isinstance(encoder, VitEncoder):
            vit: Any = encoder.vit
            is_plain = all(type(getattr(one, "attn", None)) is Attention for one in vit.blocks)
            if not is_plain or getattr(vit, "rope", None) is not None:
                raise PipelineError(
                    "frames learn of each other in a transformer with plain attention and learnt "
                    "positions. Take one of CLIP or DINOv2, or set stage2.settings.without: "
                    "[groups, shift]"
                )
        else:
            kinds = [kind for kind in (1, 2) if self.is_wanted[kind]]
            heads = max(2, encoder.width // 64)
            self.kinds = kinds
            self.blocks.extend(_silent(Block(encoder.width, heads, qkv_bias=True)) for _ in kinds)

    def forward(
        self,
        encoder: Any,
        frames: Tensor,
        camids: Tensor | None = None,
        frame_mask: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Return tokens `(B, T, 1 + P, C)` and projected ones, class token first.

        Args:
            encoder: The one that was looked at.
            frames: `(B, T, 3, H, W)`, normalised.
            camids: `(B,)`.
            frame_mask: `(B, T)`, True where the frame is good; nobody looks at the others.
        """
        batch = frames.shape[:2]
        if camids is not None:
            camids = camids.repeat_interleave(batch[1])
        if isinstance(encoder, VitEncoder):
            x = encoder.embed(frames.flatten(0, 1), camids)[0].unflatten(0, batch)
            depth, first = len(encoder.vit.blocks), encoder.vit.num_prefix_tokens
            for number, block in enumerate(encoder.vit.blocks):
                kind = 3 * number // depth
                given = (block, kind, x, encoder.cells, first, frame_mask)
                if encoder.is_checkpointing and encoder.training:
                    x = checkpoint(self._through, *given, use_reentrant=False)
                else:
                    x = self._through(*given)
            tokens = encoder.finish(x.flatten(0, 1)).unflatten(0, batch)
        else:
            tokens = encoder.tokens(frames.flatten(0, 1), camids).unflatten(0, batch)
            for kind, block in zip(self.kinds, self.blocks, strict=True):
                tokens = self._through(block, kind, tokens, encoder.cells, 1, frame_mask)
        return tokens, encoder.proj(tokens)

    def _through(
        self,
        block: Any,
        kind: int,
        x: Tensor,
        cells: tuple[int, int],
        first: int,
        frame_mask: Tensor | None,
    ) -> Tensor:
        """Return `(B, T, L, C)` behind a block that sees frames, groups of them, or moved ones."""
        if kind == 0 or not self.is_wanted[kind]:
            return block(x.flatten(0, 1)).unflatten(0, x.shape[:2])
        if kind == 1:
            return together(block, x, self.group, frame_mask)
        return moved(block, x, cells, first, frame_mask)


def _silent(block: Block) -> Block:
    """Let a block add nothing at first."""
    last: Any = (block.attn.proj, block.mlp.fc2)
    for layer in last:
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)
    return block


def _seen(mask: Tensor) -> Tensor:
    """Return which keys count, `(..., 1, L)`; where none does all do, and nobody reads it."""
    return (mask | ~mask.any(-1, keepdim=True))[..., None, :]


def together(block: Any, x: Tensor, group: int, frame_mask: Tensor | None = None) -> Tensor:
    """Return tokens `(B, T, L, C)` behind a block to which neighbouring frames are one.

    Args:
        block: Of timm's vision transformer.
        x: `(B, T, L, C)`; a last group may be of fewer frames.
        group: How many are seen together.
        frame_mask: `(B, T)`, True where the frame is good.
    """
    batch, length, places = x.shape[:3]
    pad = -length % group
    windows = F.pad(x, (0, 0, 0, 0, 0, pad)).unflatten(1, (-1, group)).flatten(2, 3).flatten(0, 1)
    mask = None
    if frame_mask is not None or pad:
        if frame_mask is None:
            frame_mask = x.new_ones(batch, length).bool()
        mask = F.pad(frame_mask, (0, pad)).unflatten(1, (-1, group)).flatten(0, 1)
        mask = _seen(mask.repeat_interleave(places, dim=1))[:, None]
    seen = block(windows, attn_mask=mask).unflatten(0, (batch, -1))
    return seen.unflatten(2, (group, places)).flatten(1, 2)[:, :length]


def moved(
    block: Any, x: Tensor, cells: tuple[int, int], first: int, frame_mask: Tensor | None = None
) -> Tensor:
    """Return tokens `(B, T, L, C)` behind a block half of whose heads see patches moved in time.

    What they make of a patch goes back to where it came from. What came from a bad frame is seen
    by nobody.

    Args:
        block: Of timm's vision transformer.
        x: `(B, T, L, C)`.
        cells: Rows and columns of the patches.
        first: Tokens before them, which stay.
        frame_mask: `(B, T)`, True where the frame is good.
    """
    attn, shape = block.attn, x.shape
    qkv = attn.qkv(block.norm1(x)).unflatten(3, (3, attn.num_heads, -1))
    # (3, B, T, heads, L, d)
    q, k, v = (_half(part, cells, first, False) for part in qkv.permute(3, 0, 1, 4, 2, 5).unbind(0))
    mask = None
    if frame_mask is not None:
        each = frame_mask[:, :, None, None, None].expand(-1, -1, attn.num_heads, shape[2], 1)
        mask = _seen(_half(each, cells, first, False)[..., 0]).flatten(0, 1)
    dropout = attn.attn_drop.p if block.training else 0.0
    flat = (attn.q_norm(q).flatten(0, 1), attn.k_norm(k).flatten(0, 1), v.flatten(0, 1))
    found = F.scaled_dot_product_attention(*flat, mask, dropout).unflatten(0, shape[:2])
    found = _half(found, cells, first, True).transpose(2, 3).flatten(3)
    found = attn.proj_drop(attn.proj(attn.norm(found)))
    x = x + block.drop_path1(block.ls1(found))
    return x + block.drop_path2(block.ls2(block.mlp(block.norm2(x))))


def _half(values: Tensor, cells: tuple[int, int], first: int, inverse: bool) -> Tensor:
    """Move the patches of the first half of the heads of `(B, T, heads, L, d)`, or back."""
    count = max(1, values.shape[2] // 2)
    patches = values[:, :, :count, first:].unflatten(3, cells)
    made = values.clone()
    made[:, :, :count, first:] = shift_patches(patches, inverse).flatten(3, 4)
    return made
