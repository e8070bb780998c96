"""SGTM: frames talk along time, guided by the skeleton in training and alone at test.

After CSIP-ReID (arXiv 2511.13150, section 3.4): learning with privileged information.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from train.parts.attention import Attention, position_code
from train.registry import MODELS

VISUAL, VISUAL_MESSAGE, SKELETON, SKELETON_MESSAGE = range(4)


@MODELS.register_module()
class SkeletonGuidedTemporalModule(nn.Module):
    """A feature of each frame that knows the other frames, and the skeleton if there is one.

    >>> from train.parts.temporal import SkeletonGuidedTemporalModule
    >>> sgtm = SkeletonGuidedTemporalModule(dim=32, skeleton_dim=16, heads=4)
    >>> visual, skeleton = torch.randn(2, 4, 9, 32), torch.randn(2, 4, 17, 16)
    >>> sgtm(visual).shape, sgtm(visual, skeleton).shape
    (torch.Size([2, 4, 32]), torch.Size([2, 4, 32]))
    """

    def __init__(
        self,
        dim: int = 768,
        skeleton_dim: int | None = 512,
        heads: int = 8,
        dropout: float = 0.1,
        position_code: bool = True,
    ) -> None:
        """Make both paths; they share all but what only skeletons need.

        Args:
            dim: Channels of visual tokens and of the output.
            skeleton_dim: Channels of skeleton tokens; None builds the visual path alone.
            heads: Attention heads.
            dropout: In attention and MLP.
            position_code: Tell the messages when they were sent. The public code does not, and its
                output is the same for frames in any order.
        """
        super().__init__()
        self.has_position_code = position_code
        self.visual_in = nn.Linear(dim, dim)
        self.visual_norm = nn.LayerNorm(dim)
        self.visual_time = Attention(dim, heads, dropout=dropout)
        if skeleton_dim is not None:
            self.skeleton_in = nn.Linear(skeleton_dim, dim)
            self.skeleton_norm = nn.LayerNorm(dim)
            self.skeleton_time = Attention(dim, heads, dropout=dropout)
            self.guide_query_norm, self.guide_key_norm = nn.LayerNorm(dim), nn.LayerNorm(dim)
            self.guide = Attention(dim, heads, dropout=dropout)
        self.kind = nn.Embedding(4, dim)
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attention = Attention(dim, heads, dropout=dropout)
        self.mlp = nn.Sequential(
            nn.Linear(dim, dim * 4),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(dim * 4, dim),
            nn.Dropout(dropout),
        )
        self.weight = nn.Linear(dim, 1)

    def forward(
        self,
        visual: Tensor,
        skeleton: Tensor | None = None,
        mask: Tensor | None = None,
        both: bool = False,
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Return frame features `(B, T, C)`.

        Args:
            visual: `(B, T, L, C)` tokens of the frames.
            skeleton: `(B, T, J, S)` tokens of the skeletons; left out at test.
            mask: `(B, T)`, True where the skeleton is good. A clip without any gets the features it
                has without skeletons.
            both: Return the features without skeletons and those with, as two calls would; what
                frames give to both is computed once.
        """
        means = self.visual_in(visual.mean(2))
        seen = self._projected(VISUAL, visual)
        alone = None
        if skeleton is None or both:
            messages = self._along_time(means, self.visual_norm, self.visual_time)
            alone = self._frames(seen, [(VISUAL_MESSAGE, messages[:, :, None])])
        if skeleton is None:
            return alone
        if mask is None:
            mask = skeleton.new_ones(skeleton.shape[:2], dtype=torch.bool)
        guided = self._frames(seen, self._guided(means, skeleton, mask), mask)
        return (alone, guided) if both else guided

    def _guided(self, means: Tensor, skeleton: Tensor, mask: Tensor) -> list[tuple[int, Tensor]]:
        """Return the groups of tokens that a frame has beside its visual ones."""
        messages = self._along_time(means, self.visual_norm, self.visual_time)
        skeleton = self.skeleton_in(skeleton)
        hints = self._along_time(skeleton.mean(2), self.skeleton_norm, self.skeleton_time, mask)
        guided = self.guide(self.guide_query_norm(messages), self.guide_key_norm(hints), mask)
        messages = messages + guided * mask.any(1)[:, None, None]
        return [
            (VISUAL_MESSAGE, messages[:, :, None]),
            (SKELETON, skeleton),
            (SKELETON_MESSAGE, hints[:, :, None]),
        ]

    def _along_time(
        self, messages: Tensor, norm: nn.LayerNorm, attention: Attention, mask: Tensor | None = None
    ) -> Tensor:
        if self.has_position_code:
            messages = messages + position_code(*messages.shape[1:], messages.device)
        return messages + attention(norm(messages), mask=mask)

    def _projected(self, kind: int, tokens: Tensor) -> tuple[Tensor, ...]:
        """Return tokens of a kind and their queries, keys and values, `(B * T, L, C)` each."""
        tokens = (tokens + self.kind.weight[kind]).flatten(0, 1)
        normed = self.norm1(tokens)
        return tokens, *self.attention.project(normed, normed)

    def _frames(
        self,
        seen: tuple[Tensor, ...],
        groups: list[tuple[int, Tensor]],
        mask: Tensor | None = None,
    ) -> Tensor:
        batch = groups[0][1].shape[:2]
        parts = [seen, *(self._projected(kind, part) for kind, part in groups)]
        tokens, q, k, v = (torch.cat(own, dim=1) for own in zip(*parts, strict=True))
        counts = None
        if mask is not None:
            kinds = [(VISUAL, seen[0].shape[1]), *((kind, x.shape[2]) for kind, x in groups)]
            counts = torch.cat(
                [
                    (mask | (kind < SKELETON))[:, :, None].expand(-1, -1, length)
                    for kind, length in kinds
                ],
                dim=2,
            ).flatten(0, 1)
        tokens = tokens + self.attention.attend(q, k, v, counts)
        tokens = tokens + self.mlp[-1](self._wide(tokens))
        weight = self.weight(tokens).sigmoid()
        if counts is not None:
            weight = weight * counts[:, :, None]
        weight = weight / (weight.sum(1, keepdim=True) + 1e-6)
        return (tokens * weight).sum(1).unflatten(0, batch)

    def _wide(self, tokens: Tensor) -> Tensor:
        """Return what the MLP says before its last dropout.

        Backward makes its wide layer again, which costs a ninth of the module, since to keep it
        takes more memory than all else here.
        """
        parts = (self.norm2, *self.mlp[:-1])
        if not (self.training and torch.is_grad_enabled()):
            return _through(parts, tokens)
        return checkpoint(_through, parts, tokens, use_reentrant=False)


def _through(parts: Sequence[nn.Module], tokens: Tensor) -> Tensor:
    for part in parts:
        tokens = part(tokens)
    return tokens
