"""Parts through which the frames of a clip learn of each other."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from train.parts.attention import Attention, position_code
from train.parts.batch import masked_mean
from train.parts.prototypes import QuickGELU
from train.registry import MODELS


@MODELS.register_module()
class MessageMixer(nn.Module):
    """One message token a frame: it hears the other frames, then tells its own tokens.

    With its defaults the temporal memory diffusion of TF-CLIP (arXiv 2312.09627, section 3.4), but
    for `position_code`, without which frames may come in any order. From the class token, without
    norms and MLP it is the cross-frame block of VSLA-CLIP.

    >>> from train.parts.mixers import MessageMixer
    >>> MessageMixer(dim=32, heads=4)(torch.randn(2, 4, 9, 32)).shape
    torch.Size([2, 4, 10, 32])
    """

    def __init__(
        self,
        dim: int,
        heads: int = 8,
        source: Literal["mean", "class"] = "mean",
        norm: bool = True,
        mlp: bool = True,
        position_code: bool = True,
        dropout: float = 0.0,
    ) -> None:
        """Make the mixer.

        Args:
            dim: Channels of the tokens.
            heads: Attention heads; divides `dim`.
            source: What a message starts from: the mean of a frame's tokens, or its first token.
            norm: Normalise before each attention and the MLP.
            mlp: Put an MLP behind the attention within frames.
            position_code: Tell the messages when they were sent.
            dropout: In attention.
        """
        super().__init__()
        self.source, self.has_position_code = source, position_code
        self.write = nn.Linear(dim, dim)
        self.time_norm, self.frame_norm = (
            nn.LayerNorm(dim) if norm else nn.Identity() for _ in range(2)
        )
        self.time = Attention(dim, heads, dropout=dropout)
        self.frame = Attention(dim, heads, dropout=dropout)
        self.mlp = None
        if mlp:
            self.mlp = nn.Sequential(
                nn.LayerNorm(dim), nn.Linear(dim, 4 * dim), QuickGELU(), nn.Linear(4 * dim, dim)
            )

    def forward(self, tokens: Tensor, frame_mask: Tensor | None = None) -> Tensor:
        """Return `(B, T, L + 1, C)`: the tokens, and last the message.

        Args:
            tokens: `(B, T, L, C)`, the class token first.
            frame_mask: `(B, T)`, True where the frame is good; others are not listened to.
        """
        start = tokens.mean(2) if self.source == "mean" else tokens[:, :, 0]
        messages = self.write(start)
        if self.has_position_code:
            messages = messages + position_code(*messages.shape[1:], messages.device)
        messages = messages + self.time(self.time_norm(messages), mask=frame_mask)
        mixed = torch.cat([tokens, messages[:, :, None]], dim=2).flatten(0, 1)
        mixed = mixed + self.frame(self.frame_norm(mixed))
        if self.mlp is not None:
            mixed = mixed + self.mlp(mixed)
        return mixed.unflatten(0, tokens.shape[:2])


@MODELS.register_module()
class WindowMixer(nn.Module):
    """A clip seen through windows of a quarter, a half and all of its frames.

    After the multi-granular temporal part of the CLIMB line (AAAI 2025), with attention where they
    scan; how much each window counts is learnt.

    >>> from train.parts.mixers import WindowMixer
    >>> WindowMixer(dim=32, heads=4)(torch.randn(2, 8, 32)).shape
    torch.Size([2, 32])
    """

    def __init__(
        self, dim: int, heads: int = 8, parts: tuple[int, ...] = (4, 2, 1), shared: bool = False
    ) -> None:
        """Make one attention for each kind of window.

        Args:
            dim: Channels.
            heads: Attention heads.
            parts: In how many windows a clip is cut, for each kind.
            shared: One attention serves all kinds.
        """
        super().__init__()
        self.parts = tuple(parts)
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in parts)
        self.mixers = nn.ModuleList(Attention(dim, heads) for _ in parts[: 1 if shared else None])
        self.out_norm = nn.LayerNorm(dim)
        self.weight = nn.Parameter(torch.zeros(len(parts)))

    def forward(self, frames: Tensor, frame_mask: Tensor | None = None) -> Tensor:
        """Return `(B, C)` of frame features `(B, T, C)`; `frame_mask` `(B, T)` as elsewhere."""
        batch, length, dim = frames.shape
        frames = frames + position_code(length, dim, frames.device)
        seen = []
        for index, (cuts, norm) in enumerate(zip(self.parts, self.norms, strict=True)):
            mixer = self.mixers[min(index, len(self.mixers) - 1)]
            size = -(-length // cuts)
            pad = cuts * size - length
            windows = F.pad(frames, (0, 0, 0, pad)).reshape(batch * cuts, size, dim)
            mask = frames.new_ones(batch, length, dtype=torch.bool)
            mask = mask if frame_mask is None else frame_mask
            mask = F.pad(mask, (0, pad)).reshape(batch * cuts, size)
            windows = windows + mixer(norm(windows), mask=mask)
            mixed = windows.reshape(batch, cuts * size, dim)[:, :length]
            seen.append(masked_mean(mixed, frame_mask))
        weights = self.weight.softmax(0)
        return self.out_norm(torch.einsum("k,kbc->bc", weights, torch.stack(seen)))


@MODELS.register_module()
class TokenResampler(nn.Module):
    """A few learnt tokens read all tokens of all frames (CG-CLIP, arXiv 2604.07740; our reading).

    The cost grows with the number of learnt tokens, not with the square of a clip's length.

    >>> from train.parts.mixers import TokenResampler
    >>> TokenResampler(dim=32, tokens=3, heads=4)(torch.randn(2, 4, 9, 32)).shape
    torch.Size([2, 3, 32])
    """

    def __init__(self, dim: int, tokens: int = 8, layers: int = 2, heads: int = 8) -> None:
        """Make `layers` of reading, talking among themselves, and thinking."""
        super().__init__()
        self.tokens = nn.Parameter(torch.randn(tokens, dim) * 0.02)
        self.read_norm = nn.LayerNorm(dim)
        self.layers = nn.ModuleList(_ReadingLayer(dim, heads) for _ in range(layers))

    def forward(self, tokens: Tensor, frame_mask: Tensor | None = None) -> Tensor:
        """Return `(B, R, C)`: what the learnt tokens read in `(B, T, L, C)`."""
        batch, length, places, dim = tokens.shape
        when = position_code(length, dim, tokens.device)[:, None]
        memory = self.read_norm(tokens + when).flatten(1, 2)
        mask = None if frame_mask is None else frame_mask.repeat_interleave(places, dim=1)
        # A copy: a counter of operations stumbles over a view of a parameter without gradients.
        found = self.tokens.repeat(batch, 1, 1)
        for layer in self.layers:
            found = layer(found, memory, mask)
        return found


class _ReadingLayer(nn.Module):
    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.read, self.talk = Attention(dim, heads), Attention(dim, heads)
        self.mlp = nn.Sequential(
            nn.LayerNorm(dim), nn.Linear(dim, 4 * dim), QuickGELU(), nn.Linear(4 * dim, dim)
        )

    def forward(self, found: Tensor, memory: Tensor, mask: Tensor | None) -> Tensor:
        found = found + self.read(self.norm1(found), memory, mask)
        found = found + self.talk(self.norm2(found))
        return found + self.mlp(found)
