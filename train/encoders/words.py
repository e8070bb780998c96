"""Encoders of sentences: of their words, or of what a text encoder made of them before."""

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from train.registry import MODELS


@MODELS.register_module()
class WordEncoder(nn.Module):
    """The mean of the words, through a layer; it is learnt with the rest.

    Attributes:
        column: Which column of a batch it reads.
        needs: The same, for the data set.

    >>> from train.encoders.words import WordEncoder
    >>> encoder = WordEncoder(out_dim=16, numbers=100)
    >>> encoder(torch.tensor([[5, 7, 0], [7, 5, 0]])).shape
    torch.Size([2, 16])
    """

    column = "words"
    needs: ClassVar[frozenset[str]] = frozenset({"words"})

    def __init__(
        self, out_dim: int = 512, numbers: int = 8192, width: int = 256, length: int = 48
    ) -> None:
        """Make the table of words.

        Args:
            out_dim: Channels of a sentence.
            numbers: How many numbers there are for words, with 0 for none.
            width: Channels of a word.
            length: Words of a sentence, at most.
        """
        super().__init__()
        self.length, self.kind = length, torch.int64
        self.words = nn.Parameter(torch.randn(numbers, width) * width**-0.5)
        self.write = nn.Linear(width, out_dim)

    def forward(self, words: Tensor) -> Tensor:
        """Return `(N, D)` of word numbers `(N, W)`, 0 for none."""
        mean = F.embedding_bag(words, self.words, mode="mean", padding_idx=0)
        return self.write(mean)


@MODELS.register_module()
class EmbeddingEncoder(nn.Module):
    """A layer on what a text encoder made of sentences, as CLIP's would.

    >>> from train.encoders.words import EmbeddingEncoder
    >>> EmbeddingEncoder(out_dim=16, length=32)(torch.randn(2, 32)).shape
    torch.Size([2, 16])
    """

    column = "text"
    needs: ClassVar[frozenset[str]] = frozenset({"text"})

    def __init__(self, out_dim: int = 512, length: int = 512) -> None:
        """Make the layer, from `length` numbers of an embedding to `out_dim` channels."""
        super().__init__()
        self.length, self.kind = length, torch.float32
        self.write = nn.Linear(length, out_dim)

    def forward(self, embeddings: Tensor) -> Tensor:
        """Return `(N, D)` of embeddings `(N, E)`."""
        return self.write(embeddings)
