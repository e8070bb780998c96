"""What was said about the training identities, and a memory that reads it."""

import torch
from torch import Tensor, nn

from pipeline.errors import PipelineError
from train.parts.attention import Attention
from train.parts.prototypes import QuickGELU
from train.registry import MODELS


@MODELS.register_module()
class CaptionRefiner(nn.Module):
    """Rows of a memory, each refined by what was said of its own identity (CG-CLIP).

    After arXiv 2604.07740, in our reading: each row reads its captions by attention, then thinks.
    A row without captions stays as it is, to the byte.

    >>> from train.memories.captions import CaptionRefiner
    >>> refiner, rows = CaptionRefiner(dim=16, heads=2), torch.randn(5, 16)
    >>> has_caption = torch.tensor([[True, False]] * 4 + [[False, False]])
    >>> refined = refiner(rows, torch.randn(5, 2, 16), has_caption)
    >>> refined.shape, torch.equal(refined[4], rows[4])
    (torch.Size([5, 16]), True)
    """

    def __init__(self, dim: int, heads: int | None = None) -> None:
        """Make the layers of `dim` channels; None takes one head per 64 channels."""
        super().__init__()
        self.row_norm, self.caption_norm = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.read = Attention(dim, heads or max(1, dim // 64))
        self.mlp = nn.Sequential(
            nn.LayerNorm(dim), nn.Linear(dim, 4 * dim), QuickGELU(), nn.Linear(4 * dim, dim)
        )

    def forward(self, rows: Tensor, captions: Tensor, has_caption: Tensor) -> Tensor:
        """Return the refined rows `(K, D)`.

        Args:
            rows: `(K, D)`.
            captions: `(K, N, D)`.
            has_caption: `(K, N)`, True where there is one.
        """
        captions = self.caption_norm(captions)
        found = self.read(self.row_norm(rows)[:, None], captions, has_caption)[:, 0]
        update = found + self.mlp(found)
        return torch.where(has_caption.any(1, keepdim=True), rows + update, rows)


class SaidOf(nn.Module):
    """The sentences about each training identity, as the encoder of sentences takes them.

    >>> said = SaidOf(classes=2, limit=3, length=4, kind=torch.int64)
    >>> said.fill(torch.tensor([[5, 7, 0, 0], [0, 0, 0, 0]]), torch.tensor([1, 0]))
    >>> said.has_caption.tolist()
    [[False, False, False], [True, False, False]]
    """

    said: Tensor

    def __init__(self, classes: int, limit: int, length: int, kind: torch.dtype) -> None:
        """Make room.

        Args:
            classes: Training identities K.
            limit: Sentences about each that are kept.
            length: Numbers of a sentence.
            kind: Type of these numbers.
        """
        super().__init__()
        self.register_buffer("said", torch.zeros(classes, limit, length, dtype=kind))

    @property
    def has_caption(self) -> Tensor:
        """Where there is a sentence, `(K, N)`."""
        return self.said.ne(0).any(2)

    @torch.no_grad()
    def fill(self, said: Tensor, labels: Tensor) -> None:
        """Keep the first sentences of each identity.

        Args:
            said: `(M, W)` of the training clips, zeros where nothing was said.
            labels: `(M,)`.

        Raises:
            PipelineError: If sentences have another length.
        """
        if said.shape[1] != self.said.shape[2]:
            raise PipelineError(
                f"sentences of {said.shape[1]} numbers came to an encoder of "
                f"{self.said.shape[2]}. Set captions.length of the system to that"
            )
        self.said.zero_()
        counts = [0] * len(self.said)
        for label, row in zip(labels.tolist(), said, strict=True):
            if row.any() and counts[label] < self.said.shape[1]:
                self.said[label, counts[label]] = row.to(self.said.dtype)
                counts[label] += 1
